//! One TCP connection: what each of its packets is.

mod acks;
mod arrival;
mod classify;
mod data;
mod phases;

use crate::capture::closing::Closing;
use crate::capture::echo::{Echo, Settings};
use crate::capture::half::Half;
use crate::capture::link::{Network, Point};
use crate::capture::packet::{Kind, Packet, Side};
use crate::capture::report::Counts;
use crate::capture::segment::{ACK, Endpoint, RST, SYN, Segment};
use arrival::Arrival;

/// An ACK that comes this much later than a part of a line was waited for.
const STALL: i64 = 30_000_000;
/// The next part comes "at once" within this time and a round trip.
const AT_ONCE: i64 = 5_000_000;
/// A keep-alive with a byte of data is sent after this time, not earlier.
const IDLE: i64 = 1_000_000_000;
/// Packets after which acknowledged bytes are no longer expected in the file.
const HOLE_AFTER: u32 = 32;

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
            segment_size: arrival::segment_size(&self.halves, segment, network),
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
