//! One TCP connection: what each of its packets is.

mod acks;
mod data;

use std::ops::Range;

use crate::capture::closing::Closing;
use crate::capture::echo::{Echo, Settings};
use crate::capture::half::{self, Half};
use crate::capture::link::{Network, Point};
use crate::capture::packet::{Acked, Kind, Packet, Side};
use crate::capture::report::Counts;
use crate::capture::segment::{ACK, Endpoint, FIN, RST, SYN, Segment};

/// An ACK that comes this much later than a part of a line was waited for.
const STALL: i64 = 30_000_000;
/// The next part comes "at once" within this time and a round trip.
const AT_ONCE: i64 = 5_000_000;
/// A keep-alive with a byte of data is sent after this time, not earlier.
const IDLE: i64 = 1_000_000_000;
/// Packets after which acknowledged bytes are no longer expected in the file.
const HOLE_AFTER: u32 = 32;
/// Longest IP packet on a link whose MSS is not known.
const MTU: u32 = 1500;

/// Which side is the client, and what the lines are in that case.
#[derive(Debug)]
pub enum Roles {
    /// Either: what each half's lines are if it is the client's.
    Unknown(Box<[Echo; 2]>),
    /// The client's half.
    Known(usize, Box<Echo>),
}

#[derive(Debug)]
pub struct Connection {
    /// Number of the connection, from 1.
    pub number: u64,
    pub ends: [Endpoint; 2],
    pub halves: [Half; 2],
    /// The client's half, from the handshake or the port.
    client: Option<usize>,
    /// `None` until data come.
    pub roles: Option<Roles>,
    pub point: Point,
    pub closing: Closing,
    pub counts: Counts,
    /// Packets so far.
    ordinal: u32,
    pub last_time: i64,
    handshake_acked: bool,
    /// Times of the SYN, and of the ACK that ends the handshake.
    syn_time: Option<i64>,
    round_trip: i64,
    acked_echoes: u64,
}

/// A packet while it is taken in.
struct Arrival<'a> {
    segment: &'a Segment<'a>,
    from: usize,
    time: i64,
    /// Position of its first byte.
    position: i64,
    frame_len: u32,
    /// More than this is several packets on the wire.
    segment_size: Option<u32>,
}

impl Connection {
    pub fn new(number: u64, segment: &Segment<'_>, network: &Network<'_>) -> Connection {
        Connection {
            number,
            ends: [segment.from, segment.to],
            halves: [Half::new(), Half::new()],
            client: None,
            roles: None,
            point: network.point,
            closing: Closing::default(),
            counts: Counts::default(),
            ordinal: 0,
            last_time: i64::MIN,
            handshake_acked: false,
            syn_time: None,
            round_trip: 0,
            acked_echoes: 0,
        }
    }

    /// The server is the side with this port.
    pub fn set_server_port(&mut self, port: u16) {
        let [a, b] = self.ends.map(|end| end.port == port);
        if a != b {
            self.client = Some(usize::from(a));
        }
    }

    /// Whether a packet with a SYN begins another connection between the same ports.
    pub fn is_reused_by(&self, segment: &Segment<'_>) -> bool {
        segment.has(SYN)
            && !segment.has(RST)
            && !self.halves[self.half_of(segment)].accepts_syn(segment.seq)
    }

    /// Whether a segment is between the same ends.
    pub fn has(&self, segment: &Segment<'_>) -> bool {
        let [a, b] = self.ends;
        let (from, to) = (segment.from, segment.to);
        from == a && to == b || from == b && to == a
    }

    fn half_of(&self, segment: &Segment<'_>) -> usize {
        usize::from(segment.from != self.ends[0])
    }

    /// The half of the client, if it is known.
    pub fn client(&self) -> Option<usize> {
        match self.roles {
            Some(Roles::Known(client, _)) => Some(client),
            _ => self.client,
        }
    }

    fn side(&self, half: usize) -> Option<Side> {
        let client = self.client()?;
        Some(if client == half {
            Side::Client
        } else {
            Side::Server
        })
    }

    /// Takes in a packet; `None` if it was seen at another capture point.
    pub fn packet(
        &mut self,
        settings: &Settings,
        segment: &Segment<'_>,
        network: &Network<'_>,
        (number, time): (u64, i64),
    ) -> Option<Packet> {
        let from = self.half_of(segment);
        if !self.is_counted_here(from, network.point) {
            self.counts.elsewhere += 1;
            return None;
        }
        let since = if self.ordinal == 0 {
            0
        } else {
            time.saturating_sub(self.last_time)
        };
        self.ordinal = self.ordinal.saturating_add(1);
        self.last_time = time;
        let mut packet = Packet {
            number,
            time,
            since,
            connection: self.number,
            sender: segment.from,
            from: None,
            flags: segment.flags,
            len: segment.len,
            segments: 1,
            kind: Kind::Duplicate,
            lines: None,
            acked: None,
            stall: None,
            zero_window: segment.window == 0 && !segment.has(RST | SYN),
            after_a_gap: false,
        };
        if self.halves[from].is_duplicate(segment, time, network.mixed_devices) {
            self.counts.duplicates += 1;
            packet.from = self.side(from);
            return Some(packet);
        }
        self.handshake(from, segment, time);
        let arrival = Arrival {
            segment,
            from,
            time,
            position: self.position(from, segment),
            frame_len: network.frame_len,
            segment_size: self.segment_size(segment, network),
        };
        packet.segments = arrival.segments();
        let acked_before = self.halves[1 - from].acked;
        packet.acked = self.acknowledge(&arrival);
        packet.kind = self.classify(settings, &arrival, acked_before, &mut packet);
        packet.from = self.side(from);
        self.count(&arrival, &packet);
        self.give_up_holes(settings);
        let half = &mut self.halves[from];
        if segment.has(ACK) || segment.len > 0 {
            half.window = Some(segment.window);
        }
        half.last_time = Some(time);
        Some(packet)
    }

    /// Packets are counted at the capture point of the first, in each direction.
    fn is_counted_here(&mut self, from: usize, point: Point) -> bool {
        let device = (point.interface, point.device);
        device == (self.point.interface, self.point.device)
            && *self.halves[from].direction.get_or_insert(point.direction) == point.direction
    }

    fn handshake(&mut self, from: usize, segment: &Segment<'_>, time: i64) {
        if segment.has(SYN) && !segment.has(RST) {
            self.halves[from].set_syn(segment);
            if segment.has(ACK) {
                self.client.get_or_insert(1 - from);
            } else if self.halves[1 - from].syn.is_none() {
                self.client.get_or_insert(from);
            }
            self.syn_time.get_or_insert(time);
        }
        // An RST of a closed port answers with sequence number 0.
        if !self.halves[from].has_base() && !segment.has(RST) {
            self.halves[from].guess_base(segment.seq);
        }
        if segment.has(ACK) {
            self.halves[1 - from].set_base(segment.ack);
        }
    }

    fn position(&mut self, from: usize, segment: &Segment<'_>) -> i64 {
        let peer_has_sent = self.counts.data[1 - from] > 0;
        let half = &mut self.halves[from];
        let position = half.position(segment.seq) + i64::from(segment.has(SYN));
        // After an echo, a byte that is missing is a line that was not captured.
        if segment.len > 0 && !peer_has_sent {
            half.skip_keep_alive(position)
        } else {
            position
        }
    }

    /// Bytes that one packet on the wire carries at most; `None`: the segment is one.
    fn segment_size(&self, segment: &Segment<'_>, network: &Network<'_>) -> Option<u32> {
        let Some(mss) = half::mss(&self.halves) else {
            return (network.len > MTU && segment.len > 0).then_some(segment.len);
        };
        let size = u32::from(mss).saturating_sub(segment.options_len).max(1);
        (segment.len > size).then_some(size)
    }

    fn classify(
        &mut self,
        settings: &Settings,
        arrival: &Arrival<'_>,
        acked_before: Option<i64>,
        packet: &mut Packet,
    ) -> Kind {
        let (segment, from) = (arrival.segment, arrival.from);
        if segment.has(RST) {
            self.closing.reset(from, arrival.time);
            return Kind::Rst;
        }
        let mut kind = None;
        if segment.len > 0 {
            kind = Some(self.data(settings, arrival, packet));
        }
        if segment.has(SYN) {
            return self.syn_kind(arrival, kind);
        }
        if segment.has(FIN) {
            let is_new = self.fin(settings, arrival);
            return match kind {
                Some(Kind::Again) | None if !is_new => Kind::Again,
                None | Some(Kind::Again) => Kind::Fin,
                Some(kind) => kind,
            };
        }
        kind.unwrap_or_else(|| self.ack_kind(arrival, acked_before))
    }

    fn syn_kind(&mut self, arrival: &Arrival<'_>, data: Option<Kind>) -> Kind {
        let seen = &mut self.counts.syns[arrival.from];
        *seen = seen.saturating_add(1);
        match (*seen, arrival.segment.has(ACK)) {
            (2.., _) => data
                .filter(|kind| *kind != Kind::Again)
                .unwrap_or(Kind::Again),
            (_, false) => Kind::Syn,
            (_, true) => Kind::SynAck,
        }
    }

    /// Returns whether the FIN is new.
    fn fin(&mut self, settings: &Settings, arrival: &Arrival<'_>) -> bool {
        let end = arrival.position + i64::from(arrival.segment.len);
        let half = &mut self.halves[arrival.from];
        if half.fin.is_some() {
            return false;
        }
        half.fin = Some((end, arrival.time));
        self.closing.fin(arrival.from, arrival.time);
        self.end_stream(settings, arrival.from);
        true
    }

    fn count(&mut self, arrival: &Arrival<'_>, packet: &Packet) {
        let counts = &mut self.counts;
        let segments = u64::from(packet.segments);
        match packet.kind {
            Kind::Again => counts.again += segments,
            Kind::Late => counts.late += segments,
            _ => {}
        }
        if packet.segments > 1 || arrival.segment_size.is_some() {
            counts.merged += 1;
        }
        if arrival.segment.is_fragment {
            counts.fragments += 1;
        }
        let is_handshake_ack = !self.handshake_acked
            && packet.kind == Kind::Ack
            && self.halves[1 - arrival.from].syn.is_some()
            && self.client == Some(arrival.from)
            && self.counts.data[arrival.from] == 0
            && self.halves[1 - arrival.from].acked == Some(0);
        let counts = &mut self.counts;
        if arrival.segment.has(SYN) || is_handshake_ack {
            counts.handshake += segments;
            if is_handshake_ack {
                self.handshake_acked = true;
                let since = self
                    .syn_time
                    .map_or(0, |syn| arrival.time.saturating_sub(syn));
                self.round_trip = since.clamp(0, 1_000_000_000);
            }
        } else if arrival.segment.has(FIN | RST)
            || packet.acked == Some(Acked::Fin) && arrival.segment.len == 0
        {
            counts.close += segments;
        } else {
            counts.exchange += segments;
        }
    }
}

impl<'a> Arrival<'a> {
    /// How many packets on the wire it is, at least.
    fn segments(&self) -> u32 {
        self.segment_size
            .map_or(1, |size| self.segment.len.div_ceil(size.max(1)).max(1))
    }

    /// What was captured of a part of its data.
    fn bytes(&self, part: &Range<i64>) -> &'a [u8] {
        let at = |position: i64| {
            let offset = usize::try_from(position - self.position).unwrap_or(0);
            offset.min(self.segment.data.len())
        };
        &self.segment.data[at(part.start)..at(part.end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docs/counting.md says.
    #[test]
    fn a_connection_takes_a_kibibyte_and_its_lines_less() {
        assert!(size_of::<Connection>() <= 900);
        assert!(size_of::<Echo>() <= 700);
    }
}
