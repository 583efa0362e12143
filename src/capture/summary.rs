//! What a capture adds up to, and whether it meets the expectations.

use crate::capture::closing::Closed;
use crate::capture::other::OtherCounts;
use crate::capture::report::{Expectations, Outcome, Report};
use crate::capture::tally::PacketsPerLine;
use crate::capture::undecided::{Reasons, Undecided};

/// Whether a capture meets the expectations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every expectation that was given is met, and no echo is wrong.
    Met,
    /// One is not, or an echo is wrong.
    Failed,
    /// An expectation that was given cannot be decided.
    CannotTell,
    /// No TCP connection with a line echo is in the capture.
    NoEcho,
}

impl Verdict {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Failed => "failed",
            Verdict::CannotTell => "cannot_tell",
            Verdict::NoEcho => "no_echo",
        }
    }
}

/// The sums of several connections.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections.
    pub connections: u64,
    /// Packets with SYN, and the ACKs that end handshakes.
    pub handshake: u64,
    /// Packets between.
    pub exchange: u64,
    /// Packets with FIN or RST, and the ACKs of the FINs.
    pub close: u64,
    /// Data, SYNs and FINs that an earlier packet carried.
    pub again: u64,
    /// New data below the highest seen before.
    pub late: u64,
    /// Bytes that were acknowledged and not captured.
    pub not_captured: u64,
    /// Captured packets that are several on the wire.
    pub merged: u64,
    /// Identical packets of another device.
    pub duplicates: u64,
    /// Packets seen at other capture points.
    pub elsewhere: u64,
    /// The snaplen that would have sufficed; 0 if it did.
    pub needed_snaplen: u32,
    /// Lines that the clients sent.
    pub requests: u64,
    /// Lines of the servers with counted packets.
    pub echoes: u64,
    /// Data packets of the servers, with new data.
    pub echo_packets: u64,
    /// How many echoes took how many packets.
    pub packets_per_line: PacketsPerLine,
    /// Echoes in a packet that was the first to acknowledge the line.
    pub ack_on_echo: u64,
    /// Right echoes.
    pub matched: u64,
    /// Wrong echoes.
    pub wrong: u64,
    /// Lines that could not be compared.
    pub not_compared: u64,
    /// Lines that wait for their echoes.
    pub pending: u64,
    /// Lines with a second part that waited for the ACK of the first.
    pub stalls: u64,
    /// Echoes that took more or fewer packets than expected.
    pub unexpected_packets: u64,
    /// Connections that both sides closed.
    pub closed: u64,
    /// Connections with a FIN of the client and none of the server, for 2 s at least.
    pub not_closed: u64,
    /// Connections that were reset.
    pub reset: u64,
    pub(crate) may_be_echo: u64,
    packets: Judged,
    close_judged: Judged,
    reasons: Reasons,
    close_reasons: Reasons,
}

/// How often an expectation was met, and so on.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    met: u64,
    failed: u64,
    unknown: u64,
}

impl Judged {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Met => self.met += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Unknown => self.unknown += 1,
            Outcome::NotApplicable => {}
        }
    }

    fn merge(&mut self, other: Judged) {
        self.met += other.met;
        self.failed += other.failed;
        self.unknown += other.unknown;
    }
}

impl Totals {
    pub(crate) fn add(&mut self, report: &Report) {
        let (counts, tally) = (&report.counts, &report.tally);
        let is_closed = matches!(report.closed, Closed::Both(..));
        self.merge(&Totals {
            connections: 1,
            handshake: counts.handshake,
            exchange: counts.exchange,
            close: counts.close,
            again: counts.again,
            late: counts.late,
            not_captured: report.not_captured,
            merged: counts.merged,
            duplicates: counts.duplicates,
            elsewhere: counts.elsewhere,
            needed_snaplen: counts.needed_snaplen,
            requests: tally.requests,
            echoes: tally.echoes,
            echo_packets: report.echo_packets,
            packets_per_line: PacketsPerLine::default(),
            ack_on_echo: tally.ack_on_echo,
            matched: tally.matched,
            wrong: tally.wrong,
            not_compared: tally.not_compared + tally.damaged,
            pending: tally.pending,
            stalls: counts.stalls,
            unexpected_packets: tally.unexpected_packets,
            closed: u64::from(is_closed),
            not_closed: u64::from(report.close_outcome == Outcome::Failed),
            reset: u64::from(matches!(report.closed, Closed::Reset(_))),
            may_be_echo: u64::from(report.may_be_echo()),
            packets: Judged::default(),
            close_judged: Judged::default(),
            reasons: report.undecided,
            close_reasons: report.close_undecided,
        });
        self.packets_per_line.merge(&tally.packets_per_line);
        self.packets.add(report.packets_outcome);
        self.close_judged.add(report.close_outcome);
    }

    pub(crate) fn merge(&mut self, other: &Totals) {
        self.connections += other.connections;
        self.handshake += other.handshake;
        self.exchange += other.exchange;
        self.close += other.close;
        self.again += other.again;
        self.late += other.late;
        self.not_captured = self.not_captured.saturating_add(other.not_captured);
        self.merged += other.merged;
        self.duplicates += other.duplicates;
        self.elsewhere += other.elsewhere;
        self.needed_snaplen = self.needed_snaplen.max(other.needed_snaplen);
        self.requests += other.requests;
        self.echoes += other.echoes;
        self.echo_packets += other.echo_packets;
        self.packets_per_line.merge(&other.packets_per_line);
        self.ack_on_echo += other.ack_on_echo;
        self.matched += other.matched;
        self.wrong += other.wrong;
        self.not_compared += other.not_compared;
        self.pending += other.pending;
        self.stalls += other.stalls;
        self.unexpected_packets += other.unexpected_packets;
        self.closed += other.closed;
        self.not_closed += other.not_closed;
        self.reset += other.reset;
        self.may_be_echo += other.may_be_echo;
        self.packets.merge(other.packets);
        self.close_judged.merge(other.close_judged);
        self.reasons.merge(other.reasons);
        self.close_reasons.merge(other.close_reasons);
    }

    /// Whether the connections to a server are a line echo.
    pub(crate) fn is_echo(&self) -> bool {
        self.may_be_echo > 0 && self.matched >= self.wrong
    }
}

/// What a capture adds up to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// The sums of the connections that are line echoes.
    pub totals: Totals,
    /// TCP connections that are no line echo.
    pub no_echo: u64,
    /// Packets that are in no connection.
    pub other: OtherCounts,
    /// Whether the expectations are met.
    pub verdict: Verdict,
    /// Why counts are not certain; with expectations, why these cannot be decided.
    pub undecided: Reasons,
}

impl Summary {
    /// `doubts` are those of the capture as a whole.
    pub(crate) fn new(
        totals: Totals,
        no_echo: u64,
        other: OtherCounts,
        expectations: Expectations,
        doubts: Reasons,
    ) -> Summary {
        let mut undecided = totals.reasons;
        undecided.merge(doubts);
        let mut judged = Vec::new();
        if expectations.packets.is_some() {
            judged.push(totals.packets);
        }
        if expectations.close {
            judged.push(totals.close_judged);
            undecided.merge(totals.close_reasons);
        }
        let has_failed = totals.wrong > 0 || judged.iter().any(|judged| judged.failed > 0);
        let nothing = judged
            .iter()
            .any(|judged| judged.met + judged.failed + judged.unknown == 0);
        let unknown = judged.iter().any(|judged| judged.unknown > 0) || nothing;
        let verdict = if totals.connections == 0 {
            Verdict::NoEcho
        } else if has_failed {
            Verdict::Failed
        } else if unknown || !judged.is_empty() && !doubts.is_empty() {
            Verdict::CannotTell
        } else {
            Verdict::Met
        };
        if verdict == Verdict::CannotTell && (nothing || undecided.is_empty()) {
            undecided.add(Undecided::Nothing);
        }
        Summary {
            totals,
            no_echo,
            other,
            verdict,
            undecided,
        }
    }
}
