//! What the loop says, asked for without waiting.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use echoline::{Handle, Totals};
use rustix::event::{PollFd, PollFlags};

use super::response::Status;
use crate::logger;

/// How long the loop may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer up to this age is given again. The loop visits each open connection for a new
/// one.
const MAX_AGE: Duration = Duration::from_millis(100);

/// Asks the loop for its totals. At most one question is on its way.
pub struct Source {
    server: Handle,
    mailbox: Arc<Mailbox>,
    wakes: PipeReader,
    /// A question is on its way.
    is_asked: bool,
    /// The last answer, and when it came.
    latest: Option<(Instant, Totals)>,
}

/// Where the loop leaves its answer.
struct Mailbox {
    totals: Mutex<Option<Totals>>,
    /// A byte for each answer. As at most one is on its way, writing does not block.
    wake: PipeWriter,
}

impl Mailbox {
    fn put(&self, totals: Totals) {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = Some(totals);
        let _ = (&self.wake).write_all(&[0]); // The reader lives as long as the process.
    }

    fn take(&self) -> Option<Totals> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.take()
    }
}

impl Source {
    /// `wakes` is the end of the pipe that becomes readable with each answer.
    pub fn new(server: Handle, (wakes, wake): (PipeReader, PipeWriter)) -> Source {
        let totals = Mutex::default();
        Source {
            server,
            mailbox: Arc::new(Mailbox { totals, wake }),
            wakes,
            is_asked: false,
            latest: None,
        }
    }

    /// What to poll for: the loop's answer.
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.wakes, PollFlags::IN)
    }

    /// Takes the answer. To be called after an event.
    pub fn receive(&mut self) {
        let _ = self.wakes.read(&mut [0]); // There is a byte.
        if let Some(totals) = self.mailbox.take() {
            self.latest = Some((Instant::now(), totals));
            self.is_asked = false;
        }
    }

    /// What the server says to a question of `asked_at`; `None` as long as the loop has not
    /// answered.
    ///
    /// # Errors
    ///
    /// If the loop does not run, or has not answered in time.
    pub fn status(&mut self, asked_at: Instant) -> Option<io::Result<Status>> {
        if let Some((at, totals)) = self.latest
            && at.elapsed() < MAX_AGE
        {
            return Some(Ok(Status {
                totals,
                lost_records: logger::lost_records(),
                is_stopping: self.server.is_stopping(),
            }));
        }
        if asked_at.elapsed() >= ANSWER_TIMEOUT {
            let what = "the loop has not answered within 1 s";
            return Some(Err(io::Error::new(ErrorKind::TimedOut, what)));
        }
        self.ask().err().map(Err)
    }

    fn ask(&mut self) -> io::Result<()> {
        if !self.is_asked {
            let mailbox = Arc::clone(&self.mailbox);
            self.server
                .request_totals(move |totals| mailbox.put(totals))?;
            self.is_asked = true;
        }
        Ok(())
    }
}
