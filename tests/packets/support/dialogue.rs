//! A connection, packet by packet, as both kernels would send it.

use std::net::SocketAddr;

use super::file::pcap;
use super::frame::{ACK, FIN, MSS, PSH, RST, SYN, Segment};

/// 2026-01-01.
pub const START: i64 = 1_767_225_600_000_000_000;
pub const MILLISECOND: i64 = 1_000_000;
pub const SECOND: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}
pub use Side::{Client, Server};

#[derive(Debug, Clone)]
pub struct Dialogue {
    pub segments: Vec<Segment>,
    time: i64,
    addrs: [SocketAddr; 2],
    /// What each side sends next.
    next: [u32; 2],
    ids: [u16; 2],
}

impl Dialogue {
    /// Between two addresses, with these initial sequence numbers.
    pub fn between(addrs: [&str; 2], isns: [u32; 2]) -> Dialogue {
        Dialogue {
            segments: Vec::new(),
            time: START,
            addrs: addrs.map(|addr| addr.parse().unwrap()),
            next: isns,
            ids: [100, 40_000],
        }
    }

    /// On IPv4, before the handshake.
    pub fn new() -> Dialogue {
        Dialogue::between(["10.0.0.2:40000", "10.0.0.1:3000"], [1000, 9000])
    }

    /// After the handshake.
    pub fn open() -> Dialogue {
        Dialogue::new().handshake()
    }

    /// The next packet comes this much later.
    pub fn wait(mut self, time: i64) -> Dialogue {
        self.time += time;
        self
    }

    /// Adds a packet; `change` may alter it.
    pub fn packet(
        mut self,
        side: Side,
        flags: u16,
        data: &[u8],
        change: impl FnOnce(&mut Segment),
    ) -> Dialogue {
        let (from, to) = (side as usize, 1 - side as usize);
        self.time += MILLISECOND / 10;
        self.ids[from] += 1;
        let mut segment = Segment {
            time: self.time,
            from: self.addrs[from],
            to: self.addrs[to],
            seq: self.next[from],
            ack: if flags & ACK == 0 { 0 } else { self.next[to] },
            flags,
            window: 500,
            id: self.ids[from],
            options: if flags & SYN == 0 {
                Vec::new()
            } else {
                MSS.to_vec()
            },
            data: data.to_vec(),
        };
        change(&mut segment);
        let numbers = u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
        let end = segment
            .seq
            .wrapping_add(u32::try_from(data.len()).unwrap() + numbers);
        if end.wrapping_sub(self.next[from]).cast_signed() > 0 {
            self.next[from] = end;
        }
        self.segments.push(segment);
        self
    }

    pub fn handshake(self) -> Dialogue {
        let syn = self.packet(Client, SYN, b"", |_| {});
        syn.packet(Server, SYN | ACK, b"", |_| {}).ack(Client)
    }

    pub fn data(self, side: Side, data: &[u8]) -> Dialogue {
        self.packet(side, PSH | ACK, data, |_| {})
    }

    /// Sends what `side` has sent before, from `back` bytes before its end.
    pub fn again(self, side: Side, back: u32, data: &[u8]) -> Dialogue {
        self.packet(side, PSH | ACK, data, |segment| segment.seq -= back)
    }

    pub fn ack(self, side: Side) -> Dialogue {
        self.packet(side, ACK, b"", |_| {})
    }

    pub fn fin(self, side: Side) -> Dialogue {
        self.packet(side, FIN | ACK, b"", |_| {})
    }

    pub fn reset(self, side: Side) -> Dialogue {
        self.packet(side, RST | ACK, b"", |_| {})
    }

    /// A line, its echo, the ACK of that.
    pub fn exchange(self, line: &[u8]) -> Dialogue {
        self.data(Client, line).data(Server, line).ack(Client)
    }

    /// Three packets: the client closes first.
    pub fn close(self) -> Dialogue {
        self.fin(Client).fin(Server).ack(Client)
    }

    /// Another connection follows, which begins at the same time as the last packet.
    pub fn then(mut self, other: Dialogue) -> Dialogue {
        let shift = self.time - START;
        for mut segment in other.segments {
            segment.time += shift;
            self.segments.push(segment);
        }
        self.time = self.segments.last().map_or(START, |segment| segment.time);
        self
    }

    /// Without the packets of these numbers, which count from 1.
    pub fn without(mut self, numbers: &[usize]) -> Dialogue {
        let mut number = 0;
        self.segments.retain(|_| {
            number += 1;
            !numbers.contains(&number)
        });
        self
    }

    /// With two packets, which count from 1, in each other's place.
    pub fn swapped(mut self, a: usize, b: usize) -> Dialogue {
        self.segments.swap(a - 1, b - 1);
        let (time_a, time_b) = (self.segments[a - 1].time, self.segments[b - 1].time);
        self.segments[a - 1].time = time_b;
        self.segments[b - 1].time = time_a;
        self
    }

    /// As a pcap file of Ethernet frames.
    pub fn pcap(&self) -> Vec<u8> {
        let frames: Vec<_> = self
            .segments
            .iter()
            .map(|segment| (segment.time, segment.ethernet()))
            .collect();
        pcap(1, &frames)
    }

    /// As [`Dialogue::pcap`], with this snaplen.
    pub fn pcap_cut(&self, snaplen: usize) -> Vec<u8> {
        let mut file = super::file::Pcap::new(1);
        for segment in &self.segments {
            let frame = segment.ethernet();
            file.record(
                segment.time,
                &frame[..frame.len().min(snaplen)],
                frame.len(),
            );
        }
        file.bytes
    }
}
