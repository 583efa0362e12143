//! What makes a server stop or report: handles, signals, and how far the stop has
//! come.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, ThreadId};

use log::info;
use mio::{Registry, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::signal_name;

use crate::server::token::Source;
use crate::signals::Signals;
use crate::stats::Totals;

/// What a handle or a signal asks the server to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Shut down, for this cause; the second time, at once.
    Shutdown(&'static str),
    /// Log the totals.
    LogTotals,
    /// Answer the handles that wait for the totals.
    AnswerTotals,
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
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

impl State {
    /// Whether the loop goes on.
    pub fn is_running(self) -> bool {
        matches!(self, State::Running | State::Leaving | State::Draining)
    }
}

/// Stops a running server, or asks it for its totals, from another thread.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What handles share with the loop.
struct Shared {
    waker: Waker,
    requests: Mutex<Requests>,
}

/// What handles ask for, and what the loop tells them.
#[derive(Default)]
struct Requests {
    shutdown: bool,
    /// Who waits for the totals. The first one has woken the loop.
    totals: Vec<Answer>,
    /// A shutdown has begun.
    is_stopping: bool,
    /// The thread that runs the loop, while the loop runs.
    runs_in: Option<ThreadId>,
}

/// Is called with the totals.
type Answer = Box<dyn FnOnce(Totals) + Send>;

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
        self.shared.lock().shutdown = true;
        self.shared.waker.wake()
    }

    /// Whether the loop has begun to stop, for a signal or a handle.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.lock().is_stopping
    }

    /// What the server has done so far. Wakes the loop, and blocks until the loop has
    /// answered. Calls that come together get one answer, for one wake-up.
    ///
    /// # Errors
    ///
    /// If the loop does not run, as before [`Server::run`] and after it
    /// (`NotConnected`), if it ends before it answers, if it cannot be woken, or if it
    /// calls this itself, as from an [`Observer`](crate::Observer) (`Deadlock`).
    ///
    /// [`Server::run`]: crate::Server::run
    pub fn totals(&self) -> io::Result<Totals> {
        if self.shared.lock().runs_in == Some(thread::current().id()) {
            let what = "the loop cannot wait for itself";
            return Err(io::Error::new(ErrorKind::Deadlock, what));
        }
        let (sender, receiver) = mpsc::channel();
        self.request_totals(move |totals| {
            let _ = sender.send(totals); // The receiver waits.
        })?;
        receiver.recv().map_err(|_| not_running())
    }

    /// Asks for what the server has done so far, and returns at once. The loop calls
    /// `answer` with the totals, or drops it if it ends before; an `answer` that blocks
    /// holds up all connections. Requests that come together cost one wake-up.
    ///
    /// # Errors
    ///
    /// If the loop does not run (`NotConnected`), or cannot be woken.
    pub fn request_totals(&self, answer: impl FnOnce(Totals) + Send + 'static) -> io::Result<()> {
        let mut requests = self.shared.lock();
        if requests.runs_in.is_none() {
            return Err(not_running());
        }
        let is_first = requests.totals.is_empty();
        requests.totals.push(Box::new(answer));
        drop(requests); // The loop takes the lock as soon as it is woken.
        if is_first && let Err(e) = self.shared.waker.wake() {
            drop(self.shared.take_answers());
            return Err(e);
        }
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

fn not_running() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "the server does not run")
}

impl Shared {
    /// A panic while the lock is held leaves no request half made.
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that wait for the totals. They are called, or dropped, without the lock: what
    /// they do may take it.
    fn take_answers(&self) -> Vec<Answer> {
        mem::take(&mut self.lock().totals)
    }
}

/// The sources of commands, and the state that they lead to.
pub(crate) struct Control {
    pub state: State,
    shared: Arc<Shared>,
    signals: Option<Signals>,
    /// A SIGHUP is logged and has no other effect.
    pub ignores_sighup: bool,
    /// An event of the signals has come since the last commands.
    signalled: bool,
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
            shared: Arc::new(Shared {
                waker: Waker::new(registry, Source::Waker.into())?,
                requests: Mutex::default(),
            }),
            signals: None,
            ignores_sighup: false,
            signalled: false,
            notified: false,
        })
    }

    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Lets handles wait for answers: the loop runs in this thread from now on, until
    /// `self` is dropped.
    pub fn start(&self) {
        self.shared.lock().runs_in = Some(thread::current().id());
    }

    /// Tells handles that a shutdown begins.
    pub fn begin_stop(&self) {
        self.shared.lock().is_stopping = true;
    }

    /// Answers the handles that wait for the totals.
    pub fn answer(&self, totals: Totals) {
        for answer in self.shared.take_answers() {
            answer(totals);
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
        self.notified = true;
    }

    pub fn on_signals(&mut self) {
        (self.signalled, self.notified) = (true, true);
    }

    /// Whether there may be commands to take.
    pub fn has_commands(&self) -> bool {
        self.notified
    }

    /// Takes the commands since the last call, each at most once: handles and
    /// signals that come together ask for one shutdown. It comes before the answer, so
    /// that no handle hears of a server that does not stop when the signal is older than
    /// the question.
    pub fn take_commands(&mut self) -> impl Iterator<Item = Command> + use<> {
        self.notified = false;
        let mut requests = self.shared.lock();
        let mut shutdown = mem::take(&mut requests.shutdown).then_some("shutdown requested");
        let answer_totals = (!requests.totals.is_empty()).then_some(Command::AnswerTotals);
        drop(requests);
        let mut log_totals = false;
        let signalled = mem::take(&mut self.signalled);
        let signals = self.signals.iter_mut().filter(|_| signalled);
        for signal in signals.flat_map(Signals::take) {
            match signal {
                SIGUSR1 => log_totals = true,
                SIGHUP if self.ignores_sighup => info!("SIGHUP: ignored"),
                _ => shutdown = shutdown.or(Some(signal_name(signal).unwrap_or("signal"))),
            }
        }
        let log_totals = log_totals.then_some(Command::LogTotals);
        let shutdown = shutdown.map(Command::Shutdown);
        [log_totals, shutdown, answer_totals].into_iter().flatten()
    }
}

/// Ends the wait of handles that the loop has not answered.
impl Drop for Control {
    fn drop(&mut self) {
        self.shared.lock().runs_in = None;
        drop(self.shared.take_answers());
    }
}

/// Whether this process ignores `signal`. nohup starts programs with SIGHUP ignored
/// and expects it to stay so (POSIX, nohup).
fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: `sigaction` has integer and pointer fields only, so zeroed memory is a
    // valid value. Without a new action, the call only writes the current one.
    #[allow(unsafe_code)]
    let (result, current) = unsafe {
        let mut current: libc::sigaction = mem::zeroed();
        let result = libc::sigaction(signal, std::ptr::null(), &raw mut current);
        (result, current)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(current.sa_sigaction == libc::SIG_IGN)
}
