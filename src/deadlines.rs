//! The earliest deadline. Pure: the time comes from the caller.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// What is due when. Nobody takes an alarm back: whoever it is for may be gone
/// or have got more time, so it is a hint to look, not a verdict.
#[derive(Debug)]
pub(crate) struct Deadlines<Alarm> {
    alarms: BinaryHeap<Reverse<(Instant, Alarm)>>,
}

impl<Alarm: Ord + Copy> Deadlines<Alarm> {
    pub fn new() -> Deadlines<Alarm> {
        Deadlines {
            alarms: BinaryHeap::new(),
        }
    }

    /// Asks to be told of `alarm` at `at`.
    pub fn arm(&mut self, at: Instant, alarm: Alarm) {
        self.alarms.push(Reverse((at, alarm)));
    }

    /// When the next alarm is due.
    pub fn next(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one alarm that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Alarm> {
        self.next().filter(|at| *at <= now)?;
        self.alarms.pop().map(|Reverse((_, alarm))| alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn alarms_come_when_due_and_earliest_first() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.next(), None);
        for (secs, alarm) in [(3, 30), (1, 10), (2, 20)] {
            deadlines.arm(at(secs), alarm);
        }
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.pop_due(at(0)), None);
        assert_eq!(deadlines.pop_due(at(2)), Some(10));
        assert_eq!(deadlines.pop_due(at(2)), Some(20));
        assert_eq!(deadlines.pop_due(at(2)), None);
        assert_eq!(deadlines.next(), Some(at(3)));
    }
}
