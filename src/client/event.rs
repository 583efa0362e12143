//! What a client reports while it runs.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::close::Ending;
use crate::client::verifier::Fault;

/// What happens on a connection. Connections and lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is established.
    Connected {
        /// Number of the connection.
        connection: u64,
        /// The server's address.
        addr: SocketAddr,
    },
    /// The right echo of a line came in time.
    Echo {
        /// Number of the connection.
        connection: u64,
        /// Number of the line.
        line: u64,
        /// Bytes of the echo, prefix and newline included.
        len: usize,
        /// Time since the line was sent.
        round_trip: Duration,
    },
    /// All lines that were sent have been answered or given up: the end of a burst.
    Segments {
        /// Number of the connection.
        connection: u64,
        /// Lines sent since the last such event.
        lines: u64,
        /// Data segments received since then; `None` where the platform does not count
        /// them.
        segments: Option<u64>,
    },
    /// The echo of a lost line came after all.
    Late {
        /// Number of the connection.
        connection: u64,
        /// Number of the line.
        line: u64,
        /// Time since the line was sent.
        round_trip: Duration,
    },
    /// A wrong echo of a line came.
    Wrong {
        /// Number of the connection.
        connection: u64,
        /// Number of the line.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A line came that is the echo of no line.
    Extra {
        /// Number of the connection.
        connection: u64,
        /// Its bytes; of one that is too long to be an echo, those that have been looked at.
        len: usize,
    },
    /// A line was lost: no echo came within the timeout, or the connection ended.
    Lost {
        /// Number of the connection.
        connection: u64,
        /// Number of the line.
        line: u64,
    },
    /// A connection ended, or was not established.
    Closed {
        /// Number of the connection.
        connection: u64,
        /// How it ended.
        ending: Ending,
    },
}
