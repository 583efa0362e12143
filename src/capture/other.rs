//! Packets that are in no connection: they are named and counted.

use std::collections::BTreeMap;
use std::fmt;

/// Kinds that are told apart; what is more is counted together.
const MAX_KINDS: usize = 64;

/// Why a packet is in no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Other {
    /// What was captured ends before the end of the headers.
    Cut,
    /// As [`Other::Cut`], and it is TCP.
    CutTcp,
    /// The headers contradict each other.
    Malformed,
    /// A later fragment of a TCP segment: its header is in the first.
    TcpFragment,
    /// No IP.
    EtherType(u16),
    /// No IP, on a link type that numbers address families.
    Family(u16),
    /// A link type that is not read.
    LinkType(u16),
    /// IP with another protocol than TCP.
    IpProtocol(u8),
    /// TCP of other ports than the one that was asked for.
    OtherPort,
    /// One of more kinds than are told apart.
    Unnamed,
}

impl Other {
    /// Whether it may be a packet of a connection that counts.
    #[must_use]
    pub fn may_be_tcp(self) -> bool {
        matches!(
            self,
            Other::Cut | Other::CutTcp | Other::Malformed | Other::TcpFragment | Other::LinkType(_)
        )
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Other::Cut => f.write_str("cut before the end of the headers"),
            Other::CutTcp => f.write_str("cut in the TCP header"),
            Other::Malformed => f.write_str("malformed"),
            Other::TcpFragment => f.write_str("a later fragment of TCP"),
            Other::EtherType(0x0806) => f.write_str("ARP"),
            Other::EtherType(number) => write!(f, "EtherType 0x{number:04x}"),
            Other::Family(number) => write!(f, "address family {number}"),
            Other::LinkType(number) => write!(f, "link type {number}, which is not read"),
            Other::IpProtocol(1) => f.write_str("ICMP"),
            Other::IpProtocol(58) => f.write_str("ICMPv6"),
            Other::IpProtocol(17) => f.write_str("UDP"),
            Other::IpProtocol(number) => write!(f, "IP protocol {number}"),
            Other::OtherPort => f.write_str("TCP of other ports"),
            Other::Unnamed => f.write_str("of other kinds"),
        }
    }
}

/// How many packets of which kind are in no connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherCounts(BTreeMap<Other, u64>);

impl OtherCounts {
    pub(crate) fn add(&mut self, other: Other) {
        let is_known = self.0.len() < MAX_KINDS || self.0.contains_key(&other);
        *self
            .0
            .entry(if is_known { other } else { Other::Unnamed })
            .or_default() += 1;
    }

    /// Each kind and its packets.
    pub fn iter(&self) -> impl Iterator<Item = (Other, u64)> {
        self.0.iter().map(|(other, count)| (*other, *count))
    }
}
