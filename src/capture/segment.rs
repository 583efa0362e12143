//! From an IP packet to its TCP segment. Lengths are those of the headers, as Ethernet pads
//! frames and a snaplen cuts them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::capture::Record;
use crate::capture::link::{self, Network, be16};
use crate::capture::other::Other;

pub const FIN: u16 = 0x01;
pub const SYN: u16 = 0x02;
pub const RST: u16 = 0x04;
pub const ACK: u16 = 0x10;

/// Address and port. IPv4 addresses are mapped into IPv6; the halves of an address take less
/// room than a `u128`, which is aligned to 16 bytes.
#[derive(Debug, Clone, Copy, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub addr: [u64; 2],
    pub port: u16,
}

impl Endpoint {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    fn new(addr: u128, port: u16) -> Endpoint {
        let addr = [(addr >> 64) as u64, addr as u64];
        Endpoint { addr, port }
    }

    pub fn is_ipv4(self) -> bool {
        self.addr[0] == 0 && self.addr[1] >> 32 == 0xffff
    }
}

/// Without a call of memcmp, as for an array of numbers.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        let ([a, b], [c, d]) = (self.addr, other.addr);
        (a ^ c) | (b ^ d) | u64::from(self.port ^ other.port) == 0
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> SocketAddr {
        let [high, low] = endpoint.addr.map(u128::from);
        let addr = Ipv6Addr::from_bits(high << 64 | low);
        let addr = addr.to_ipv4_mapped().map_or(IpAddr::V6(addr), IpAddr::V4);
        (addr, endpoint.port).into()
    }
}

/// A TCP segment, or several that offload has merged.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub from: Endpoint,
    pub to: Endpoint,
    pub seq: u32,
    pub ack: u32,
    /// 12 bits.
    pub flags: u16,
    pub window: u16,
    /// The IPv4 identification; 0 in IPv6.
    pub id: u16,
    /// Bytes of data on the wire.
    pub len: u32,
    /// What was captured of them.
    pub data: &'a [u8],
    /// Bytes of TCP options on the wire.
    pub options_len: u32,
    /// What was captured of them.
    pub options: &'a [u8],
    /// The first fragment of an IP packet. The others carry the rest of its data.
    pub is_fragment: bool,
}

impl Segment<'_> {
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Kind and value of each TCP option.
    pub fn options(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.options;
        std::iter::from_fn(move || {
            while let Some((1, after)) = rest.split_first() {
                rest = after;
            }
            let (&kind, &len) = (rest.first()?, rest.get(1)?);
            let value = rest.get(2..len.into())?;
            rest = &rest[len.into()..];
            (kind != 0).then_some((kind, value))
        })
    }
}

/// An IP packet's header.
struct Ip {
    from: u128,
    to: u128,
    id: u16,
    protocol: u8,
    /// Where the content begins.
    header: usize,
    /// Bytes of content on the wire.
    len: u32,
    fragment: Fragment,
}

#[derive(PartialEq)]
enum Fragment {
    Whole,
    First,
    Later,
}

/// The segment that a record has, and where it was seen.
#[inline]
pub fn segment<'a>(record: &Record<'a>) -> Result<(Segment<'a>, Network<'a>), Other> {
    let network = link::network(record)?;
    let ip = match network.bytes.first().ok_or(Other::Cut)? >> 4 {
        4 => ipv4(&network)?,
        6 => ipv6(&network)?,
        _ => return Err(Other::Malformed),
    };
    match (ip.protocol, &ip.fragment) {
        (6, Fragment::Later) => return Err(Other::TcpFragment),
        (6, _) => {}
        (other, _) => return Err(Other::IpProtocol(other)),
    }
    let bytes = network.bytes.get(ip.header..).ok_or(Other::CutTcp)?;
    // What stands behind the IP packet is padding.
    let bytes = &bytes[..bytes.len().min(ip.len as usize)];
    Ok((tcp(&ip, bytes)?, network))
}

#[inline]
fn ipv4(network: &Network<'_>) -> Result<Ip, Other> {
    let header = network.bytes.first_chunk::<20>().ok_or(Other::Cut)?;
    let header_len = u32::from(header[0] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([header[2], header[3]]));
    // 0 stands for more than 65,535 bytes, and for any length before segmentation offload.
    let total = if total == 0 { network.len } else { total }.min(network.limit);
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let mapped = |at: usize| {
        let addr = Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        addr.to_ipv6_mapped().to_bits()
    };
    if header_len < 20 || total < header_len {
        return Err(Other::Malformed);
    }
    Ok(Ip {
        from: mapped(12),
        to: mapped(16),
        id: u16::from_be_bytes([header[4], header[5]]),
        protocol: header[9],
        header: header_len as usize,
        len: total - header_len,
        fragment: match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        },
    })
}

fn ipv6(network: &Network<'_>) -> Result<Ip, Other> {
    let bytes = network.bytes;
    let header = bytes.first_chunk::<40>().ok_or(Other::Cut)?;
    let address = |at: usize| {
        header[at..]
            .first_chunk()
            .map_or(0, |bytes| u128::from_be_bytes(*bytes))
    };
    let payload = u32::from(u16::from_be_bytes([header[4], header[5]]));
    // 0 is a jumbogram (RFC 2675), whose option the kernel may leave out.
    let payload = if payload == 0 {
        network.len.saturating_sub(40)
    } else {
        payload
    };
    let payload = payload.min(network.limit.saturating_sub(40));
    let (mut protocol, mut at, mut fragment) = (header[6], 40, Fragment::Whole);
    loop {
        let byte = |offset: usize| bytes.get(at + offset).copied().ok_or(Other::Cut);
        let len = match protocol {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => usize::from(byte(1)?) * 8 + 8,
            51 => usize::from(byte(1)?) * 4 + 8,
            44 => {
                let field = be16(bytes, at + 2).ok_or(Other::Cut)?;
                fragment = match (field & 0xfff8, field & 1) {
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            _ => break,
        };
        protocol = byte(0)?;
        at += len;
        if fragment == Fragment::Later {
            break;
        }
    }
    let extensions = u32::try_from(at - 40).unwrap_or(u32::MAX);
    Ok(Ip {
        from: address(8),
        to: address(24),
        id: 0,
        protocol,
        header: at,
        len: payload.checked_sub(extensions).ok_or(Other::Malformed)?,
        fragment,
    })
}

#[inline]
fn tcp<'a>(ip: &Ip, bytes: &'a [u8]) -> Result<Segment<'a>, Other> {
    // Where the packet itself ends within the header, it is not the capture that is at fault.
    let cut = if ip.len < 20 {
        Other::Malformed
    } else {
        Other::CutTcp
    };
    let header = bytes.first_chunk::<20>().ok_or(cut)?;
    let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let u32_at = |at: usize| {
        header[at..]
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let header_len = u32::from(header[12] >> 4) * 4;
    if header_len < 20 || header_len > ip.len {
        return Err(Other::Malformed);
    }
    let (options, data) = bytes.split_at(bytes.len().min(header_len as usize));
    Ok(Segment {
        from: Endpoint::new(ip.from, u16_at(0)),
        to: Endpoint::new(ip.to, u16_at(2)),
        seq: u32_at(4),
        ack: u32_at(8),
        flags: u16_at(12) & 0x0fff,
        window: u16_at(14),
        id: ip.id,
        len: ip.len - header_len,
        data,
        options_len: header_len - 20,
        options: &options[20..],
        is_fragment: ip.fragment == Fragment::First,
    })
}
