//! All connections of a capture.

mod index;
mod servers;

use std::collections::VecDeque;

use slab::Slab;

use crate::capture::closing::ENOUGH;
use crate::capture::connection::Connection;
use crate::capture::echo::Settings;
use crate::capture::hash::Key;
use crate::capture::link::Network;
use crate::capture::other::{Other, OtherCounts};
use crate::capture::packet::Packet;
use crate::capture::report::{Expectations, Report, report};
use crate::capture::segment::{Segment, segment};
use crate::capture::summary::Summary;
use crate::capture::undecided::{Reasons, Undecided};
use crate::capture::{Notes, Record};
use index::{AddressHash, Index};
use servers::Servers;

/// Connections among which the quietest is looked for.
const SAMPLE: usize = 64;

/// What to look for in a capture.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options {
    /// The server's port, where the capture does not tell.
    pub port: Option<u16>,
    /// What is asked of it.
    pub expectations: Expectations,
    /// Most connections that are followed at a time.
    pub max_connections: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            port: None,
            expectations: Expectations::default(),
            max_connections: 100_000,
        }
    }
}

/// What is found in a capture.
#[derive(Debug)]
pub enum Event<'a> {
    /// A packet of a connection.
    Packet(&'a Packet),
    /// A connection of which no more packets come.
    Connection(&'a Report),
}

/// Follows the connections of a capture.
pub struct Analysis {
    options: Options,
    settings: Settings,
    addresses: AddressHash,
    index: Index,
    connections: Slab<Connection>,
    /// Connections that are finished: place, number.
    finished: VecDeque<(usize, u64)>,
    /// Where the search for the quietest begins.
    hand: usize,
    servers: Servers,
    other: OtherCounts,
    unreadable: bool,
    count: u64,
    now: i64,
}

impl Analysis {
    /// Begins with the first packet of a capture.
    #[must_use]
    pub fn new(options: Options) -> Analysis {
        Analysis {
            options,
            settings: Settings {
                key: Key::random(),
                expected_packets: options.expectations.packets,
            },
            addresses: AddressHash::random(),
            index: Index::default(),
            connections: Slab::new(),
            finished: VecDeque::new(),
            hand: 0,
            servers: Servers::default(),
            other: OtherCounts::default(),
            unreadable: false,
            count: 0,
            now: i64::MIN,
        }
    }

    /// Takes in the next packet.
    pub fn packet(&mut self, record: &Record<'_>, mut sink: impl FnMut(Event<'_>)) {
        self.now = self.now.max(record.time);
        match segment(record) {
            Ok((segment, network)) if self.is_wanted(&segment) => {
                self.segment(record, &segment, &network, &mut sink);
            }
            Ok(_) => self.other.add(Other::OtherPort),
            Err(other) => {
                self.unreadable |= other.may_be_tcp();
                self.other.add(other);
            }
        }
        self.fold_finished(&mut sink);
    }

    fn is_wanted(&self, segment: &Segment<'_>) -> bool {
        let ports = [segment.from.port, segment.to.port];
        self.options.port.is_none_or(|port| ports.contains(&port))
    }

    fn segment(
        &mut self,
        record: &Record<'_>,
        segment: &Segment<'_>,
        network: &Network<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) {
        let hash = self.addresses.pair(segment.from, segment.to);
        let mut place = self.index.get(&hash).copied();
        if place.is_some_and(|place| !self.connections[place].has(segment)) {
            // Two hashes of 64 bits are the same.
            self.unreadable = true;
            return self.other.add(Other::Unnamed);
        }
        if let Some(known) = place
            && self.connections[known].is_reused_by(segment)
        {
            self.fold(known, false, sink);
            place = None;
        }
        let place = match place {
            Some(place) => place,
            None => self.insert(hash, segment, network, sink),
        };
        let connection = &mut self.connections[place];
        let was_finished = connection.closing.is_finished();
        let at = (record.number, record.time);
        if let Some(packet) = connection.packet(&self.settings, segment, network, at) {
            sink(Event::Packet(&packet));
        }
        if !was_finished && connection.closing.is_finished() {
            self.finished.push_back((place, connection.number));
        }
    }

    fn insert(
        &mut self,
        hash: u64,
        segment: &Segment<'_>,
        network: &Network<'_>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> usize {
        if self.connections.len() >= self.options.max_connections.max(1) {
            self.make_room(sink);
        }
        self.count += 1;
        let mut connection = Connection::new(self.count, segment, network);
        if let Some(port) = self.options.port {
            connection.set_server_port(port);
        }
        let place = self.connections.insert(connection);
        self.index.insert(hash, place);
        place
    }

    /// Folds a finished connection, or else drops a quiet one.
    fn make_room(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        while let Some((place, number)) = self.finished.pop_front() {
            if self.is_at(place, number) {
                return self.fold(place, false, sink);
            }
        }
        // The quietest of a sample.
        let mut quietest = None;
        for step in 0..SAMPLE {
            // No connection has ever been put further back than there were.
            let place = (self.hand + step) % self.connections.len();
            if let Some(connection) = self.connections.get(place) {
                let candidate = (connection.last_time, place);
                quietest = Some(quietest.map_or(candidate, |other| candidate.min(other)));
            }
        }
        self.hand += SAMPLE;
        if let Some((_, place)) = quietest {
            self.fold(place, true, sink);
        }
    }

    fn is_at(&self, place: usize, number: u64) -> bool {
        self.connections
            .get(place)
            .is_some_and(|connection| connection.number == number)
    }

    /// Folds what has been finished for 2 s. FINs that are sent again come until then.
    fn fold_finished(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        while let Some((place, number)) = self.finished.front().copied() {
            let connection = self.connections.get(place);
            match connection.filter(|connection| connection.number == number) {
                Some(connection) if self.now.saturating_sub(connection.last_time) < ENOUGH => {
                    return;
                }
                Some(_) => self.fold(place, false, sink),
                None => {}
            }
            self.finished.pop_front();
        }
    }

    /// Adds a connection to the sums, and forgets it.
    fn fold(&mut self, place: usize, dropped: bool, sink: &mut impl FnMut(Event<'_>)) {
        let connection = self.connections.remove(place);
        let [a, b] = connection.ends;
        self.index.remove(&self.addresses.pair(a, b));
        let report = report(connection, &self.settings, self.now, dropped);
        self.servers.add(&report);
        sink(Event::Connection(&report));
    }

    /// No more packets come. `end` is the time until which the capture ran, if it is known
    /// otherwise than from the file; `damaged`: what follows could not be read.
    pub fn finish(
        mut self,
        notes: Notes,
        end: Option<i64>,
        damaged: bool,
        mut sink: impl FnMut(Event<'_>),
    ) -> Summary {
        let end = notes.end.max(end).unwrap_or(i64::MIN);
        self.now = self.now.max(end);
        let mut rest: Vec<(u64, usize)> = self
            .connections
            .iter()
            .map(|(place, connection)| (connection.number, place))
            .collect();
        rest.sort_unstable();
        for (_, place) in rest {
            self.fold(place, false, &mut sink);
        }
        let mut doubts = Reasons::default();
        if damaged {
            doubts.add(Undecided::Damaged);
        }
        if self.unreadable {
            doubts.add(Undecided::Unreadable);
        }
        let (totals, no_echo) = self.servers.sums(self.options.port.is_some());
        Summary::new(
            totals,
            no_echo,
            self.other,
            self.options.expectations,
            doubts,
        )
    }
}
