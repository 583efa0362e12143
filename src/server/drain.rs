//! How a server stops: commands, draining, and the end.

use std::io;
use std::time::Instant;

use log::{info, warn};

use crate::connection::reason::LocalClose;
use crate::server::control::{Command, State};
use crate::server::{MAX_ACCEPTS_PER_RUN, Server, TOTALS_TARGET};
use crate::stats::{Plural, Totals};

impl Server {
    #[cold]
    pub(super) fn apply_commands(&mut self) {
        for command in self.control.take_commands() {
            match (command, self.control.state) {
                (Command::LogTotals, _) => {
                    info!(target: TOTALS_TARGET, "totals: {}", self.totals());
                }
                (Command::Shutdown(cause), State::Running) => self.drain(cause),
                (Command::Shutdown(cause), _) => self.control.state = State::Aborted(cause),
            }
        }
    }

    /// Begins to stop: accepts the backlogs, closes the listeners and drains all
    /// connections.
    fn drain(&mut self, cause: &'static str) {
        let deadline = Instant::now() + self.drain_timeout;
        self.accept_backlog(deadline);
        info!("{cause}: stopping ({} open)", self.connections.len());
        self.control.state = State::Draining;
        self.timers.arm_drain_timeout(deadline);
        self.listeners.close();
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.drain(LocalClose::Shutdown);
                self.connections.schedule(key);
            }
        }
    }

    /// Accepts what waits in the backlogs, as closing a listener resets it. Ends
    /// when they are empty or the limits allow no more; and, as connections may keep
    /// coming, after as many as the backlogs hold, or at the deadline.
    fn accept_backlog(&mut self, deadline: Instant) {
        self.listeners.mark_all_ready();
        for _ in 0..=self.listeners.backlog() / MAX_ACCEPTS_PER_RUN {
            self.accept();
            if !self.listeners.can_accept() || Instant::now() >= deadline {
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
