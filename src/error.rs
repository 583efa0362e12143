//! Errors that say what could not be done.

use std::error::Error;
use std::fmt;
use std::io;

use crate::stats::{Plural, Totals};

/// Why [`Server::run`](crate::Server::run) has not stopped as asked.
///
/// `?` turns it into an [`io::Error`] of the same text, from which
/// [`downcast`](io::Error::downcast) gives an abort back.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The server has not begun to serve: the [observer]'s interval is out of range, or no
    /// file descriptor is free for a connection.
    ///
    /// [observer]: crate::Observer::heartbeat_interval
    Start(io::Error),
    /// Polling failed, which no peer can cause.
    Poll(io::Error),
    /// The server was asked to stop again while it was stopping, and closed the connections
    /// that were left.
    #[non_exhaustive]
    Aborted {
        /// What asked again: the name of a signal, or `shutdown requested` by a
        /// [`Handle`](crate::Handle).
        cause: &'static str,
        /// The connections that were left.
        connections: usize,
        /// What the server did, those connections included.
        totals: Box<Totals>,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Start(e) | RunError::Poll(e) => e.fmt(f),
            RunError::Aborted {
                cause, connections, ..
            } => {
                let left = Plural(*connections as u64, "connection");
                write!(f, "{cause} while stopping: {left} aborted")
            }
        }
    }
}

impl Error for RunError {
    /// That of the I/O error, whose text is the text of this one.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Start(e) | RunError::Poll(e) => e.source(),
            RunError::Aborted { .. } => None,
        }
    }
}

impl From<RunError> for io::Error {
    fn from(e: RunError) -> io::Error {
        match e {
            RunError::Start(e) | RunError::Poll(e) => e,
            aborted @ RunError::Aborted { .. } => io::Error::other(aborted),
        }
    }
}

/// An error of the same kind, with what could not be done before its cause.
pub(crate) fn with_context(cause: &io::Error, what: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(cause.kind(), format!("{what}: {cause}"))
}
