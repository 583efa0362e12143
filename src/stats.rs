//! Counters: of one connection, of a server, and of closes by reason.

use std::fmt;
use std::ops::Index;
use std::time::Duration;

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

/// Defines the reasons, a row each, so that none can be missing in a list of them.
macro_rules! close_reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)+) => {
        /// Why a connection was closed. Each close has one reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* $reason,)+
        }

        impl CloseReason {
            /// All reasons, in the order in which the totals list them.
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$reason),+];

            /// The reason as records name it: `idle timeout`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(CloseReason::$reason => $name,)+
                }
            }
        }
    };
}

close_reasons! {
    /// The peer finished, and everything was echoed.
    Peer = "peer",
    /// A line was longer than [`max_line`](crate::Config::max_line).
    LineLimit = "line limit",
    /// The peer was idle for [`idle_timeout`](crate::Config::idle_timeout).
    IdleTimeout = "idle timeout",
    /// The peer vanished, or took nothing for
    /// [`send_timeout`](crate::Config::send_timeout).
    SendTimeout = "send timeout",
    /// The server stopped.
    Shutdown = "shutdown",
    /// It did not begin with a header, which
    /// [`proxy_protocol`](crate::Config::proxy_protocol) requires.
    ProxyHeader = "proxy header",
    /// Any other error of the socket; mostly the peer reset it.
    Error = "error",
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many connections were closed for which reason: `closes[CloseReason::Peer]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CloseCounts([u64; CloseReason::ALL.len()]);

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
        self.0.iter().sum()
    }

    /// Each reason and its count.
    pub fn by_reason(&self) -> impl Iterator<Item = (CloseReason, u64)> + use<> {
        CloseReason::ALL.iter().copied().zip(self.0)
    }

    /// Counts a close.
    pub(crate) fn count(&mut self, reason: CloseReason) {
        self.0[reason as usize] += 1;
    }
}

impl Index<CloseReason> for CloseCounts {
    type Output = u64;

    fn index(&self, reason: CloseReason) -> &u64 {
        &self.0[reason as usize]
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

/// Segments of one or more connections, as the kernel counted them.
///
/// On the accepting side Linux counts `segs_in` from the SYN on and `segs_out`
/// after the SYN-ACK (`tcp_create_openreq_child` in `net/ipv4/tcp_minisocks.c`). On
/// the connecting side it counts all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SegmentCounts {
    /// Segments received.
    pub segs_in: u64,
    /// Segments received that carried data.
    pub data_segs_in: u64,
    /// Segments sent.
    pub segs_out: u64,
    /// Segments sent that carried data.
    pub data_segs_out: u64,
    /// Retransmitted segments; the two counts above include them. On the accepting side
    /// also repeated SYN-ACKs, which are in no other count.
    pub retransmitted: u64,
}

impl SegmentCounts {
    pub(crate) fn add(&mut self, other: SegmentCounts) {
        self.segs_in += other.segs_in;
        self.data_segs_in += other.data_segs_in;
        self.segs_out += other.segs_out;
        self.data_segs_out += other.data_segs_out;
        self.retransmitted += other.retransmitted;
    }
}

/// Received and sent: `9/4 packets (3/3 data)`, then `, 1 retransmitted` if any were.
impl fmt::Display for SegmentCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all_in, all_out) = (self.segs_in, self.segs_out);
        let (data_in, data_out) = (self.data_segs_in, self.data_segs_out);
        write!(f, "{all_in}/{all_out} packets ({data_in}/{data_out} data)")?;
        match self.retransmitted {
            0 => Ok(()),
            count => write!(f, ", {count} retransmitted"),
        }
    }
}

/// A count and its noun: "1 line", "2 lines".
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Plural(pub u64, pub &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plural(count, noun) = *self;
        write!(f, "{count} {}", Plural::noun(count, noun))
    }
}

impl Plural {
    /// The noun without its count: "line", "lines".
    #[must_use]
    pub fn noun(count: u64, noun: &str) -> String {
        format!("{noun}{}", if count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_name_of_its_own() {
        let mut closes = CloseCounts::default();
        for (n, &reason) in (1..).zip(CloseReason::ALL) {
            (0..n).for_each(|_| closes.count(reason));
            assert_eq!(closes[reason], n);
            assert!(closes.to_string().ends_with(&format!("{n} by {reason}")));
        }
        let counts = closes.by_reason().map(|(_, count)| count);
        assert!(counts.eq(1..=CloseReason::ALL.len() as u64));
        let mut names: Vec<_> = CloseReason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
