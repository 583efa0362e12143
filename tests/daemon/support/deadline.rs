//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// The time after which a test gives up.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Polls every few milliseconds until `poll` returns a value.
pub fn wait_for<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    wait_for_within(DEADLINE, what, poll)
}

pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(DEADLINE, what, condition);
}

pub fn wait_until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for_within(limit, what, || condition().then_some(()));
}

fn wait_for_within<T>(limit: Duration, what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < limit, "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
