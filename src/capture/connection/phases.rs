//! The handshake, and which phase of the connection a packet belongs to.

use super::{Arrival, Connection};
use crate::capture::packet::{Acked, Kind, Packet};
use crate::capture::segment::{ACK, FIN, RST, SYN, Segment};

impl Connection {
    /// Takes in what a packet says about where both streams begin.
    pub(super) fn handshake(&mut self, from: usize, segment: &Segment<'_>, time: i64) {
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

    /// Counts a packet.
    pub(super) fn count(&mut self, arrival: &Arrival<'_>, packet: &Packet) {
        let is_handshake_ack = self.is_handshake_ack(arrival, packet);
        if is_handshake_ack {
            self.end_handshake(arrival.time);
        }
        let counts = &mut self.counts;
        let segments = u64::from(packet.segments);
        match packet.kind {
            Kind::Again => counts.again += segments,
            Kind::Late => counts.late += segments,
            _ => {}
        }
        let is_merged = packet.segments > 1 || arrival.segment_size.is_some();
        counts.merged += u64::from(is_merged);
        counts.fragments += u64::from(arrival.segment.is_fragment);
        let acks_fin = packet.acked == Some(Acked::Fin) && arrival.segment.len == 0;
        let phase = if arrival.segment.has(SYN) || is_handshake_ack {
            &mut counts.handshake
        } else if arrival.segment.has(FIN | RST) || acks_fin {
            &mut counts.close
        } else {
            &mut counts.exchange
        };
        *phase += segments;
    }

    fn is_handshake_ack(&self, arrival: &Arrival<'_>, packet: &Packet) -> bool {
        let other = &self.halves[1 - arrival.from];
        !self.handshake_acked
            && packet.kind == Kind::Ack
            && other.syn.is_some()
            && self.client == Some(arrival.from)
            && self.counts.data[arrival.from] == 0
            && other.acked == Some(0)
    }

    fn end_handshake(&mut self, time: i64) {
        self.handshake_acked = true;
        let since = self.syn_time.map_or(0, |syn| time.saturating_sub(syn));
        self.round_trip = since.clamp(0, 1_000_000_000);
    }
}
