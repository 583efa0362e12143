//! One TCP connection: what each of its packets is.

use std::ops::Range;
use std::time::Duration;

use crate::capture::closing::Closing;
use crate::capture::coverage::Class;
use crate::capture::echo::{Echo, Settings, Span};
use crate::capture::half::{self, Half, Stall};
use crate::capture::link::{Network, Point};
use crate::capture::packet::{Acked, Kind, Packet, Side};
use crate::capture::report::Counts;
use crate::capture::segment::{ACK, Endpoint, FIN, RST, SYN, Segment};
use crate::capture::stream::{Origin, Piece};

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
        [(a, b), (b, a)].contains(&(segment.from, segment.to))
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
            self.halves[from].set_base(segment.seq);
        }
        if segment.has(ACK) {
            self.halves[1 - from].set_base(segment.ack);
        }
    }

    fn position(&mut self, from: usize, segment: &Segment<'_>) -> i64 {
        let half = &mut self.halves[from];
        let position = half.position(segment.seq) + i64::from(segment.has(SYN));
        if segment.len > 0 {
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

    /// Takes in the acknowledgement number.
    fn acknowledge(&mut self, arrival: &Arrival<'_>) -> Option<Acked> {
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

    /// After the last byte, the rest is a line.
    fn end_stream(&mut self, settings: &Settings, from: usize) {
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
    fn data(&mut self, settings: &Settings, arrival: &Arrival<'_>, packet: &mut Packet) -> Kind {
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

    fn probe_kind(&self, from: usize) -> Kind {
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

    /// What a packet without data, SYN, FIN and RST is.
    fn ack_kind(&self, arrival: &Arrival<'_>, acked_before: Option<i64>) -> Kind {
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

    fn count(&mut self, arrival: &Arrival<'_>, packet: &Packet) {
        let counts = &mut self.counts;
        match packet.kind {
            Kind::Again => counts.again += 1,
            Kind::Late => counts.late += 1,
            _ => {}
        }
        if packet.segments > 1 || arrival.segment_size.is_some() {
            counts.merged += 1;
        }
        if arrival.segment.is_fragment {
            counts.fragments += 1;
        }
        let segments = u64::from(packet.segments);
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

    /// Bytes that the peer has acknowledged a while ago are in no packet that is to come.
    fn give_up_holes(&mut self, settings: &Settings) {
        for from in [0, 1] {
            let half = &mut self.halves[from];
            let Some(since) = half.hole_since else {
                continue;
            };
            if !half.stream.waits() && half.coverage.is_complete() {
                half.hole_since = None;
            } else if self.ordinal - since > HOLE_AFTER {
                half.hole_since = None;
                if half.stream.waits() {
                    self.deliver(settings, from, None);
                    self.end_stream(settings, from);
                }
            }
        }
    }

    /// No more packets come: gives up all holes.
    pub fn finish(&mut self, settings: &Settings) {
        for from in [0, 1] {
            let half = &mut self.halves[from];
            let acked = half.acked.unwrap_or(0);
            let acked = half.fin.map_or(acked, |(fin, _)| acked.min(fin));
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
