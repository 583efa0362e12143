//! pcap: a header, then records of one link type.

use std::io::{self, Read};

use super::{Fields, Header, Notes, Window, invalid};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Microseconds, and in each record also the interface.
const KUZNETZOV: u32 = 0xa1b2_cd34;

pub struct Pcap {
    big_endian: bool,
    magic: u32,
    minor: u16,
    link_type: u16,
    fcs: u8,
}

impl Pcap {
    pub fn read(input: &mut Window<impl Read>) -> io::Result<Pcap> {
        const LEN: usize = 24;
        let is_cut = !input.has(LEN)?;
        let fields = [false, true].map(|big_endian| Fields {
            bytes: input.bytes(),
            big_endian,
        });
        let magic = |fields: &Fields<'_>| fields.u32(0).unwrap_or(0);
        let is_pcap =
            |fields: &&Fields<'_>| matches!(magic(fields), MICROSECONDS | NANOSECONDS | KUZNETZOV);
        let fields = fields.iter().find(is_pcap);
        let fields = fields.ok_or_else(|| invalid("no capture: neither pcap nor pcapng"))?;
        if is_cut {
            return Err(invalid("no capture: its header is cut"));
        }
        let link = fields.u32(20).unwrap_or(0);
        let pcap = Pcap {
            big_endian: fields.big_endian,
            magic: magic(fields),
            minor: fields.u16(6).unwrap_or(0),
            link_type: u16::try_from(link & 0x03ff_ffff).unwrap_or(u16::MAX),
            // The upper bits have the length in words of 16 bits, if bit 26 says so.
            fcs: if link & 0x0400_0000 == 0 {
                0
            } else {
                (link >> 28) as u8 * 2
            },
        };
        input.pass(LEN)?;
        Ok(pcap)
    }

    pub fn next(
        &self,
        input: &mut Window<impl Read>,
        notes: &mut Notes,
    ) -> io::Result<Option<Header>> {
        if !input.has(1)? {
            return Ok(None);
        }
        let start = if self.magic == KUZNETZOV { 24 } else { 16 };
        notes.cut = !input.has(start)?;
        if notes.cut {
            return Ok(None);
        }
        let fields = Fields {
            bytes: &input.bytes()[..start],
            big_endian: self.big_endian,
        };
        let number = |at| fields.u32(at).unwrap_or(0);
        let (seconds, fraction, interface) = (number(0), number(4), number(16));
        let (mut captured, mut original) = (number(8), number(12));
        // Version 2.3 was written with both orders of the lengths (libpcap, `sf-pcap.c`).
        if self.minor < 3 || self.minor == 3 && captured > original {
            (captured, original) = (original, captured);
        }
        let captured = captured as usize;
        notes.cut = !input.has(start.saturating_add(captured))?;
        let unit = if self.magic == NANOSECONDS { 1 } else { 1_000 };
        Ok((!notes.cut).then_some(Header {
            record: start + captured,
            start,
            captured,
            original,
            time: Some(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * unit),
            interface,
            link_type: self.link_type,
            fcs: self.fcs,
        }))
    }
}
