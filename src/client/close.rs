//! How connections end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// The server's FIN came, this long after ours.
    Clean(Duration),
    /// The server's FIN came before ours.
    Early,
    /// The server's FIN did not come within the timeout.
    Missing,
    /// The connection was not established, was reset, or failed otherwise.
    Failed(Failure),
}

/// How a connection ended, and after how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// How it ended.
    pub close: Close,
    /// The last line with a right echo in time; 0 if there is none.
    pub last_line: u64,
    /// Lines that still waited for an echo, and so are lost.
    pub outstanding: u64,
}

/// Why a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    in_connect: bool,
    kind: ErrorKind,
    code: Option<i32>,
}

impl Failure {
    pub(crate) fn of_connect(error: &io::Error) -> Failure {
        Failure {
            in_connect: true,
            ..Failure::of_connection(error)
        }
    }

    pub(crate) fn of_connection(error: &io::Error) -> Failure {
        Failure {
            in_connect: false,
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }

    /// Whether the connection was never established.
    #[must_use]
    pub fn is_of_connect(&self) -> bool {
        self.in_connect
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error.
    pub(crate) fn error(&self) -> io::Error {
        let of_kind = || io::Error::from(self.kind);
        self.code.map_or_else(of_kind, io::Error::from_raw_os_error)
    }
}

/// `connect: Connection refused`, `reset`, `cannot assign address`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.in_connect) {
            // The ports of this host are used up, which the server has no part in.
            (ErrorKind::AddrNotAvailable, _) => return f.write_str("cannot assign address"),
            (ErrorKind::ConnectionReset, false) => return f.write_str("reset"),
            (ErrorKind::TimedOut, true) if self.code.is_none() => {
                return f.write_str("connect: no answer");
            }
            (_, true) => f.write_str("connect: ")?,
            (_, false) => {}
        }
        let text = self.error().to_string();
        // Without the number of the error.
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

/// Connections by how they ended; see [`Close`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Closes {
    /// The server's FIN came after the client's.
    pub clean: u64,
    /// The server's FIN came first.
    pub early: u64,
    /// The server's FIN did not come.
    pub missing: u64,
    /// The connection was not established, was reset, or failed otherwise.
    pub failed: u64,
    /// Those that failed, by why.
    pub failures: BTreeMap<Failure, u64>,
}

impl Closes {
    pub(crate) fn record(&mut self, close: Close) {
        *match close {
            Close::Clean(_) => &mut self.clean,
            Close::Early => &mut self.early,
            Close::Missing => &mut self.missing,
            Close::Failed(failure) => {
                *self.failures.entry(failure).or_default() += 1;
                &mut self.failed
            }
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_why() {
        let os = io::Error::from_raw_os_error;
        let connect = |e: io::Error| Failure::of_connect(&e).to_string();
        let open = |e: io::Error| Failure::of_connection(&e).to_string();
        assert_eq!(
            connect(os(libc::ECONNREFUSED)),
            "connect: Connection refused"
        );
        assert_eq!(connect(os(libc::EADDRNOTAVAIL)), "cannot assign address");
        assert_eq!(connect(ErrorKind::TimedOut.into()), "connect: no answer");
        assert_eq!(open(os(libc::ECONNRESET)), "reset");
        assert_eq!(open(os(libc::EPIPE)), "Broken pipe");
    }
}
