//! How a server stops: requests, draining, and the end.

use std::time::{Duration, Instant};

use crate::error::RunError;
use crate::net::listener::{BACKLOG, migrates_handshakes};
use crate::record;
use crate::records;
use crate::server::connection::reason::LocalClose;
use crate::server::control::{ControlRequest, Phase};
use crate::server::event_loop::MAX_ACCEPTS_PER_RUN;
use crate::server::{Server, TOTALS_TARGET};
use crate::stats::{Plural, Totals};

/// How long handshakes that have begun may take, and the first line after them, while
/// new connections are left to other processes: the longest round trips between
/// continents. Less than the 1 s after which clients repeat a SYN that was dropped.
const LEAVE_TIME: Duration = Duration::from_millis(300);

/// What a drain does with peers that have all echoes and our FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peers {
    /// It awaits theirs.
    Awaited,
    /// It closes their connections.
    Dismissed,
}

impl Server {
    #[cold]
    pub(super) fn apply_requests(&mut self) {
        for request in self.control.take_requests() {
            match (request, self.control.phase) {
                (ControlRequest::LogTotals, _) => {
                    let totals = self.totals();
                    record!(target: TOTALS_TARGET, records::TotalsSoFar { totals });
                }
                (ControlRequest::AnswerTotals, _) => self.control.answer(self.totals()),
                (ControlRequest::Shutdown(cause), Phase::Running) => self.shut_down(cause),
                (ControlRequest::Shutdown(cause), _) => self.control.phase = Phase::Aborted(cause),
            }
        }
    }

    /// Begins to stop: accepts the backlogs, and drains unless it leaves first. The
    /// backlogs of inherited listeners are left to the next process.
    fn shut_down(&mut self, cause: &'static str) {
        self.control.begin_stop();
        let deadline = Instant::now() + self.drain_timeout;
        if !self.listeners.are_inherited() {
            self.accept_backlog(deadline);
        }
        let leaves = self.shares_ports && self.leave();
        let open = self.connections.len();
        record!(records::Stopping { cause, open });
        self.timers.arm_drain_timeout(deadline);
        self.observe_draining();
        if !leaves {
            self.drain();
        }
    }

    /// Leaves new connections to the processes with the same ports. The backlogs are
    /// empty, but clients may still be in a handshake, or about to send their first line,
    /// so all connections are served for a while. Returns false if this is not possible.
    fn leave(&mut self) -> bool {
        if migrates_handshakes() {
            self.listeners.close(self.poll.registry());
        } else if let Err(error) = self.listeners.drop_syns() {
            record!(records::NoLeave { error: &error });
            return false;
        }
        self.control.phase = Phase::Leaving;
        let time = LEAVE_TIME.min(self.drain_timeout / 2);
        self.timers.arm_leave(time);
        true
    }

    /// Drains, unless the server has been aborted since.
    pub(super) fn on_left(&mut self) {
        if self.control.phase == Phase::Leaving {
            self.accept_backlog(Instant::now());
            self.drain();
        }
    }

    /// Closes the listeners and drains all connections.
    fn drain(&mut self) {
        self.control.phase = Phase::Draining;
        self.listeners.close(self.poll.registry());
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.begin_close(LocalClose::Shutdown);
                self.connections.schedule(key);
            }
        }
        self.stop_if_drained();
    }

    /// Ends the drain with the last connection.
    pub(super) fn stop_if_drained(&mut self) {
        if self.control.phase == Phase::Draining && self.connections.is_empty() {
            self.control.phase = Phase::Stopped;
        }
    }

    /// While the server drains, closes the connections whose peers have all that they get.
    pub(super) fn dismiss_peers(&mut self) {
        if self.control.phase != Phase::Draining {
            return;
        }
        for key in self.connections.keys() {
            let connection = self.connections.get_mut(key);
            if connection.is_some_and(|connection| connection.only_awaits_peer()) {
                self.abort(key);
            }
        }
    }

    /// Accepts what waits in the backlogs, as closing a listener resets it. Ends
    /// when they are empty or the limits allow no more. As connections may keep coming,
    /// it also ends after as many as all backlogs hold, and at the deadline, but not
    /// before one backlog has been accepted.
    fn accept_backlog(&mut self, deadline: Instant) {
        self.listeners.mark_all_ready();
        let one = usize::from(BACKLOG) / MAX_ACCEPTS_PER_RUN;
        for round in 0..=one * self.listeners.len() {
            self.accept();
            let overdue = round >= one && Instant::now() >= deadline;
            if overdue || !self.listeners.can_accept() {
                return;
            }
        }
    }

    /// Aborts the connections that are left, and logs the totals.
    pub(super) fn finish(mut self) -> Result<Totals, RunError> {
        let connections = self.connections.len();
        if connections > 0 {
            let connections = Plural(connections as u64, "connection");
            record!(records::Aborted { connections });
        }
        for key in self.connections.keys() {
            self.abort(key);
        }
        let totals = self.totals();
        record!(records::TotalsSoFar { totals });
        match self.control.phase {
            Phase::Aborted(cause) => Err(RunError::Aborted {
                cause,
                connections,
                totals: Box::new(totals),
            }),
            _ => Ok(totals),
        }
    }
}
