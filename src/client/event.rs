//! What a client reports while it runs.

use std::time::Duration;

use crate::client::statistics::Close;
use crate::client::verifier::Fault;

/// What happens on a connection. Connections and lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
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
    /// A burst is complete: its echoes, and the data segments that they took.
    Segments {
        /// Number of the connection.
        connection: u64,
        /// Lines of the burst.
        lines: u64,
        /// Data segments received since the last burst; `None` where the platform
        /// does not count them.
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
    /// A wrong echo came.
    Wrong {
        /// Number of the connection.
        connection: u64,
        /// Number of the line that it was taken for.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A line was lost: no echo came within the timeout, or the connection ended.
    Lost {
        /// Number of the connection.
        connection: u64,
        /// Number of the line.
        line: u64,
    },
    /// A connection ended.
    Closed {
        /// Number of the connection.
        connection: u64,
        /// How it ended.
        close: Close,
    },
}
