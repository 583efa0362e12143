//! pcapng: sections of blocks, with interfaces of different link types.

use std::io::{self, Read};

use super::{Fields, Header, Notes, Window, invalid};

/// The same in both byte orders.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// No file has as many; each takes memory.
const MAX_INTERFACES: usize = 4096;

#[derive(Clone, Copy)]
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
    /// Reads blocks until one has a packet.
    pub fn next(
        &mut self,
        input: &mut Window<impl Read>,
        notes: &mut Notes,
    ) -> io::Result<Option<Header>> {
        while input.has(1)? {
            notes.cut = !input.has(12)?;
            if notes.cut {
                return Ok(None);
            }
            let (kind, len) = self.begin(input.bytes())?;
            if !matches!(kind, 1..=3 | 5 | 6) {
                notes.cut = !input.pass(len)?;
                continue;
            }
            notes.cut = !input.has(len)?;
            if notes.cut {
                return Ok(None);
            }
            let block = Fields {
                bytes: &input.bytes()[8..len],
                big_endian: self.big_endian,
            };
            if block.u32(len - 12) != u32::try_from(len).ok() {
                return Err(invalid("the two lengths of a block differ"));
            }
            let body = Fields {
                bytes: &block.bytes[..len - 12],
                ..block
            };
            if let Some(header) = self.block(kind, body, notes)? {
                if header.start + header.captured > len - 4 {
                    return Err(invalid("a packet beyond its block"));
                }
                return Ok(Some(Header {
                    record: len,
                    ..header
                }));
            }
            input.pass(len)?;
        }
        Ok(None)
    }

    /// Type and length of the block that begins here. A section header says the byte order.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<(u32, usize)> {
        if bytes[..4] == SECTION_HEADER.to_ne_bytes() {
            self.big_endian = match bytes[8..12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(invalid("a section without byte order")),
            };
            self.section = self.interfaces.len();
        }
        let fields = Fields {
            bytes,
            big_endian: self.big_endian,
        };
        let (kind, len) = (fields.u32(0).unwrap_or(0), fields.u32(4).unwrap_or(0));
        if len < 12 || !len.is_multiple_of(4) {
            return Err(invalid("a block has an impossible length"));
        }
        Ok((kind, len as usize))
    }

    /// Takes in a block. Returns the header of its packet, if it has one.
    fn block(
        &mut self,
        kind: u32,
        body: Fields<'_>,
        notes: &mut Notes,
    ) -> io::Result<Option<Header>> {
        let packet = match kind {
            1 if self.interfaces.len() == MAX_INTERFACES => {
                return Err(invalid("over 4,096 interfaces"));
            }
            1 => {
                let interface = Interface::read(body);
                let unknown = || invalid("an interface that is not understood");
                self.interfaces.push(interface.ok_or_else(unknown)?);
                return Ok(None);
            }
            5 => {
                self.statistics(body, notes);
                return Ok(None);
            }
            2 => self.packet(body, body.u16(0).map(u32::from)),
            3 => self.simple_packet(body),
            _ => self.packet(body, body.u32(0)),
        };
        packet
            .map(Some)
            .ok_or_else(|| invalid("a packet beyond its block"))
    }

    fn interface(&self, in_section: u32) -> Option<(u32, Interface)> {
        let at = self.section + in_section as usize;
        Some((u32::try_from(at).ok()?, *self.interfaces.get(at)?))
    }

    /// An Enhanced Packet Block, or an obsolete Packet Block.
    fn packet(&self, body: Fields<'_>, interface: Option<u32>) -> Option<Header> {
        let (at, interface) = self.interface(interface?)?;
        let time = Some(interface.time(body.ticks(4)?));
        Some(Header::in_block(
            28,
            body.u32(12)?,
            body.u32(16)?,
            time,
            at,
            interface,
        ))
    }

    fn simple_packet(&self, body: Fields<'_>) -> Option<Header> {
        let (at, interface) = self.interface(0)?;
        let original = body.u32(0)?;
        let snaplen = if interface.snaplen == 0 {
            u32::MAX
        } else {
            interface.snaplen
        };
        Some(Header::in_block(
            12,
            original.min(snaplen),
            original,
            None,
            at,
            interface,
        ))
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

impl Header {
    fn in_block(
        start: usize,
        captured: u32,
        original: u32,
        time: Option<i64>,
        at: u32,
        interface: Interface,
    ) -> Header {
        Header {
            record: 0,
            start,
            captured: captured as usize,
            original,
            time,
            interface: at,
            link_type: interface.link_type,
            fcs: interface.fcs,
        }
    }
}
