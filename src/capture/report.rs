//! What a connection adds up to, and what of it cannot be decided.

use std::net::SocketAddr;

use crate::capture::closing::{Closed, ENOUGH};
use crate::capture::connection::{Connection, Roles};
use crate::capture::echo::Settings;
use crate::capture::link::Point;
use crate::capture::tally::Tally;
use crate::capture::undecided::{Reasons, Undecided};

/// What is asked of a capture.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Expectations {
    /// Data packets per echoed line.
    pub packets: Option<u64>,
    /// After the client's FIN, the server's.
    pub close: bool,
}

/// Packets of a connection at its capture point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Packets with SYN, and the ACK that ends the handshake.
    pub handshake: u64,
    /// Packets that are in neither of the others.
    pub exchange: u64,
    /// Packets with FIN or RST, and the ACKs of the FINs.
    pub close: u64,
    /// Data, SYNs and FINs that an earlier packet carried.
    pub again: u64,
    /// New data below the highest seen before.
    pub late: u64,
    /// Data packets of each end with new data.
    pub(crate) data: [u64; 2],
    /// Captured packets that are several on the wire: the other counts are at least so
    /// many.
    pub merged: u64,
    /// Identical packets of another device, in no other count.
    pub duplicates: u64,
    /// Packets seen at another capture point, in no other count.
    pub elsewhere: u64,
    /// First fragments of IP packets.
    pub fragments: u64,
    /// Data packets that the snaplen has cut.
    pub cut: u64,
    /// The snaplen that would not have cut them.
    pub needed_snaplen: u32,
    /// Lines with a second part that waited for the ACK of the first.
    pub stalls: u64,
    pub(crate) syns: [u8; 2],
}

/// Whether an expectation is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Met,
    Failed,
    Unknown,
    /// There is nothing that it is about.
    NotApplicable,
}

/// What a connection adds up to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Number of the connection, from 1.
    pub number: u64,
    /// The client, or the end that sent the first packet.
    pub client: SocketAddr,
    /// The server, or the other end.
    pub server: SocketAddr,
    /// Whether it is known which end is the server.
    pub roles_known: bool,
    /// Where its packets are counted.
    pub point: Point,
    /// Its packets.
    pub counts: Counts,
    /// Data packets of the server, with new data.
    pub echo_packets: u64,
    /// Bytes that the peers acknowledged and that no packet carried; a FIN is one.
    pub not_captured: u64,
    /// Its lines.
    pub tally: Tally,
    /// How it ended.
    pub closed: Closed,
    /// Why its lines cannot be counted for certain.
    pub undecided: Reasons,
    pub(crate) endpoint: crate::capture::segment::Endpoint,
    pub(crate) packets_outcome: Outcome,
    pub(crate) close_outcome: Outcome,
    pub(crate) close_undecided: Reasons,
}

impl Report {
    /// Whether it may be a line echo: lines came back, or its data were not captured.
    #[must_use]
    pub fn may_be_echo(&self) -> bool {
        let is_unknown =
            self.tally.requests == 0 || self.tally.not_compared + self.tally.damaged > 0;
        let has_both = self.counts.data.iter().all(|data| *data > 0);
        let may_be = self.not_captured > 0 || has_both && is_unknown;
        self.tally.matched > 0 || may_be && self.tally.wrong == 0
    }
}

/// Adds up a connection of which no more packets come. `end` is the capture's end so far.
pub(crate) fn report(
    mut connection: Connection,
    settings: &Settings,
    end: i64,
    dropped: bool,
) -> Report {
    connection.finish(settings);
    let client = connection.client();
    let not_captured: u64 = connection
        .halves
        .iter()
        .map(super::half::Half::not_captured)
        .sum();
    let is_lost =
        client.is_some_and(|client| echoes_are_lost(&connection, client, not_captured, end));
    let tally = match connection.roles.take() {
        Some(Roles::Known(_, mut echo)) => {
            echo.finish(settings, is_lost && !dropped);
            echo.tally
        }
        _ => Tally::default(),
    };
    let likely_server = usize::from(connection.ends[1].port < connection.ends[0].port);
    let server = client.map_or(likely_server, |client| 1 - client);
    let has_data = connection.counts.data.iter().any(|data| *data > 0);
    let mut report = Report {
        number: connection.number,
        client: connection.ends[1 - server].into(),
        server: connection.ends[server].into(),
        roles_known: client.is_some(),
        point: connection.point,
        counts: connection.counts,
        echo_packets: connection.counts.data[server],
        not_captured,
        tally,
        closed: connection.closing.closed(client, connection.last_time, end),
        undecided: Reasons::default(),
        endpoint: connection.ends[server],
        packets_outcome: Outcome::NotApplicable,
        close_outcome: Outcome::NotApplicable,
        close_undecided: Reasons::default(),
    };
    report.undecided = doubts(&report, &connection, has_data, dropped);
    report.packets_outcome = packets_outcome(&report, has_data);
    (report.close_outcome, report.close_undecided) =
        close_outcome(&report, &connection, end, dropped);
    report
}

/// Whether lines without an echo will have none: the server has closed, or had time enough.
fn echoes_are_lost(connection: &Connection, client: usize, not_captured: u64, end: i64) -> bool {
    let (halves, closing) = (&connection.halves, &connection.closing);
    if not_captured > 0 || connection.counts.elsewhere > 0 && halves[1 - client].last_time.is_none()
    {
        return false;
    }
    if let Some((half, _)) = closing.reset_by() {
        return half != client;
    }
    let since = |time: i64| end.saturating_sub(time) >= ENOUGH;
    closing.fin_time(1 - client).is_some() || halves[client].last_data.is_some_and(since)
}

fn doubts(report: &Report, connection: &Connection, has_data: bool, dropped: bool) -> Reasons {
    let (counts, tally) = (&report.counts, &report.tally);
    let one_direction = connection
        .halves
        .iter()
        .any(|half| half.last_time.is_none());
    let mut doubts = Reasons::default();
    doubts.add_if(report.not_captured > 0, Undecided::NotCaptured);
    doubts.add_if(counts.cut > 0, Undecided::Snaplen);
    doubts.add_if(tally.at_least > 0, Undecided::Merged);
    doubts.add_if(counts.duplicates > 0, Undecided::Duplicates);
    doubts.add_if(
        counts.elsewhere > 0 && one_direction,
        Undecided::OneDirection,
    );
    doubts.add_if(tally.unsure > 0, Undecided::PerhapsAgain);
    doubts.add_if(counts.fragments > 0, Undecided::Fragments);
    let uncompared = tally.not_compared + tally.damaged + tally.forgotten;
    doubts.add_if(uncompared > 0 && counts.cut == 0, Undecided::NotCompared);
    doubts.add_if(tally.pending > 0, Undecided::Pending);
    doubts.add_if(has_data && !report.roles_known, Undecided::Roles);
    doubts.add_if(tally.ambiguous, Undecided::Ambiguous);
    doubts.add_if(dropped, Undecided::Dropped);
    doubts
}

fn packets_outcome(report: &Report, has_data: bool) -> Outcome {
    if report.tally.unexpected_packets > 0 {
        Outcome::Failed
    } else if !report.undecided.is_empty() || report.tally.undecided_packets > 0 {
        Outcome::Unknown
    } else if report.tally.echoes == 0 {
        if has_data {
            Outcome::Unknown
        } else {
            Outcome::NotApplicable
        }
    } else {
        Outcome::Met
    }
}

fn close_outcome(
    report: &Report,
    connection: &Connection,
    end: i64,
    dropped: bool,
) -> (Outcome, Reasons) {
    let mut reasons = Reasons::default();
    let closing = &connection.closing;
    let client = match (report.closed, connection.client()) {
        (Closed::Both(..), _) => return (Outcome::Met, reasons),
        (_, Some(client)) => client,
        _ => {
            reasons.add(Undecided::Roles);
            return (Outcome::Unknown, reasons);
        }
    };
    reasons.add_if(report.not_captured > 0, Undecided::NotCaptured);
    reasons.add_if(
        report
            .undecided
            .iter()
            .any(|reason| reason == Undecided::OneDirection),
        Undecided::OneDirection,
    );
    reasons.add_if(dropped, Undecided::Dropped);
    let had_time = |since: i64, until: i64| until.saturating_sub(since) >= ENOUGH;
    let outcome = match (closing.fin_time(client), closing.reset_by()) {
        // A client that resets within 2 s of its FIN leaves the server no time for its own.
        (Some(fin), Some((half, reset))) if half == client => {
            if had_time(fin, reset) {
                Outcome::Failed
            } else {
                Outcome::NotApplicable
            }
        }
        (Some(_), Some(_)) => Outcome::Failed,
        (Some(fin), None) if had_time(fin, end) => Outcome::Failed,
        (None, Some(_)) => Outcome::NotApplicable,
        (None, None) if had_time(connection.last_time, end) => Outcome::NotApplicable,
        _ => {
            reasons.add(Undecided::EndOfCapture);
            Outcome::Unknown
        }
    };
    match outcome {
        _ if !reasons.is_empty() => (Outcome::Unknown, reasons),
        outcome => (outcome, reasons),
    }
}
