//! What connections did, one by one and all together.

use std::fmt;
use std::time::Duration;

use crate::ending::Closes;
use crate::packets::Packets;

/// What one connection did, for its closing record and the totals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub lines: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub lasted: Duration,
    /// Counted at the close only.
    pub packets: Option<Packets>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines, {} bytes in, {} bytes out, {:.2} s",
            self.lines,
            self.bytes_in,
            self.bytes_out,
            self.lasted.as_secs_f64()
        )?;
        clause(f, self.packets)
    }
}

/// What a server did since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: usize,
    /// Lines echoed, or about to be.
    pub lines: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes that the kernel took for sending.
    pub bytes_out: u64,
    /// Time since the server was bound.
    pub uptime: Duration,
    /// How many connections were closed for which reason.
    pub closes: Closes,
    /// Connections that were closed without having sent a byte.
    pub empty: u64,
    /// Connections refused because of
    /// [`max_per_ip`](crate::Config::max_per_ip).
    pub refused: u64,
    /// The packets of the connections that are closed; `None` before the first
    /// close and where the platform does not count them.
    pub packets: Option<Packets>,
}

impl Totals {
    pub(crate) fn add(&mut self, tally: &Tally) {
        self.lines += tally.lines;
        self.bytes_in += tally.bytes_in;
        self.bytes_out += tally.bytes_out;
        if let Some(packets) = tally.packets {
            self.packets.get_or_insert_default().add(packets);
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} open, {} lines, {} bytes in, {} bytes out, up {:.2} s",
            self.accepted,
            self.open,
            self.lines,
            self.bytes_in,
            self.bytes_out,
            self.uptime.as_secs_f64()
        )?;
        if self.closes != Closes::default() {
            write!(f, "; closed {}", self.closes)?;
        }
        if self.empty > 0 {
            write!(f, "; {} empty", self.empty)?;
        }
        if self.refused > 0 {
            write!(f, "; {} refused", self.refused)?;
        }
        clause(f, self.packets)
    }
}

/// What is known of the packets ends a record.
fn clause(f: &mut fmt::Formatter<'_>, packets: Option<Packets>) -> fmt::Result {
    packets.map_or(Ok(()), |packets| write!(f, "; {packets}"))
}
