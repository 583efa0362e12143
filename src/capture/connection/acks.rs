//! What an acknowledgement number says, and packets that have nothing else.

use super::{Arrival, Connection, Roles, STALL};
use crate::capture::half::Stall;
use crate::capture::packet::{Acked, Kind};
use crate::capture::segment::ACK;

impl Connection {
    /// Takes in the acknowledgement number.
    pub(super) fn acknowledge(&mut self, arrival: &Arrival<'_>) -> Option<Acked> {
        let (segment, other) = (arrival.segment, 1 - arrival.from);
        if !segment.has(ACK) {
            return None;
        }
        let half = &mut self.halves[other];
        let position = half.position(segment.ack);
        if half.acked.is_some_and(|acked| position <= acked) {
            return None;
        }
        half.acked = Some(position);
        if position > half.stream.delivered() + i64::from(half.fin.is_some()) {
            half.hole_since.get_or_insert(self.ordinal);
        }
        if let Stall::Part(part) = half.stall
            && segment.len == 0
            && arrival.time - part >= STALL
        {
            half.stall = Stall::Acknowledged(part, arrival.time);
        }
        let is_fin = half.fin.is_some_and(|(fin, _)| position > fin);
        let lines = match &mut self.roles {
            Some(Roles::Known(client, echo)) if *client == other => {
                let lines = echo.acknowledge(position, self.ordinal);
                lines.map(|(first, last)| Acked::Lines(first, last))
            }
            Some(Roles::Known(_, echo)) => {
                let (before, last) = (self.acked_echoes, echo.last_reply());
                if position >= echo.replies_end() && last > before {
                    self.acked_echoes = last;
                    Some(Acked::Echoes(before + 1, last))
                } else {
                    (position > echo.replies_end()).then_some(Acked::PartOfEcho(last + 1))
                }
            }
            Some(Roles::Unknown(echoes)) => {
                echoes[other].acknowledge(position, self.ordinal);
                None
            }
            None => None,
        };
        if is_fin { Some(Acked::Fin) } else { lines }
    }

    /// What a packet without data, SYN, FIN and RST is.
    pub(super) fn ack_kind(&self, arrival: &Arrival<'_>, acked_before: Option<i64>) -> Kind {
        let (half, other) = (&self.halves[arrival.from], &self.halves[1 - arrival.from]);
        let acks_new = other.acked != acked_before;
        if !acks_new && arrival.position + 1 == half.next() && half.acked == Some(half.next()) {
            return self.probe_kind(arrival.from);
        }
        match half.window {
            _ if acks_new => Kind::Ack,
            Some(window) if window != arrival.segment.window => Kind::WindowUpdate,
            _ => Kind::DuplicateAck,
        }
    }
}
