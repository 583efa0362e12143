//! Handles: what other threads ask of a running server.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, ThreadId};

use mio::Waker;

use crate::stats::Totals;

/// Stops a running server, or asks it for its totals, from another thread.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
}

/// What handles share with the loop.
struct Inbox {
    waker: Waker,
    content: Mutex<Content>,
}

/// What handles ask for, and what the loop tells them.
#[derive(Default)]
struct Content {
    shutdown: bool,
    /// Questions for the totals. The first one has woken the loop.
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
        self.inbox.lock().shutdown = true;
        self.inbox.waker.wake()
    }

    /// Whether the loop has begun to stop, for a signal or a handle.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inbox.lock().is_stopping
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
        if self.inbox.lock().runs_in == Some(thread::current().id()) {
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
        let mut content = self.inbox.lock();
        if content.runs_in.is_none() {
            return Err(not_running());
        }
        let is_first = content.totals.is_empty();
        content.totals.push(Box::new(answer));
        drop(content); // The loop takes the lock as soon as it is woken.
        if is_first && let Err(e) = self.inbox.waker.wake() {
            drop(self.inbox.take_answers());
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

impl Inbox {
    /// A panic while the lock is held leaves no request half made.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that wait for the totals. They are called, or dropped, without the lock: what
    /// they do may take it.
    fn take_answers(&self) -> Vec<Answer> {
        mem::take(&mut self.lock().totals)
    }
}

/// The loop's end of its handles.
pub(crate) struct Requests {
    inbox: Arc<Inbox>,
}

impl Requests {
    /// `waker` wakes the loop.
    pub fn new(waker: Waker) -> Requests {
        let content = Mutex::default();
        Requests {
            inbox: Arc::new(Inbox { waker, content }),
        }
    }

    pub fn handle(&self) -> Handle {
        Handle {
            inbox: Arc::clone(&self.inbox),
        }
    }

    /// Lets handles wait for answers: the loop runs in this thread from now on, until
    /// `self` is dropped.
    pub fn start(&self) {
        self.inbox.lock().runs_in = Some(thread::current().id());
    }

    /// Tells handles that a shutdown begins.
    pub fn begin_stop(&self) {
        self.inbox.lock().is_stopping = true;
    }

    /// Whether handles ask for a shutdown, which they do once, and for the totals, which
    /// [`answer`](Requests::answer) gives.
    pub fn take(&self) -> (bool, bool) {
        let mut content = self.inbox.lock();
        let shuts_down = mem::take(&mut content.shutdown);
        (shuts_down, !content.totals.is_empty())
    }

    /// Answers the handles that wait for the totals.
    pub fn answer(&self, totals: Totals) {
        for answer in self.inbox.take_answers() {
            answer(totals);
        }
    }
}

/// Ends the wait of handles that the loop has not answered.
impl Drop for Requests {
    fn drop(&mut self) {
        self.inbox.lock().runs_in = None;
        drop(self.inbox.take_answers());
    }
}
