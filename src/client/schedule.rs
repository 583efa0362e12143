//! When bursts and connections begin. Pure: no I/O.

use std::time::{Duration, Instant};

use crate::client::options::Options;

/// When the bursts of one connection are sent.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    burst: u64,
    open_loop: bool,
    /// Lines that are left to send; `None`: no limit.
    left: Option<u64>,
    due: Instant,
}

/// Lines to send together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    pub lines: u64,
    /// From when their round trips count.
    pub at: Instant,
}

impl Schedule {
    /// The first burst is due at `start`.
    pub fn new(options: &Options, start: Instant) -> Schedule {
        Schedule {
            interval: options.interval,
            burst: options.burst,
            open_loop: options.open_loop,
            left: options.count,
            due: start,
        }
    }

    /// Whether all lines have been handed out.
    pub fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// When the next burst is due, while so many lines wait for their echoes.
    pub fn due(&self, outstanding: u64) -> Option<Instant> {
        let waits = outstanding > 0 && !self.open_loop;
        (!waits && !self.is_done()).then_some(self.due)
    }

    /// The burst that is due now. In an open loop it counts from when it was due, however
    /// late it is, and so does the interval.
    pub fn next(&mut self, now: Instant, outstanding: u64) -> Option<Burst> {
        let due = self.due(outstanding).filter(|due| *due <= now)?;
        let lines = self.left.map_or(self.burst, |left| left.min(self.burst));
        self.left = self.left.map(|left| left - lines);
        let at = if self.open_loop { due } else { now };
        self.due = at + self.interval;
        Some(Burst { lines, at })
    }

    /// When a burst after the last would be due.
    pub fn after_last(&self) -> Instant {
        self.due
    }
}

/// When connections begin: side by side as soon as the first is established, or in turn, an
/// interval after the last burst of the one before.
#[derive(Debug)]
pub(crate) struct Connector {
    total: u64,
    side_by_side: bool,
    opened: u64,
    due: Instant,
}

impl Connector {
    /// The first connection is opened by the caller.
    pub fn new(options: &Options, now: Instant) -> Connector {
        Connector {
            total: options.connections,
            side_by_side: options.side_by_side,
            opened: 1,
            due: now,
        }
    }

    /// Notes when the next connection in turn is due.
    pub fn set_due(&mut self, due: Instant) {
        self.due = due;
    }

    /// When the next connection begins, while so many are open.
    pub fn due(&self, open: usize) -> Option<Instant> {
        let waits = open > 0 && !self.side_by_side;
        (!waits && self.opened < self.total).then_some(self.due)
    }

    /// The number of the connection that begins now.
    pub fn next(&mut self, now: Instant, open: usize) -> Option<u64> {
        self.due(open).filter(|due| *due <= now)?;
        self.opened += 1;
        Some(self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn options(change: impl FnOnce(&mut Options)) -> Options {
        let mut options = Options::default();
        change(&mut options);
        options
    }

    #[test]
    fn a_burst_waits_for_its_time_and_for_the_echoes_before() {
        let start = Instant::now();
        let options = options(|o| (o.burst, o.count) = (10, Some(15)));
        let mut schedule = Schedule::new(&options, start);
        let burst = |lines, at| Some(Burst { lines, at });
        assert_eq!(schedule.next(start, 0), burst(10, start));
        assert_eq!(schedule.next(start + SECOND, 1), None, "an echo is missing");
        assert_eq!(schedule.next(start + SECOND / 2, 0), None, "too early");
        let late = start + 3 * SECOND;
        assert_eq!(schedule.next(late, 0), burst(5, late));
        assert!(schedule.is_done());
        assert_eq!(schedule.due(0), None);
    }

    #[test]
    fn in_an_open_loop_lines_count_from_when_they_were_due() {
        let start = Instant::now();
        let options = options(|o| (o.open_loop, o.count) = (true, Some(3)));
        let mut schedule = Schedule::new(&options, start);
        let late = start + SECOND * 5 / 2;
        for k in 0..3 {
            let burst = schedule.next(late, u64::from(k)).unwrap();
            assert_eq!(burst.at, start + k * SECOND);
        }
        assert_eq!(schedule.next(late, 0), None);
    }

    #[test]
    fn connections_in_turn_wait_for_their_time_and_the_one_before() {
        let start = Instant::now();
        let mut connector = Connector::new(&options(|o| o.connections = 2), start);
        connector.set_due(start + SECOND);
        assert_eq!(connector.next(start, 0), None);
        assert_eq!(connector.next(start + SECOND, 1), None);
        assert_eq!(connector.next(start + SECOND, 0), Some(2));
        assert_eq!(connector.due(0), None);
    }
}
