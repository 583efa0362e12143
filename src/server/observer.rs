//! What the loop tells an observer, such as the client of a service manager.

use std::io;
use std::mem;
use std::time::Duration;

use crate::config::{MAX_TIMEOUT, MIN_TIMEOUT};
use crate::server::Server;
use crate::stats::Totals;

/// Is told what a server does; see [`Server::set_observer`].
///
/// The loop itself calls the methods: one that blocks holds up all connections, and a
/// loop that is stuck calls none.
pub trait Observer: Send {
    /// The server is about to serve, and nothing that can fail is left to do.
    fn listening(&mut self, totals: &Totals) {
        let _ = totals;
    }

    /// The number of lines or of open connections has changed. Called at most once per
    /// second, and not at all while nothing happens.
    fn progress(&mut self, totals: &Totals) {
        let _ = totals;
    }

    /// A shutdown has begun.
    fn draining(&mut self, totals: &Totals) {
        let _ = totals;
    }

    /// How often the loop calls [`heartbeat`](Observer::heartbeat), asked once: 1 ms to
    /// [`MAX_TIMEOUT`], or [`run`](Server::run) refuses it. `None`, the
    /// default: never, so that an idle server makes no system call.
    fn heartbeat_interval(&self) -> Option<Duration> {
        None
    }

    /// The loop runs.
    fn heartbeat(&mut self) {}
}

/// The observer, and what it knows.
pub(super) struct Observed {
    observer: Box<dyn Observer>,
    heartbeat_interval: Option<Duration>,
    /// Open connections and lines as told last.
    told: (usize, u64),
}

impl Observed {
    pub fn new(observer: impl Observer + 'static) -> Observed {
        Observed {
            heartbeat_interval: observer.heartbeat_interval(),
            observer: Box::new(observer),
            told: (0, 0),
        }
    }
}

impl Server {
    /// # Errors
    ///
    /// `InvalidInput` if the observer asks for heartbeats more or less often than timers
    /// can be armed.
    pub(super) fn check_observer(&self) -> io::Result<()> {
        match self.heartbeat_interval() {
            Some(interval) if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&interval) => {
                let longest = MAX_TIMEOUT.as_secs();
                let why =
                    format!("heartbeat_interval is not in 1 ms..={longest} s; None turns it off");
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn observe_listening(&mut self) {
        self.observe(|observed, totals| observed.observer.listening(totals));
        self.arm_heartbeat();
    }

    pub(super) fn observe_draining(&mut self) {
        self.observe(|observed, totals| observed.observer.draining(totals));
    }

    pub(super) fn observe_progress(&mut self) {
        self.observe(|observed, totals| {
            let counts = (totals.open, totals.lines);
            if mem::replace(&mut observed.told, counts) != counts {
                observed.observer.progress(totals);
            }
        });
    }

    pub(super) fn observe_heartbeat(&mut self) {
        if let Some(observed) = &mut self.observer {
            observed.observer.heartbeat();
        }
        self.arm_heartbeat();
    }

    /// Has `tell` tell the observer, if there is one.
    fn observe(&mut self, tell: impl FnOnce(&mut Observed, &Totals)) {
        if self.observer.is_none() {
            return;
        }
        let totals = self.totals();
        if let Some(observed) = &mut self.observer {
            tell(observed, &totals);
        }
    }

    fn arm_heartbeat(&mut self) {
        if let Some(interval) = self.heartbeat_interval() {
            self.timers.arm_heartbeat(interval);
        }
    }

    fn heartbeat_interval(&self) -> Option<Duration> {
        self.observer.as_ref()?.heartbeat_interval
    }
}
