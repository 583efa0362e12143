//! What a client has measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::close::{Closes, Ending};
use crate::client::distribution::Distribution;
use crate::net::tcp_info::TcpInfo;
use crate::stats::SegmentCounts;

/// The longest round trip that is recorded, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Prefixes that are counted apart.
const MAX_PREFIXES: usize = 1000;

/// Right echoes by the prefix before their lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PrefixCounts {
    /// The first 1,000 prefixes, and the echoes with each.
    pub echoes: BTreeMap<Vec<u8>, u64>,
    /// Echoes with further prefixes.
    pub others: u64,
}

impl PrefixCounts {
    pub(crate) fn record(&mut self, prefix: &[u8]) {
        if let Some(count) = self.echoes.get_mut(prefix) {
            *count += 1;
        } else if self.echoes.len() < MAX_PREFIXES {
            self.echoes.insert(prefix.to_vec(), 1);
        } else {
            self.others += 1;
        }
    }
}

/// What a client has sent, received and measured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Statistics {
    /// Connections established.
    pub connections: u64,
    /// Lines sent.
    pub sent: u64,
    /// Lines with a right echo in time.
    pub echoed: u64,
    /// Wrong echoes: changed, reordered or repeated.
    pub wrong: u64,
    /// Lines that are the echo of no line.
    pub extra: u64,
    /// Lines without an echo within the timeout.
    pub lost: u64,
    /// Lost lines with an echo in the end.
    pub late: u64,
    /// Bursts with more or fewer data segments in their echoes than expected.
    pub unexpected_segments: u64,
    /// Connections that the server closed while lines were left to send.
    pub incomplete: u64,
    /// Segments of all connections; `None` where the platform does not count them.
    pub segments: Option<SegmentCounts>,
    /// The data segments of each line's echo or, if bursts have more than one line, of
    /// each burst's echoes without the first of each connection.
    pub distribution: Distribution,
    /// The data segments of the echoes of each connection's first burst, if bursts have more
    /// than one line. At first a kernel acknowledges almost every segment at once
    /// (`TCP_MAX_QUICKACKS` in include/net/tcp.h), so a server that writes a line in pieces
    /// sends more of them.
    pub first_bursts: Distribution,
    /// The shortest round trip of segments, by the kernel; `None` where the kernel does not
    /// say.
    pub min_segment_rtt: Option<Duration>,
    /// Connections by how they ended.
    pub closes: Closes,
    /// How the last connection ended.
    pub last_ending: Option<Ending>,
    /// Echoes by prefix; empty unless prefixes are counted.
    pub prefixes: PrefixCounts,
    /// Round-trip times of the echoes, in nanoseconds.
    round_trips: Histogram<u64>,
    /// The shortest and the longest of them, which the histogram rounds.
    shortest: Duration,
    longest: Duration,
}

impl Statistics {
    pub(crate) fn new() -> Statistics {
        Statistics {
            connections: 0,
            sent: 0,
            echoed: 0,
            wrong: 0,
            extra: 0,
            lost: 0,
            late: 0,
            unexpected_segments: 0,
            incomplete: 0,
            segments: None,
            distribution: Distribution::default(),
            first_bursts: Distribution::default(),
            min_segment_rtt: None,
            closes: Closes::default(),
            last_ending: None,
            prefixes: PrefixCounts::default(),
            shortest: Duration::MAX,
            longest: Duration::ZERO,
            round_trips: Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid"),
        }
    }

    pub(crate) fn record_echo(&mut self, round_trip: Duration) {
        self.echoed += 1;
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(LONGEST);
        self.round_trips.saturating_record(nanos);
        self.shortest = self.shortest.min(round_trip);
        self.longest = self.longest.max(round_trip);
    }

    pub(crate) fn record_ending(&mut self, ending: Ending) {
        self.last_ending = Some(ending);
        self.closes.record(ending.close);
    }

    pub(crate) fn record_segments(&mut self, info: TcpInfo) {
        if let Some(counts) = info.segments {
            self.segments.get_or_insert_default().add(counts);
        }
        let known = self.min_segment_rtt.into_iter().chain(info.min_rtt);
        self.min_segment_rtt = known.min();
    }

    /// Lines received: echoes, right or not, late ones, and extra lines.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.echoed + self.wrong + self.late + self.extra
    }

    /// Whether every line came back right and in time, in the expected number of
    /// segments, with no line besides, and no connection failed or ended before its last
    /// line.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        let closes = self.incomplete + self.closes.failed;
        let faults = self.wrong + self.extra + self.lost + self.unexpected_segments + closes;
        self.echoed == self.sent && faults == 0
    }

    /// Data segments received per line received; `None` without lines, and where the
    /// platform does not count segments.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio, not a count")]
    pub fn data_segments_per_line(&self) -> Option<f64> {
        let segments = self.segments?.data_segs_in as f64;
        (self.received() > 0).then(|| segments / self.received() as f64)
    }

    /// By how much the median exceeds the round trip of segments, if that is the time for
    /// which a kernel delays an ACK (40 ms, `TCP_DELACK_MIN` in include/net/tcp.h): then the
    /// server probably writes a line in pieces, and Nagle's algorithm holds back all but the
    /// first until the client's ACK.
    #[must_use]
    pub fn suspected_delay(&self) -> Option<Duration> {
        let range = Duration::from_millis(35)..=Duration::from_millis(52);
        let excess = self
            .round_trips()
            .quantile(0.5)
            .checked_sub(self.min_segment_rtt?)?;
        range.contains(&excess).then_some(excess)
    }

    /// Round-trip times; empty before the first echo.
    #[must_use]
    pub fn round_trips(&self) -> RoundTrips<'_> {
        RoundTrips(self)
    }
}

/// The distribution of round-trip times, within 0.1 %; its ends are exact.
#[derive(Debug, Clone, Copy)]
pub struct RoundTrips<'a>(&'a Statistics);

impl RoundTrips<'_> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.round_trips.is_empty()
    }

    /// The time that this fraction (0 to 1) of the round trips does not exceed: 0 for
    /// the shortest, 0.5 for the median, 1 for the longest.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Duration {
        if self.is_empty() {
            return Duration::ZERO;
        }
        if fraction <= 0.0 {
            return self.0.shortest;
        }
        let nanos = self.0.round_trips.value_at_quantile(fraction);
        Duration::from_nanos(nanos).clamp(self.0.shortest, self.0.longest)
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.round_trips.mean() / 1e9)
    }

    /// The upper bounds of buckets that double, and the round trips in each.
    #[must_use]
    pub fn buckets(&self) -> Vec<(Duration, u64)> {
        let times = &self.0.round_trips;
        let first = times.min().max(1).next_power_of_two();
        let buckets = times.iter_log(first, 2.0);
        let counts = buckets.map(|bucket| {
            let bound = Duration::from_nanos(bucket.value_iterated_to() + 1);
            (bound, bucket.count_since_last_iteration())
        });
        counts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_after_the_first_thousand_prefixes_are_counted_together() {
        let mut counts = PrefixCounts::default();
        for round in 1..=2 {
            for i in 0..1005 {
                counts.record(format!("{i}: ").as_bytes());
            }
            assert_eq!((counts.echoes.len(), counts.others), (1000, 5 * round));
            assert!(counts.echoes.values().all(|&count| count == round));
        }
    }
}
