//! What makes a server stop or report: handles, signals, and how far the stop has
//! come.

use std::io;
use std::sync::Arc;

use mio::{Registry, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::signal_name;

use crate::server::token::Source;
use crate::signals::Signals;

/// What a handle or a signal asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Shut down, for this cause; the second time, at once.
    Shutdown(&'static str),
    /// Log the totals.
    LogTotals,
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// The listeners are closed, and connections are drained until the deadline.
    Draining,
    /// All connections are closed, or the deadline has passed.
    Stopped,
    /// A second shutdown, for this cause, has come while draining.
    Aborted(&'static str),
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    waker: Arc<Waker>,
}

impl Handle {
    /// Asks the server to stop, and returns at once; [`Server::run`] returns when
    /// it has. A second call while it is stopping aborts all connections. Does
    /// nothing if the server has stopped.
    ///
    /// # Errors
    ///
    /// If the loop cannot be woken.
    ///
    /// [`Server::run`]: crate::Server::run
    pub fn shutdown(&self) -> io::Result<()> {
        self.waker.wake()
    }
}

/// The sources of commands, and the state that they lead to.
pub(crate) struct Control {
    pub state: State,
    waker: Arc<Waker>,
    signals: Option<Signals>,
    /// An event of the waker has come since the last commands.
    woken: bool,
    /// An event of the waker or of the signals has come since the last commands.
    notified: bool,
}

impl Control {
    /// # Errors
    ///
    /// If `registry` does not take a waker.
    pub fn new(registry: &Registry) -> io::Result<Control> {
        Ok(Control {
            state: State::Running,
            waker: Arc::new(Waker::new(registry, Source::Waker.into())?),
            signals: None,
            woken: false,
            notified: false,
        })
    }

    pub fn handle(&self) -> Handle {
        Handle {
            waker: Arc::clone(&self.waker),
        }
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
        let token = Source::Signals.into();
        self.signals = Some(Signals::register(&signals, registry, token)?);
        Ok(())
    }

    pub fn on_waker(&mut self) {
        (self.woken, self.notified) = (true, true);
    }

    pub fn on_signals(&mut self) {
        self.notified = true;
    }

    /// Whether there may be commands to take.
    pub fn has_commands(&self) -> bool {
        self.notified
    }

    /// Takes the commands since the last call, each at most once: handles and
    /// signals that come together ask for one shutdown.
    pub fn take_commands(&mut self, registry: &Registry) -> impl Iterator<Item = Command> + use<> {
        self.notified = false;
        let mut shutdown = std::mem::take(&mut self.woken).then_some("shutdown requested");
        let mut log_totals = false;
        let signals = self.signals.iter_mut();
        for signal in signals.flat_map(|signals| signals.take(registry)) {
            match signal {
                SIGUSR1 => log_totals = true,
                _ => shutdown = shutdown.or(Some(signal_name(signal).unwrap_or("signal"))),
            }
        }
        let log_totals = log_totals.then_some(Command::LogTotals);
        let shutdown = shutdown.map(Command::Shutdown);
        [log_totals, shutdown].into_iter().flatten()
    }
}

/// Whether this process ignores `signal`. nohup starts programs with SIGHUP ignored
/// and expects it to stay so (POSIX, nohup).
fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: `sigaction` has integer and pointer fields only, so zeroed memory is a
    // valid value. Without a new action, the call only writes the current one.
    #[allow(unsafe_code)]
    let (result, current) = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        let result = libc::sigaction(signal, std::ptr::null(), &raw mut current);
        (result, current)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(current.sa_sigaction == libc::SIG_IGN)
}
