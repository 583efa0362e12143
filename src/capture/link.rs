//! From a frame to its IP packet. A link type is a row of [`strip`].
//!
//! Link types: <https://www.tcpdump.org/linktypes.html>.

use crate::capture::Record;
use crate::capture::other::Other;

/// Where a frame was seen: duplicates of a packet differ in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Which interface of the file.
    pub interface: u32,
    /// The kernel's number of the device, where a cooked capture has it; else 0.
    pub device: u32,
    /// Which way the frame passed, where a cooked capture says so (`PACKET_…`,
    /// packet(7)); else [`NO_DIRECTION`].
    pub direction: u8,
}

/// The direction of a frame in a capture that has none.
pub const NO_DIRECTION: u8 = u8::MAX;

/// The device or interface may stand for several: duplicates cannot be told apart.
const SLL: u16 = 113;

/// A frame without its link header.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    pub bytes: &'a [u8],
    /// Bytes of the frame from here on, as it was on the link. Ethernet's padding counts.
    pub len: u32,
    /// Bytes of IP that a header around it allows, where it says so. Senders have been seen
    /// that count bytes behind the end of a PPP session in the IP length.
    pub limit: u32,
    /// The whole frame's length.
    pub frame_len: u32,
    pub point: Point,
    /// Frames of several devices may stand here as if of one.
    pub mixed_devices: bool,
}

/// What the link header says of its content.
enum Protocol {
    EtherType(u16),
    Ip,
    Other(Other),
}

/// Removes the link header, and VLAN tags and the like after it.
#[inline]
pub fn network<'a>(record: &Record<'a>) -> Result<Network<'a>, Other> {
    let mut point = Point {
        interface: record.interface,
        device: 0,
        direction: NO_DIRECTION,
    };
    let (header, protocol) = strip(record.link_type, record.bytes, &mut point)?;
    let content = record.bytes.get(header..).ok_or(Other::Cut)?;
    let (tags, protocol, limit) = strip_tags(protocol, content)?;
    match protocol {
        Protocol::Ip | Protocol::EtherType(0x0800 | 0x86dd) => {}
        Protocol::EtherType(number) => return Err(Other::EtherType(number)),
        Protocol::Other(other) => return Err(other),
    }
    let start = header + tags;
    let outside = u32::try_from(start)
        .unwrap_or(u32::MAX)
        .saturating_add(record.fcs.into());
    Ok(Network {
        bytes: record.bytes.get(start..).ok_or(Other::Cut)?,
        len: record.original_len.saturating_sub(outside),
        limit,
        frame_len: record.original_len,
        point,
        mixed_devices: record.link_type == SLL,
    })
}

/// Length of the link header, and what follows it.
fn strip(link_type: u16, bytes: &[u8], point: &mut Point) -> Result<(usize, Protocol), Other> {
    let u16_at = |at| be16(bytes, at).ok_or(Other::Cut);
    Ok(match link_type {
        // NULL is in the byte order of the writer, which may differ from the file's; LOOP in
        // the network's.
        0 | 108 => {
            let family = bytes.first_chunk::<4>().ok_or(Other::Cut)?;
            let number = u32::from_be_bytes(*family);
            (4, family_protocol(number.min(number.swap_bytes())))
        }
        1 => (14, Protocol::EtherType(u16_at(12)?)),
        12 | 14 | 101 | 228 | 229 => (0, Protocol::Ip),
        SLL => {
            point.direction = u16_at(0)?.try_into().unwrap_or(NO_DIRECTION);
            (16, Protocol::EtherType(u16_at(14)?))
        }
        276 => {
            let device = bytes.get(4..8).and_then(|bytes| bytes.first_chunk());
            point.device = u32::from_be_bytes(*device.ok_or(Other::Cut)?);
            point.direction = *bytes.get(10).ok_or(Other::Cut)?;
            (20, Protocol::EtherType(u16_at(0)?))
        }
        other => return Err(Other::LinkType(other)),
    })
}

/// Address families of BSD's and Linux's kernels, and of Windows.
fn family_protocol(family: u32) -> Protocol {
    match family {
        2 | 10 | 23 | 24 | 26 | 28 | 30 => Protocol::Ip,
        family => Protocol::Other(Other::Family(u16::try_from(family).unwrap_or(u16::MAX))),
    }
}

/// Passes over VLAN tags (802.1Q, 802.1ad, 0x9100) and a PPP session's header, which also
/// says how many bytes follow at most (RFC 2516, section 4).
fn strip_tags(mut protocol: Protocol, bytes: &[u8]) -> Result<(usize, Protocol, u32), Other> {
    let (mut at, mut limit) = (0, u32::MAX);
    loop {
        match protocol {
            Protocol::EtherType(0x8100 | 0x88a8 | 0x9100) => {
                protocol = Protocol::EtherType(be16(bytes, at + 2).ok_or(Other::Cut)?);
                at += 4;
            }
            Protocol::EtherType(0x8864) => {
                protocol = match be16(bytes, at + 6).ok_or(Other::Cut)? {
                    0x0021 | 0x0057 => Protocol::Ip,
                    _ => Protocol::Other(Other::EtherType(0x8864)),
                };
                // The length is that of PPP, with its protocol field.
                let len = be16(bytes, at + 4).ok_or(Other::Cut)?;
                limit = u32::from(len).saturating_sub(2);
                at += 8;
            }
            _ => return Ok((at, protocol, limit)),
        }
    }
}

pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
