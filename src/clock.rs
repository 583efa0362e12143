//! The clock of a server, and the types that times are kept in.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the server. 64 bits last for 584 years, and the
/// resolution tells connections apart that had the same slot.
pub(crate) type Nanos = u64;

/// Milliseconds since the start of the server, modulo 2^32 (49 days): four bytes
/// per connection.
pub(crate) type Millis = u32;

/// Milliseconds from `earlier` to `later`; 0 if `earlier` is the later one.
///
/// The difference is signed, so it is right up to 2^31 ms (24 days), which is more
/// than [`MAX_TIMEOUT`](crate::MAX_TIMEOUT).
pub(crate) fn millis_between(earlier: Millis, later: Millis) -> u32 {
    let signed = later.wrapping_sub(earlier).cast_signed();
    signed.max(0).cast_unsigned()
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

    /// The last reading.
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32, see Millis")]
    pub fn millis(&self) -> Millis {
        (self.now - self.started).as_millis() as Millis
    }

    /// The time since the start, read now.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time since the start, read now.
    #[expect(clippy::cast_possible_truncation, reason = "584 years, see Nanos")]
    pub fn nanos(&self) -> Nanos {
        self.uptime().as_nanos() as Nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_lies_later_is_no_time_ago() {
        let longest = u32::try_from(crate::MAX_TIMEOUT.as_millis()).unwrap();
        for earlier in [0, 5, u32::MAX - 1, u32::MAX] {
            assert_eq!(millis_between(earlier, earlier.wrapping_sub(3)), 0);
            for ms in [0, 7, longest] {
                assert_eq!(millis_between(earlier, earlier.wrapping_add(ms)), ms);
            }
        }
    }
}
