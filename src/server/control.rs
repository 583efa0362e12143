//! What makes a server stop or report: requests of handles, signals, and how far the stop
//! has come.

use std::io;

use mio::{Registry, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::signal_name;

use crate::record;
use crate::records;
use crate::server::handle::{Handle, Requests};
use crate::server::token::EventSource;
use crate::signals::{Signals, is_ignored};
use crate::stats::Totals;

/// What a handle or a signal asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlRequest {
    /// Shut down, for this cause; the second time, at once.
    Shutdown(&'static str),
    /// Log the totals.
    LogTotals,
    /// Answer the handles that wait for the totals.
    AnswerTotals,
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// New connections are left to other processes, and those that exist are served as
    /// before.
    Leaving,
    /// The listeners are closed, and connections are drained until the deadline.
    Draining,
    /// All connections are closed, or the deadline has passed.
    Stopped,
    /// A second shutdown, for this cause, has come while draining.
    Aborted(&'static str),
}

impl Phase {
    /// Whether the loop goes on.
    pub fn is_running(self) -> bool {
        matches!(self, Phase::Running | Phase::Leaving | Phase::Draining)
    }
}

/// The sources of requests, and the phase that they lead to.
pub(crate) struct Control {
    pub phase: Phase,
    requests: Requests,
    signals: Option<Signals>,
    /// A SIGHUP is logged and has no other effect.
    pub ignores_sighup: bool,
    /// An event of the signals has come since the last requests.
    signalled: bool,
    /// An event of the waker or of the signals has come since the last requests.
    notified: bool,
}

impl Control {
    /// # Errors
    ///
    /// If `registry` does not take a waker.
    pub fn new(registry: &Registry) -> io::Result<Control> {
        Ok(Control {
            phase: Phase::Running,
            requests: Requests::new(Waker::new(registry, EventSource::Waker.into())?),
            signals: None,
            ignores_sighup: false,
            signalled: false,
            notified: false,
        })
    }

    pub fn handle(&self) -> Handle {
        self.requests.handle()
    }

    /// Lets handles wait for answers: the loop runs in this thread from now on, until
    /// `self` is dropped.
    pub fn start(&self) {
        self.requests.start();
    }

    /// Tells handles that a shutdown begins.
    pub fn begin_stop(&self) {
        self.requests.begin_stop();
    }

    /// Answers the handles that wait for the totals.
    pub fn answer(&self, totals: Totals) {
        self.requests.answer(totals);
    }

    /// Installs the signal handlers of the process, without SIGHUP if it is ignored.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed, or `registry` does not take the signals.
    pub fn handle_signals(&mut self, registry: &Registry) -> io::Result<()> {
        let mut signals = vec![SIGINT, SIGTERM, SIGUSR1];
        if !is_ignored(SIGHUP)? {
            signals.push(SIGHUP);
        }
        let token = EventSource::Signals.into();
        self.signals = Some(Signals::register(&signals, registry, token)?);
        Ok(())
    }

    pub fn on_waker(&mut self) {
        self.notified = true;
    }

    pub fn on_signals(&mut self) {
        (self.signalled, self.notified) = (true, true);
    }

    /// Whether there may be requests to take.
    pub fn has_requests(&self) -> bool {
        self.notified
    }

    /// Takes the requests since the last call, each at most once: handles and
    /// signals that come together ask for one shutdown. It comes before the answer, so
    /// that no handle hears of a server that does not stop when the signal is older than
    /// the question.
    pub fn take_requests(&mut self) -> impl Iterator<Item = ControlRequest> + use<> {
        self.notified = false;
        let (shuts_down, wants_totals) = self.requests.take();
        let mut shutdown = shuts_down.then_some("shutdown requested");
        let answer_totals = wants_totals.then_some(ControlRequest::AnswerTotals);
        let mut log_totals = false;
        let signalled = std::mem::take(&mut self.signalled);
        let signals = self.signals.iter_mut().filter(|_| signalled);
        for signal in signals.flat_map(Signals::take) {
            match signal {
                SIGUSR1 => log_totals = true,
                SIGHUP if self.ignores_sighup => record!(records::SighupIgnored {}),
                _ => shutdown = shutdown.or(Some(signal_name(signal).unwrap_or("signal"))),
            }
        }
        let log_totals = log_totals.then_some(ControlRequest::LogTotals);
        let shutdown = shutdown.map(ControlRequest::Shutdown);
        [log_totals, shutdown, answer_totals].into_iter().flatten()
    }
}
