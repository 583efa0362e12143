//! How a server stops: commands, draining, and the end.

use std::io;
use std::time::Instant;

use log::{info, warn};

use crate::connection::reason::LocalClose;
use crate::net::listener::BACKLOG;
use crate::server::control::{Command, State};
use crate::server::event_loop::MAX_ACCEPTS_PER_RUN;
use crate::server::{Server, TOTALS_TARGET};
use crate::stats::{Plural, Totals};

impl Server {
    #[cold]
    pub(super) fn apply_commands(&mut self) {
        for command in self.control.take_commands(self.poll.registry()) {
            match (command, self.control.state) {
                (Command::LogTotals, _) => {
                    info!(target: TOTALS_TARGET, "totals: {}", self.totals());
                }
                (Command::AnswerTotals, _) => self.control.answer(self.totals()),
                (Command::Shutdown(cause), State::Running) => self.drain(cause),
                (Command::Shutdown(cause), _) => self.control.state = State::Aborted(cause),
            }
        }
    }

    /// Begins to stop: accepts the backlogs, closes the listeners and drains all
    /// connections. The backlogs of inherited listeners are left to the next process.
    fn drain(&mut self, cause: &'static str) {
        let deadline = Instant::now() + self.drain_timeout;
        if !self.listeners.are_inherited() {
            self.accept_backlog(deadline);
        }
        info!("{cause}: stopping ({} open)", self.connections.len());
        self.control.state = State::Draining;
        self.timers.arm_drain_timeout(deadline);
        self.listeners.close(self.poll.registry());
        self.observe_draining();
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
        if self.control.state == State::Draining && self.connections.is_empty() {
            self.control.state = State::Stopped;
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
    pub(super) fn finish(mut self) -> io::Result<Totals> {
        let left = Plural(self.connections.len() as u64, "connection");
        if !self.connections.is_empty() {
            warn!("{left} aborted");
        }
        for key in self.connections.keys() {
            self.abort(key);
        }
        let totals = self.totals();
        info!("totals: {totals}");
        match self.control.state {
            State::Aborted(cause) => {
                let text = format!("{cause} while stopping: {left} aborted");
                Err(io::Error::other(text))
            }
            _ => Ok(totals),
        }
    }
}
