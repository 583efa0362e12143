//! Counters: of one connection, of a server, and of closes by reason.

use std::fmt;
use std::time::Duration;

use crate::net::tcp_info::SegmentCounts;

/// What a connection has received and sent so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Lines echoed, or about to be.
    pub lines: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes that the kernel took for sending.
    pub bytes_out: u64,
}

/// What one connection did, for its closing record and the totals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionStats {
    pub traffic: Traffic,
    /// Time since the accept.
    pub duration: Duration,
    /// `None` before the close, and where the platform does not count them.
    pub segments: Option<SegmentCounts>,
}

/// What a server did since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted: those that are open and those that are closed. One that is
    /// refused after its PROXY header counts until then.
    pub accepted: u64,
    /// Connections that are open now, those that await a PROXY header included.
    pub open: usize,
    /// Lines echoed, or about to be.
    pub lines: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes that the kernel took for sending.
    pub bytes_out: u64,
    /// Time since the server was bound.
    pub uptime: Duration,
    /// Closed connections by reason.
    pub closes: CloseCounts,
    /// Closed connections that had not sent a byte.
    pub empty: u64,
    /// Connections refused because of
    /// [`max_per_ip`](crate::Config::max_per_ip).
    pub refused: u64,
    /// How often accepting paused while connections waited, because of
    /// [`max_connections`](crate::Config::max_connections) or a lack of resources. At
    /// a limit each close ends a pause, and the next accept may begin another.
    pub accept_pauses: u64,
    /// Segments of the closed connections; `None` before the first close, and
    /// where the platform does not count them.
    pub segments: Option<SegmentCounts>,
}

/// How many connections were closed for which reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CloseCounts {
    /// The peer finished, and everything was echoed.
    pub peer: u64,
    /// A line was longer than [`max_line`](crate::Config::max_line).
    pub line_limit: u64,
    /// The peer was idle for [`idle_timeout`](crate::Config::idle_timeout).
    pub idle_timeout: u64,
    /// The peer vanished, or took nothing for
    /// [`send_timeout`](crate::Config::send_timeout).
    pub send_timeout: u64,
    /// The server stopped.
    pub shutdown: u64,
    /// It did not begin with a header, which
    /// [`proxy_protocol`](crate::Config::proxy_protocol) requires.
    pub proxy_header: u64,
    /// Any other error of the socket; mostly the peer reset it.
    pub error: u64,
}

impl Totals {
    /// Adds what a connection did, or has done so far.
    pub(crate) fn add(&mut self, stats: &ConnectionStats) {
        self.lines += stats.traffic.lines;
        self.bytes_in += stats.traffic.bytes_in;
        self.bytes_out += stats.traffic.bytes_out;
        if let Some(segments) = stats.segments {
            self.segments.get_or_insert_default().add(segments);
        }
    }
}

/// `3 lines, 17/18 bytes`: received and sent.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, bytes_in, bytes_out) = (self.lines, self.bytes_in, self.bytes_out);
        write!(f, "{}, {bytes_in}/{bytes_out} bytes", Plural(lines, "line"))
    }
}

impl fmt::Display for ConnectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.traffic)?;
        fmt_segments(f, self.segments)?;
        write!(f, "{:.2} s", self.duration.as_secs_f64())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traffic = Traffic {
            lines: self.lines,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        };
        let (accepted, open) = (Plural(self.accepted, "connection"), self.open);
        write!(f, "{accepted}, {open} open, {traffic}, ")?;
        fmt_segments(f, self.segments)?;
        write!(f, "up {:.2} s", self.uptime.as_secs_f64())?;
        if self.closes != CloseCounts::default() {
            write!(f, "; closed {}", self.closes)?;
        }
        if self.empty > 0 {
            write!(f, "; {} empty", self.empty)?;
        }
        if self.refused > 0 {
            write!(f, "; {} refused", self.refused)?;
        }
        Ok(())
    }
}

/// The segment counts and a comma, where they are known.
fn fmt_segments(f: &mut fmt::Formatter<'_>, segments: Option<SegmentCounts>) -> fmt::Result {
    segments.map_or(Ok(()), |segments| write!(f, "{segments}, "))
}

impl CloseCounts {
    /// Connections closed, for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().map(|(_, count)| count).sum()
    }

    /// Each reason, as the closing records name it, and its count.
    pub fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("peer", self.peer),
            ("line limit", self.line_limit),
            ("idle timeout", self.idle_timeout),
            ("send timeout", self.send_timeout),
            ("shutdown", self.shutdown),
            ("proxy header", self.proxy_header),
            ("error", self.error),
        ]
        .into_iter()
    }
}

/// The reasons that occurred.
impl fmt::Display for CloseCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (reason, count) in self.by_reason().filter(|(_, count)| *count > 0) {
            write!(f, "{comma}{count} by {reason}")?;
            comma = ", ";
        }
        Ok(())
    }
}

/// A count and its noun: "1 line", "2 lines".
pub(crate) struct Plural(pub u64, pub &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plural(count, noun) = self;
        write!(f, "{count} {noun}{}", if *count == 1 { "" } else { "s" })
    }
}
