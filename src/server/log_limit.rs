//! A limit on records that clients cause.

use std::time::{Duration, Instant};

/// At most one record per interval.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Lets one record per second through, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    logged_at: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// Whether to log a record at `now`: if so, how many were not logged since the last.
    pub fn check(&mut self, now: Instant) -> Option<u64> {
        let recent = |at| now.duration_since(at) < LOG_INTERVAL;
        if self.logged_at.is_some_and(recent) {
            self.suppressed += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_per_second_says_how_many_others_there_were() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(limit.check(at(0)), Some(0));
        assert_eq!(limit.check(at(1)), None);
        assert_eq!(limit.check(at(999)), None);
        assert_eq!(limit.check(at(1000)), Some(2));
        assert_eq!(limit.check(at(1500)), None);
        assert_eq!(limit.check(at(9000)), Some(1));
        assert_eq!(limit.check(at(10_000)), Some(0));
    }
}
