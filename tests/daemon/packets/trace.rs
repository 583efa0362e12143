//! The captured segments of one connection, and the checks that hold for all.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;

use echoline::SegmentCounts;

use super::logged_counts;
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_for;
use crate::support::pcap::{FIN, RST, SYN, Segment};
use crate::support::tcpdump::Tcpdump;

/// As the server sees it: in is from the client, out is from the server.
#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    In,
    Out,
}
use Direction::{In, Out};

/// The segments of one connection, and the counts in its closing record.
pub struct Trace {
    pub server: SocketAddr,
    pub segments: Vec<Segment>,
    logged: SegmentCounts,
}

impl Trace {
    /// Waits for the end of the connection of the client that had the address `local`.
    pub fn wait_for(daemon: &Daemon, tcpdump: &Tcpdump, local: SocketAddr) -> Trace {
        let record = daemon.closing_record(local);
        wait_for("the end of the connection", || {
            let mut segments = tcpdump.segments();
            segments.retain(|segment| segment.from == local || segment.to == local);
            let trace = Trace {
                server: daemon.addr,
                segments,
                logged: logged_counts(&record),
            };
            trace.is_complete().then_some(trace)
        })
    }

    pub fn is(&self, direction: Direction, segment: &Segment) -> bool {
        (segment.from == self.server) == (direction == Out)
    }

    pub fn segments(&self, direction: Direction) -> impl Iterator<Item = &Segment> {
        let segments = self.segments.iter();
        segments.filter(move |segment| self.is(direction, segment))
    }

    /// Both sides have acknowledged the other's FIN, or one has sent an RST.
    fn is_complete(&self) -> bool {
        let is_fin_acked = |direction, other| {
            let fin = self.segments(direction).find(|segment| segment.has(FIN));
            fin.is_some_and(|fin| {
                let end = fin.seq.wrapping_add(u32::try_from(fin.len).unwrap() + 1);
                self.segments(other).any(|segment| segment.ack == end)
            })
        };
        let closed = is_fin_acked(In, Out) && is_fin_acked(Out, In);
        closed || self.segments.iter().any(|segment| segment.has(RST))
    }

    /// All segments, in both directions.
    pub fn total(&self) -> usize {
        self.segments.len()
    }

    /// Data segments without retransmissions.
    pub fn data(&self, direction: Direction) -> u64 {
        let data = self.segments(direction).filter(|segment| segment.len > 0);
        data.map(|segment| segment.seq)
            .collect::<HashSet<_>>()
            .len() as u64
    }

    fn retransmitted(&self, direction: Direction) -> u64 {
        let data = self.segments(direction).filter(|segment| segment.len > 0);
        data.count() as u64 - self.data(direction)
    }

    pub fn pure_acks(&self, direction: Direction) -> usize {
        let segments = self.segments(direction);
        segments.filter(|segment| segment.is_pure_ack()).count()
    }

    /// Asserts one SYN and one FIN each way, and no RST.
    pub fn assert_clean_close(&self) {
        for direction in [In, Out] {
            let flagged = |flag| self.segments(direction).filter(|s| s.has(flag)).count();
            assert_eq!(flagged(SYN), 1, "{self}");
            assert_eq!(flagged(FIN), 1, "{self}");
            assert_eq!(flagged(RST), 0, "{self}");
        }
    }

    /// Asserts that the closing record has the counts of the capture.
    ///
    /// The record is made just before the close. So it lacks a FIN that only the close
    /// sends, and the ACK of that FIN. The kernel does not count the SYN-ACK.
    pub fn assert_record_agrees(&self) {
        let close = self.fin_of_the_close();
        let before_close = &self.segments[..close.unwrap_or(self.total())];
        let count = |direction, min_len| {
            let is_counted = |s: &&Segment| self.is(direction, s) && s.len >= min_len;
            before_close.iter().filter(is_counted).count() as u64
        };
        let (logged, has_much_data) = (self.logged, self.data(Out) >= 1000);
        assert_eq!(logged.data_segs_in, count(In, 1), "{self}");
        assert_eq!(logged.data_segs_out, count(Out, 1), "{self}");
        assert_eq!(logged.retransmitted, self.retransmitted(Out), "{self}");

        // With much data the FIN may precede the close: if the kernel has unsent data,
        // the server sends the FIN and closes later.
        let fin = u64::from(close.is_some() && has_much_data);
        let sent = count(Out, 0) - 1;
        assert!((sent..=sent + fin).contains(&logged.segs_out), "{self}");

        // Some ACKs arrive after the record: of a FIN that precedes the close, and of
        // data if there is much.
        let received = count(In, 0);
        let late = match close {
            _ if has_much_data => received - logged.data_segs_in,
            None => 1,
            Some(_) => 0,
        };
        let in_time = received - late;
        assert!((in_time..=received).contains(&logged.segs_in), "{self}");
    }

    /// The index of the server's FIN, if that comes after the client's and without data.
    fn fin_of_the_close(&self) -> Option<usize> {
        let fin = |direction| {
            let is_fin = |s: &Segment| s.has(FIN) && self.is(direction, s);
            self.segments.iter().position(is_fin).unwrap()
        };
        let (client, server) = (fin(In), fin(Out));
        (client < server && self.segments[server].len == 0).then_some(server)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "record {:?}, capture:", self.logged)?;
        for segment in self.segments.iter().take(60) {
            let direction = if self.is(Out, segment) { "out" } else { "in " };
            let (flags, len) = (segment.flags, segment.len);
            writeln!(f, "{direction} flags {flags:02x} len {len}")?;
        }
        Ok(())
    }
}
