//! pcap: a header, then records of one link type.

use std::io::{self, BufRead};

use super::{Fields, Header, Notes, invalid, is_at_end, read};

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
    pub fn read(input: &mut impl BufRead, mut magic: Vec<u8>) -> io::Result<Pcap> {
        let is_magic = |magic| [MICROSECONDS, NANOSECONDS, KUZNETZOV].contains(&magic);
        let in_order = |big_endian| {
            Fields {
                bytes: &magic,
                big_endian,
            }
            .u32(0)
            .unwrap_or(0)
        };
        let Some(big_endian) = [false, true]
            .into_iter()
            .find(|order| is_magic(in_order(*order)))
        else {
            return Err(invalid("no capture: neither pcap nor pcapng"));
        };
        let magic_number = in_order(big_endian);
        if !read(input, &mut magic, 20)? {
            return Err(invalid("no capture: its header is cut"));
        }
        let fields = Fields {
            bytes: &magic,
            big_endian,
        };
        let (minor, link) = (fields.u16(2).unwrap_or(0), fields.u32(16).unwrap_or(0));
        Ok(Pcap {
            big_endian,
            magic: magic_number,
            minor,
            link_type: u16::try_from(link & 0x03ff_ffff).unwrap_or(u16::MAX),
            // The upper bits have the length in words of 16 bits, if bit 26 says so.
            fcs: if link & 0x0400_0000 == 0 {
                0
            } else {
                (link >> 28) as u8 * 2
            },
        })
    }

    pub fn next(
        &mut self,
        input: &mut impl BufRead,
        record: &mut Vec<u8>,
        notes: &mut Notes,
    ) -> io::Result<Option<Header>> {
        if is_at_end(input)? {
            return Ok(None);
        }
        notes.cut = !read(input, record, if self.magic == KUZNETZOV { 24 } else { 16 })?;
        if notes.cut {
            return Ok(None);
        }
        let fields = Fields {
            bytes: record,
            big_endian: self.big_endian,
        };
        let [seconds, fraction, mut captured, mut original, interface] =
            [0, 4, 8, 12, 16].map(|at| fields.u32(at).unwrap_or(0));
        // Version 2.3 was written with both orders of the lengths (libpcap, `sf-pcap.c`).
        if self.minor < 3 || self.minor == 3 && captured > original {
            (captured, original) = (original, captured);
        }
        notes.cut = !read(input, record, captured as usize)?;
        let unit = if self.magic == NANOSECONDS { 1 } else { 1_000 };
        Ok((!notes.cut).then_some(Header {
            captured: captured as usize,
            original,
            time: Some(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * unit),
            interface,
            link_type: self.link_type,
            fcs: self.fcs,
        }))
    }
}
