//! The TCP segments of a capture file in pcap format.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;

/// One captured TCP segment.
#[derive(Debug, Clone)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// Bytes of data.
    pub len: usize,
}

impl Segment {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// An ACK without data, SYN, FIN or RST.
    pub fn is_pure_ack(&self) -> bool {
        self.len == 0 && !self.has(SYN | FIN | RST)
    }
}

/// The segments of a file to which tcpdump may still write. An incomplete packet at the
/// end is left out.
pub fn segments(file: &[u8]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let Some((header, mut rest)) = file.split_at_checked(24) else {
        return segments;
    };
    assert_eq!(header[..4], 0xa1b2_c3d4_u32.to_ne_bytes(), "a pcap file");
    assert_eq!(header[20..24], 1_u32.to_ne_bytes(), "of Ethernet frames");
    while let Some((header, after)) = rest.split_at_checked(16) {
        let captured = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        let Some((frame, after)) = after.split_at_checked(captured) else {
            break;
        };
        segments.extend(segment(frame));
        rest = after;
    }
    segments
}

/// Parses an Ethernet frame, `None` unless it is TCP. The frame may be truncated after the
/// headers: the lengths are those of the IP header.
fn segment(frame: &[u8]) -> Option<Segment> {
    let (ethertype, packet) = (be16(&frame[12..]), &frame[14..]);
    let (from, to, header, total): (IpAddr, IpAddr, usize, usize) = match ethertype {
        0x0800 if packet[9] == 6 => {
            let address = |at| -> [u8; 4] { packet[at..at + 4].try_into().unwrap() };
            let header = usize::from(packet[0] & 0x0f) * 4;
            let total = usize::from(be16(&packet[2..]));
            (address(12).into(), address(16).into(), header, total)
        }
        0x86dd if packet[6] == 6 => {
            let address = |at| -> [u8; 16] { packet[at..at + 16].try_into().unwrap() };
            let total = 40 + usize::from(be16(&packet[4..]));
            (address(8).into(), address(24).into(), 40, total)
        }
        _ => return None,
    };
    let tcp = &packet[header..];
    Some(Segment {
        from: (from, be16(tcp)).into(),
        to: (to, be16(&tcp[2..])).into(),
        seq: be32(&tcp[4..]),
        ack: be32(&tcp[8..]),
        flags: tcp[13],
        len: total - header - usize::from(tcp[12] >> 4) * 4,
    })
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
