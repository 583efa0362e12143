//! Why connections end. Each close has one reason, and each is counted.

use std::fmt;
use std::io;

use crate::packets::Packets;

/// Why we end a connection that its peer has not finished.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// A line is longer than the limit.
    LineLimit,
    /// The peer has been silent for too long.
    IdleTimeout,
    /// The server is stopping.
    Shutdown,
}

/// Why a connection is closed.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The peer finished, and everything was echoed.
    Peer,
    /// We ended it.
    We(Cause),
    /// The peer has vanished, or takes nothing any more.
    SendTimeout,
    /// The stream failed otherwise.
    Error(io::Error),
}

/// How a connection came to its end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub reason: Reason,
    /// Its packets, where the kernel counts them.
    pub packets: Option<Packets>,
}

impl From<io::Error> for Reason {
    fn from(e: io::Error) -> Reason {
        // Of TCP_USER_TIMEOUT and of keepalive alike (tcp(7)).
        if e.kind() == io::ErrorKind::TimedOut {
            Reason::SendTimeout
        } else {
            Reason::Error(e)
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Peer => f.write_str("peer"),
            Reason::We(Cause::LineLimit) => f.write_str("line limit"),
            Reason::We(Cause::IdleTimeout) => f.write_str("idle timeout"),
            Reason::We(Cause::Shutdown) => f.write_str("shutdown"),
            Reason::SendTimeout => f.write_str("send timeout"),
            Reason::Error(e) => write!(f, "error ({e})"),
        }
    }
}

/// How many connections were closed for which reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Closes {
    /// The peer finished, and everything was echoed.
    pub peer: u64,
    /// A line was longer than [`max_line`](crate::Config::max_line).
    pub line_limit: u64,
    /// The peer was silent for [`idle_timeout`](crate::Config::idle_timeout).
    pub idle_timeout: u64,
    /// The peer vanished, or took nothing for
    /// [`send_timeout`](crate::Config::send_timeout).
    pub send_timeout: u64,
    /// The server stopped.
    pub shutdown: u64,
    /// The stream failed otherwise; mostly the peer reset it.
    pub error: u64,
}

impl Closes {
    pub(crate) fn count(&mut self, reason: &Reason) {
        *match reason {
            Reason::Peer => &mut self.peer,
            Reason::We(Cause::LineLimit) => &mut self.line_limit,
            Reason::We(Cause::IdleTimeout) => &mut self.idle_timeout,
            Reason::We(Cause::Shutdown) => &mut self.shutdown,
            Reason::SendTimeout => &mut self.send_timeout,
            Reason::Error(_) => &mut self.error,
        } += 1;
    }
}

/// The reasons that occurred, as the closing records name them.
impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.peer, "peer"),
            (self.line_limit, "line limit"),
            (self.idle_timeout, "idle timeout"),
            (self.send_timeout, "send timeout"),
            (self.shutdown, "shutdown"),
            (self.error, "error"),
        ];
        let mut comma = "";
        for (count, reason) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{comma}{count} by {reason}")?;
            comma = ", ";
        }
        Ok(())
    }
}
