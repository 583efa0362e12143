//! The clock of a server, and the type that times are kept in.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the server. 64 bits last for 584 years, and the
/// resolution tells connections apart that had the same slot.
pub(crate) type Nanos = u64;

/// The time from `earlier` to `later`; zero if `earlier` is the later one.
pub(crate) fn between(earlier: Nanos, later: Nanos) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier))
}

/// The time since the start, and the last reading.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    now: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        let now = Instant::now();
        Clock { started: now, now }
    }

    /// Reads the time.
    pub fn update(&mut self) {
        self.now = Instant::now();
    }

    /// The last reading.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time from the start to the last reading.
    pub fn last_nanos(&self) -> Nanos {
        nanos(self.now - self.started)
    }

    /// The time since the start, read now.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time since the start, read now.
    pub fn nanos(&self) -> Nanos {
        nanos(self.uptime())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "584 years, see Nanos")]
fn nanos(uptime: Duration) -> Nanos {
    uptime.as_nanos() as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_lies_later_is_no_time_ago() {
        assert_eq!(between(5, 2), Duration::ZERO);
        assert_eq!(between(2, 5), Duration::from_nanos(3));
        assert_eq!(between(0, Nanos::MAX), Duration::from_nanos(Nanos::MAX));
    }
}
