//! Data of a connection: which bytes are new, which lines they are, and which side is the
//! server.

use std::ops::Range;
use std::time::Duration;

use super::{AT_ONCE, Arrival, Connection, HOLE_AFTER, IDLE, Roles};
use crate::capture::coverage::Class;
use crate::capture::echo::{Echo, Settings, Span};
use crate::capture::half::Stall;
use crate::capture::packet::{Kind, Packet};
use crate::capture::segment::{FIN, SYN};
use crate::capture::stream::{Origin, Piece};

impl Connection {
    /// After the last byte, the rest is a line.
    pub(super) fn end_stream(&mut self, settings: &Settings, from: usize) {
        let half = &self.halves[from];
        if half
            .fin
            .is_none_or(|(end, _)| half.stream.delivered() < end)
        {
            return;
        }
        match &mut self.roles {
            Some(Roles::Known(client, echo)) => finish_half(echo, settings, *client == from),
            Some(Roles::Unknown(echoes)) => {
                for (client, echo) in echoes.iter_mut().enumerate() {
                    finish_half(echo, settings, client == from);
                }
            }
            None => {}
        }
    }

    /// Takes in the data: coverage, lines, stalls.
    pub(super) fn data(
        &mut self,
        settings: &Settings,
        arrival: &Arrival<'_>,
        packet: &mut Packet,
    ) -> Kind {
        let (segment, from) = (arrival.segment, arrival.from);
        if self.is_probe_with_data(arrival) {
            return self.probe_kind(from);
        }
        let range = arrival.position..arrival.position + i64::from(segment.len);
        let mut parts: [Range<i64>; 4] = Default::default();
        let mut more = Vec::new();
        let mut used = 0;
        let half = &mut self.halves[from];
        let class = half.coverage.add(range.clone(), |part| {
            match parts.get_mut(used) {
                Some(place) => *place = part,
                None => more.push(part),
            }
            used += 1;
        });
        let parts = &parts[..used.min(4)];
        if class == Class::Again {
            return Kind::Again;
        }
        let perhaps_again = class == Class::Late && !half.was_sent_before(segment.id);
        half.last_data = Some(arrival.time);
        if class == Class::First {
            half.note_id(segment.id);
        }
        self.counts.data[from] += u64::from(arrival.segments());
        self.roles(arrival);
        let first_new = parts
            .iter()
            .chain(&more)
            .map(|part| part.start)
            .min()
            .unwrap_or(0);
        let origin = Origin {
            ordinal: self.ordinal,
            ack: self.halves[1 - from].acked.unwrap_or(0),
            first_new,
            merged: arrival.segment_size,
            perhaps_again,
        };
        let cut = (segment.len as usize).saturating_sub(segment.data.len());
        if cut > 0 {
            self.counts.needed_snaplen = self.counts.needed_snaplen.max(arrival.frame_len);
            self.counts.cut += 1;
        }
        for part in parts.iter().chain(&more).filter(|part| part.start >= 0) {
            let known = arrival.bytes(part);
            let piece = Piece {
                start: part.start,
                bytes: known,
                unknown: u32::try_from(part.end - part.start).unwrap_or(u32::MAX)
                    - u32::try_from(known.len()).unwrap_or(0),
                origin: Some(origin),
            };
            let span = self.deliver(settings, from, Some(piece));
            packet.lines = packet.lines.or(span);
        }
        packet.after_a_gap = self.halves[from].stream.waits() && packet.lines.is_none();
        packet.stall = self.stall(arrival, packet.lines);
        self.end_stream(settings, from);
        match class {
            Class::Late => Kind::Late,
            _ => Kind::Data,
        }
    }

    /// Whether a byte at the end of what the peer has is a probe, as systems other than Linux
    /// send it.
    fn is_probe_with_data(&self, arrival: &Arrival<'_>) -> bool {
        let half = &self.halves[arrival.from];
        let is_idle = half
            .last_time
            .is_some_and(|last| arrival.time - last >= IDLE);
        arrival.segment.len == 1
            && !arrival.segment.has(FIN | SYN)
            && arrival.position + 1 == half.next()
            && half.acked.is_some_and(|acked| acked >= half.next())
            && is_idle
    }

    pub(super) fn probe_kind(&self, from: usize) -> Kind {
        match self.halves[1 - from].window {
            Some(0) => Kind::ZeroWindowProbe,
            _ => Kind::KeepAlive,
        }
    }

    /// Which side is the client is asked when the first data come.
    fn roles(&mut self, arrival: &Arrival<'_>) {
        let from = arrival.from;
        let [a, b] = [0, 1].map(|half| self.halves[half].syn.is_some());
        if self.roles.is_none() {
            self.roles = Some(match self.client {
                Some(client) => {
                    // The SYN-ACK also says where the client's stream begins.
                    Roles::Known(client, Box::new(Echo::new(a || b)))
                }
                None => Roles::Unknown(Box::new([Echo::new(false), Echo::new(false)])),
            });
        }
        if let Some(Roles::Known(client, echo)) = &mut self.roles
            && *client != from
            && self.halves[from].syn.is_none()
            && self.counts.data[from] == u64::from(arrival.segments())
        {
            echo.search_first_echo();
        }
    }

    /// Passes a piece on, or gives up a hole. Returns what lines the piece carried.
    fn deliver(
        &mut self,
        settings: &Settings,
        from: usize,
        piece: Option<Piece<'_>>,
    ) -> Option<Span> {
        let (mut span, ordinal) = (None, self.ordinal);
        let half = &mut self.halves[from];
        let roles = &mut self.roles;
        let mut deliver = |piece: Piece<'_>| {
            let this = take_piece(roles, settings, from, piece);
            if piece.origin.is_some_and(|origin| origin.ordinal == ordinal) {
                span = span.or(this);
            }
        };
        match piece {
            Some(piece) => half.stream.push(piece, &mut deliver),
            None => half.stream.pass_over_hole(&mut deliver),
        }
        self.decide_roles();
        span
    }

    /// The side that repeats the other is the server.
    fn decide_roles(&mut self) {
        let Some(Roles::Unknown(echoes)) = &mut self.roles else {
            return;
        };
        // Servers have the lower port, except where echoes prove the contrary.
        let likely = usize::from(self.ends[0].port < self.ends[1].port);
        let client = if echoes[likely].tally.matched > 0 {
            likely
        } else if echoes[1 - likely].is_convincing() {
            1 - likely
        } else {
            return;
        };
        let echo = std::mem::replace(&mut echoes[client], Echo::new(false));
        self.roles = Some(Roles::Known(client, Box::new(echo)));
    }

    fn stall(&mut self, arrival: &Arrival<'_>, lines: Option<Span>) -> Option<Duration> {
        let half = &mut self.halves[arrival.from];
        let before = half.stall;
        half.stall = match lines {
            Some(lines) if !lines.ends => Stall::Part(arrival.time),
            _ => Stall::No,
        };
        match before {
            Stall::Acknowledged(part, ack) if arrival.time - ack <= AT_ONCE + self.round_trip => {
                self.counts.stalls += 1;
                u64::try_from(ack - part).ok().map(Duration::from_nanos)
            }
            _ => None,
        }
    }

    /// Bytes that the peer has acknowledged a while ago are in no packet that is to come.
    pub(super) fn give_up_holes(&mut self, settings: &Settings) {
        for from in [0, 1] {
            let half = &mut self.halves[from];
            let Some(since) = half.hole_since else {
                continue;
            };
            let acked = half.acked_data();
            if half.stream.delivered() >= acked && half.coverage.is_complete() {
                half.hole_since = None;
            } else if self.ordinal - since > HOLE_AFTER && self.roles.is_some() {
                half.hole_since = None;
                if half.stream.waits() {
                    self.deliver(settings, from, None);
                } else {
                    // Nothing of this direction has come since.
                    let roles = &mut self.roles;
                    half.stream.pass_over(acked, &mut |piece| {
                        take_piece(roles, settings, from, piece);
                    });
                }
                self.end_stream(settings, from);
            }
        }
    }

    /// No more packets come: gives up all holes.
    pub fn finish(&mut self, settings: &Settings) {
        for from in [0, 1] {
            let half = &mut self.halves[from];
            let acked = half.acked_data();
            let roles = &mut self.roles;
            half.stream.finish(&half.coverage, acked, &mut |piece| {
                take_piece(roles, settings, from, piece);
            });
            self.end_stream(settings, from);
        }
        if let Some(Roles::Unknown(echoes)) = &mut self.roles {
            let [a, b] = [0, 1].map(|half| echoes[half].tally.matched > 0);
            if a != b {
                let client = usize::from(b);
                let echo = std::mem::replace(&mut echoes[client], Echo::new(false));
                self.roles = Some(Roles::Known(client, Box::new(echo)));
            }
        }
    }
}

fn take_piece(
    roles: &mut Option<Roles>,
    settings: &Settings,
    from: usize,
    piece: Piece<'_>,
) -> Option<Span> {
    let take = |echo: &mut Echo, is_client: bool| {
        if is_client {
            echo.request(settings, piece)
        } else {
            echo.reply(settings, piece)
        }
    };
    match roles {
        Some(Roles::Known(client, echo)) => take(echo, *client == from),
        Some(Roles::Unknown(echoes)) => {
            for (client, echo) in echoes.iter_mut().enumerate() {
                take(echo, client == from);
            }
            None
        }
        None => None,
    }
}

fn finish_half(echo: &mut Echo, settings: &Settings, is_client: bool) {
    if is_client {
        echo.finish_requests(settings);
    } else {
        echo.finish_replies(settings);
    }
}
