//! What the lines of a connection add up to.

use std::fmt;

use crate::capture::echo::Settings;
use crate::capture::lines::Line;

/// Numbers of packets per line that are told apart; above, they count as one.
const MAX_DIFFERENT: usize = 64;
/// Lines that are named.
const MAX_NAMED: usize = 8;

/// What is wrong with an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Its bytes differ from the line's.
    Changed,
    /// It came after the echo of a later line.
    Reordered,
    /// It had come before.
    Repeated,
    /// It never came.
    Lost,
    /// There was no line that it could be the echo of.
    Unexpected,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Changed => "differs",
            Fault::Reordered => "came after a later line",
            Fault::Repeated => "came twice",
            Fault::Lost => "was lost",
            Fault::Unexpected => "came without a line",
        })
    }
}

/// How many lines took how many packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketsPerLine {
    /// Nearly all lines.
    one: u64,
    others: Vec<(u32, u64)>,
}

impl PacketsPerLine {
    fn add(&mut self, packets: u32, lines: u64) {
        let count = if packets == 1 {
            &mut self.one
        } else {
            let at = self.others.partition_point(|(other, _)| *other < packets);
            let is_known = self
                .others
                .get(at)
                .is_some_and(|(other, _)| *other == packets);
            if !is_known && self.others.len() < MAX_DIFFERENT {
                self.others.insert(at, (packets, 0));
            }
            // With as many kinds, those in between count as the next.
            let at = at.min(self.others.len() - 1);
            &mut self.others[at].1
        };
        *count += lines;
    }

    /// Adds the lines of another connection.
    pub fn merge(&mut self, other: &PacketsPerLine) {
        for (packets, lines) in other.iter() {
            self.add(packets, lines);
        }
    }

    /// Packets per line, and how many lines took as many.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let one = (self.one > 0).then_some((1, self.one));
        one.into_iter().chain(self.others.iter().copied())
    }
}

/// What the lines of a connection add up to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Lines that the client sent, where they are known.
    pub requests: u64,
    /// Lines of the server with counted packets.
    pub echoes: u64,
    /// Of these, the right echoes of lines that are known.
    pub matched: u64,
    /// How many echoes took how many packets.
    pub packets_per_line: PacketsPerLine,
    /// Echoes in a packet that may be several on the wire: their packets are at least as
    /// many.
    pub at_least: u64,
    /// Echoes in a packet that may have been sent again after a loss before the capture
    /// point.
    pub unsure: u64,
    /// Echoes in a packet that was the first to acknowledge the line.
    pub ack_on_echo: u64,
    /// Lines or echoes without their counterpart, as bytes are not known or were too many.
    pub not_compared: u64,
    /// Parts of the server's stream that are no whole lines, as bytes are not known.
    pub damaged: u64,
    /// Lines that were not remembered, as over 64 KiB of them waited.
    pub forgotten: u64,
    /// Lines that wait for their echoes at the end of the capture.
    pub pending: u64,
    /// Wrong echoes.
    pub wrong: u64,
    /// The first wrong echoes: number of the line, and what is wrong.
    pub faults: Vec<(u64, Fault)>,
    /// The first lines that did not take one packet, or as many as expected: number and
    /// packets.
    pub unusual: Vec<(u64, u32)>,
    /// What stands before each echo.
    pub prefix: Box<[u8]>,
    /// Echoes that took more or fewer packets than expected.
    pub unexpected_packets: u64,
    /// Echoes of which it is not known whether they did.
    pub undecided_packets: u64,
    /// Lines before the first that has an echo, in a capture that begins in the middle.
    pub(crate) before_search: u64,
    /// The first echo fits several lines, in a capture that begins in the middle.
    pub(crate) ambiguous: bool,
}

impl Tally {
    /// Counts the packets of an echo.
    pub(crate) fn count(&mut self, settings: &Settings, number: u64, reply: &Line) {
        self.echoes += 1;
        self.packets_per_line.add(reply.packets, 1);
        self.at_least += u64::from(reply.at_least);
        self.unsure += u64::from(reply.unsure);
        let packets = u64::from(reply.packets);
        if let Some(expected) = settings.expected_packets {
            if reply.unsure || reply.at_least && packets <= expected {
                self.undecided_packets += 1;
            } else if packets != expected {
                self.unexpected_packets += 1;
            }
        }
        if packets != settings.expected_packets.unwrap_or(1) && self.unusual.len() < MAX_NAMED {
            self.unusual.push((number, reply.packets));
        }
    }

    pub(crate) fn fault(&mut self, number: u64, fault: Fault) {
        self.wrong += 1;
        if self.faults.len() < MAX_NAMED {
            self.faults.push((number, fault));
        }
    }
}
