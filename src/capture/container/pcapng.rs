//! pcapng: sections of blocks, with interfaces of different link types.

use std::io::{self, BufRead, Read};

use super::{Fields, Header, Notes, invalid, is_at_end, read};

/// The same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// No file has as many; each takes memory.
const MAX_INTERFACES: usize = 4096;

struct Interface {
    link_type: u16,
    snaplen: u32,
    /// Units of time per second.
    units: u128,
    /// Seconds to add to each time.
    offset: i64,
    fcs: u8,
}

#[derive(Default)]
pub struct Pcapng {
    big_endian: bool,
    /// The first section's magic number has been read.
    started: bool,
    interfaces: Vec<Interface>,
    /// Where in `interfaces` those of this section begin.
    section: usize,
}

impl Interface {
    fn read(body: Fields<'_>) -> Option<Interface> {
        let (link_type, snaplen) = (body.u16(0)?, body.u32(4)?);
        let mut interface = Interface {
            link_type,
            snaplen,
            units: 1_000_000,
            offset: 0,
            fcs: 0,
        };
        for (code, value) in body.options(8) {
            match (code, value.bytes) {
                (9, &[exponent, ..]) => {
                    let base = if exponent & 0x80 == 0 { 10_u128 } else { 2 };
                    interface.units = base.checked_pow(u32::from(exponent & 0x7f))?;
                }
                (13, &[len, ..]) => interface.fcs = len,
                (14, _) => interface.offset = value.u64(0)?.cast_signed(),
                _ => {}
            }
        }
        Some(interface)
    }

    /// Nanoseconds since 1970.
    fn time(&self, ticks: u64) -> i64 {
        let ticks = u128::from(ticks);
        // No overflow, as remainders are no larger than a u64.
        let rest = ticks % self.units * 1_000_000_000 / self.units;
        let nanos = i64::try_from(ticks / self.units * 1_000_000_000 + rest).unwrap_or(i64::MAX);
        nanos.saturating_add(self.offset.saturating_mul(1_000_000_000))
    }
}

impl Pcapng {
    /// Reads blocks until one has a packet. `block` gets the body, the packet first.
    pub fn next(
        &mut self,
        input: &mut impl BufRead,
        block: &mut Vec<u8>,
        notes: &mut Notes,
    ) -> io::Result<Option<Header>> {
        while !is_at_end(input)? {
            let Some((kind, len)) = self.block(input, block)? else {
                notes.cut = true;
                return Ok(None);
            };
            let header = match (kind, self.fields(block)) {
                (SECTION_HEADER, _) => None,
                (1, _) if self.interfaces.len() == MAX_INTERFACES => {
                    return Err(invalid("over 4,096 interfaces"));
                }
                (1, body) => {
                    let interface = Interface::read(body);
                    self.interfaces.push(
                        interface.ok_or_else(|| invalid("an interface that is not understood"))?,
                    );
                    None
                }
                (2, body) => Some((20, self.packet(body, body.u16(0).map(u32::from)))),
                (3, body) => Some((4, self.simple_packet(body))),
                (5, body) => {
                    self.statistics(body, notes);
                    None
                }
                (6, body) => Some((20, self.packet(body, body.u32(0)))),
                _ => None,
            };
            if let Some((start, header)) = header {
                let header = header.filter(|header| start + header.captured <= len);
                let header = header.ok_or_else(|| invalid("a packet beyond its block"))?;
                block.copy_within(start..start + header.captured, 0);
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn fields<'a>(&self, bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            bytes,
            big_endian: self.big_endian,
        }
    }

    /// Reads the next block's body. Returns its type and length, `None` if it is cut.
    fn block(
        &mut self,
        input: &mut impl BufRead,
        block: &mut Vec<u8>,
    ) -> io::Result<Option<(u32, usize)>> {
        // The file's first 4 bytes have been read.
        let before = if self.started { 0 } else { 4 };
        if !read(input, block, 12 - before)? {
            return Ok(None);
        }
        if before > 0 {
            block.splice(0..0, SECTION_HEADER.to_ne_bytes());
            self.started = true;
        }
        if block[..4] == SECTION_HEADER.to_ne_bytes() {
            self.big_endian = match block[8..] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(invalid("a section without byte order")),
            };
            self.section = self.interfaces.len();
        }
        let head = self.fields(block);
        let (kind, len) = (head.u32(0).unwrap_or(0), head.u32(4).unwrap_or(0));
        if len < 12 || !len.is_multiple_of(4) {
            return Err(invalid("a block has an impossible length"));
        }
        if !matches!(kind, 1..=3 | 5 | 6 | SECTION_HEADER) {
            let rest = u64::from(len) - 12;
            return Ok(
                (io::copy(&mut input.take(rest), &mut io::sink())? == rest).then_some((kind, 0))
            );
        }
        let beginning = [8, 9, 10, 11].map(|at| block[at]);
        if !read(input, block, len as usize - 12)? {
            return Ok(None);
        }
        block.splice(0..0, beginning);
        let body = block.len() - 4;
        if self.fields(block).u32(body) != Some(len) {
            return Err(invalid("the two lengths of a block differ"));
        }
        Ok(Some((kind, body)))
    }

    fn interface(&self, in_section: u32) -> Option<(u32, &Interface)> {
        let at = self.section + in_section as usize;
        Some((u32::try_from(at).ok()?, self.interfaces.get(at)?))
    }

    /// An Enhanced Packet Block, or an obsolete Packet Block.
    fn packet(&self, body: Fields<'_>, interface: Option<u32>) -> Option<Header> {
        let (at, interface) = self.interface(interface?)?;
        Some(Header {
            captured: body.u32(12)? as usize,
            original: body.u32(16)?,
            time: Some(interface.time(body.ticks(4)?)),
            interface: at,
            link_type: interface.link_type,
            fcs: interface.fcs,
        })
    }

    fn simple_packet(&self, body: Fields<'_>) -> Option<Header> {
        let (at, interface) = self.interface(0)?;
        let original = body.u32(0)?;
        let snaplen = if interface.snaplen == 0 {
            u32::MAX
        } else {
            interface.snaplen
        };
        Some(Header {
            captured: original.min(snaplen) as usize,
            original,
            time: None,
            interface: at,
            link_type: interface.link_type,
            fcs: interface.fcs,
        })
    }

    /// An Interface Statistics Block.
    fn statistics(&self, body: Fields<'_>, notes: &mut Notes) {
        let Some((_, interface)) = body.u32(0).and_then(|id| self.interface(id)) else {
            return;
        };
        for (code, value) in body.options(12) {
            match code {
                3 => {
                    notes.end = notes
                        .end
                        .max(value.ticks(0).map(|ticks| interface.time(ticks)));
                }
                5 | 7 => notes.dropped = notes.dropped.saturating_add(value.u64(0).unwrap_or(0)),
                _ => {}
            }
        }
    }
}
