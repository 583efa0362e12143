//! What a packet is, by its flags and the bytes that it carries.

use super::{Arrival, Connection};
use crate::capture::echo::Settings;
use crate::capture::packet::{Kind, Packet};
use crate::capture::segment::{ACK, FIN, RST, SYN};

impl Connection {
    pub(super) fn classify(
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
}
