//! Timers: a heap of deadlines, and one idle timer and one header timer per slot.
//!
//! The clock is read once per run of the loop while a timer is armed, and not at
//! all while none is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Millis, Nanos};
use crate::connection::LINGER_TIMEOUT;
use crate::server::connections::ConnectionId;

/// How long accepting pauses for lack of resources, unless a close comes first.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The shortest time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The difference of two readings in whole milliseconds may exceed the time between
/// them by this much.
const RESOLUTION: Duration = Duration::from_millis(1);

/// What is due when a timer expires. Timers are never cancelled; the owner checks
/// again when one fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Accepting resumes.
    RetryAccept,
    /// The connection has lingered long enough.
    Linger(ConnectionId),
    /// The connection with this key may have had the time for its PROXY header.
    Header(usize),
    /// The connection with this key may have been idle for too long.
    Idle(usize),
    /// The handshakes that had begun had time to complete.
    Leave,
    /// The drain timeout has passed.
    DrainTimeout,
    /// The observer may be told of progress.
    Progress,
    /// The observer is to be told that the loop runs.
    Heartbeat,
}

/// The armed timers.
#[derive(Debug)]
pub(crate) struct Timers {
    clock: Clock,
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    retry_accept_armed: bool,
    progress_armed: bool,
    idle_timeout: Option<Duration>,
    idle_armed: ArmedSlots,
    header_timeout: Option<Duration>,
    header_armed: ArmedSlots,
}

/// By key: whether the timer of a slot is armed. There is one per slot, however many
/// connections come and go. A reused slot inherits it; at worst it fires early and is armed
/// again.
#[derive(Debug, Default)]
struct ArmedSlots(Vec<bool>);

impl ArmedSlots {
    /// Notes that the timer of this slot is armed; whether it was not.
    fn insert(&mut self, key: usize) -> bool {
        if self.0.len() <= key {
            self.0.resize(key + 1, false);
        }
        !std::mem::replace(&mut self.0[key], true)
    }

    fn remove(&mut self, key: usize) {
        self.0[key] = false;
    }
}

impl Timers {
    pub fn new(idle_timeout: Option<Duration>, header_timeout: Option<Duration>) -> Timers {
        Timers {
            clock: Clock::start(),
            heap: BinaryHeap::new(),
            retry_accept_armed: false,
            progress_armed: false,
            idle_timeout,
            idle_armed: ArmedSlots::default(),
            header_timeout,
            header_armed: ArmedSlots::default(),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn is_armed(&self) -> bool {
        !self.heap.is_empty()
    }

    /// Reads the clock.
    pub fn update_clock(&mut self) -> Millis {
        self.clock.update();
        self.clock.millis()
    }

    /// Time from the last reading of the clock to the next timer, if one is armed.
    pub fn next_timeout(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.heap.peek()?;
        Some(at.saturating_duration_since(self.clock.now()))
    }

    /// Takes a timer that is due at `now`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        self.heap.peek().filter(|Reverse((at, _))| *at <= now)?;
        let Reverse((_, timer)) = self.heap.pop()?;
        match timer {
            Timer::RetryAccept => self.retry_accept_armed = false,
            Timer::Idle(key) => self.idle_armed.remove(key),
            Timer::Header(key) => self.header_armed.remove(key),
            Timer::Progress => self.progress_armed = false,
            Timer::Linger(..) | Timer::Leave | Timer::DrainTimeout | Timer::Heartbeat => {}
        }
        Some(timer)
    }

    pub fn arm_retry_accept(&mut self) {
        if !std::mem::replace(&mut self.retry_accept_armed, true) {
            self.arm_after(ACCEPT_RETRY_DELAY, Timer::RetryAccept);
        }
    }

    pub fn arm_progress(&mut self) {
        if !std::mem::replace(&mut self.progress_armed, true) {
            self.arm_after(PROGRESS_INTERVAL, Timer::Progress);
        }
    }

    pub fn arm_heartbeat(&mut self, after: Duration) {
        self.arm_after(after, Timer::Heartbeat);
    }

    pub fn arm_linger(&mut self, id: ConnectionId) {
        self.arm_after(LINGER_TIMEOUT, Timer::Linger(id));
    }

    pub fn arm_leave(&mut self, after: Duration) {
        self.arm_after(after, Timer::Leave);
    }

    pub fn arm_drain_timeout(&mut self, at: Instant) {
        self.clock.update();
        self.heap.push(Reverse((at, Timer::DrainTimeout)));
    }

    /// Arms the idle timer of a slot for a new connection, if there is an idle
    /// timeout. Returns the time of its first activity.
    pub fn arm_idle(&mut self, key: usize) -> Millis {
        if let Some(timeout) = self.idle_timeout {
            self.clock.update();
            self.arm_idle_after(timeout + RESOLUTION, key);
        }
        self.clock.millis()
    }

    /// Whether `idle_for` milliseconds exceed the idle timeout. Arms the idle timer
    /// again in any case, as the connection goes on if unread input is found.
    pub fn check_idle(&mut self, key: usize, idle_for: u32) -> bool {
        let Some(timeout) = self.idle_timeout else {
            return false;
        };
        let idle_for = Duration::from_millis(idle_for.into());
        let left = (timeout + RESOLUTION).saturating_sub(idle_for);
        self.arm_idle_after(if left.is_zero() { timeout } else { left }, key);
        left.is_zero()
    }

    fn arm_idle_after(&mut self, after: Duration, key: usize) {
        if self.idle_armed.insert(key) {
            self.arm_after(after, Timer::Idle(key));
        }
    }

    /// Arms the header timer of a slot for a new connection, if there is a limit.
    pub fn arm_header(&mut self, key: usize) {
        if let Some(timeout) = self.header_timeout {
            self.arm_header_after(timeout, key);
        }
    }

    /// Whether a connection accepted then has had the time for its header. Arms the header
    /// timer again if not.
    pub fn check_header(&mut self, key: usize, accepted_at: Nanos) -> bool {
        let Some(timeout) = self.header_timeout else {
            return false;
        };
        let age = Duration::from_nanos(self.clock.nanos().saturating_sub(accepted_at));
        let left = timeout.saturating_sub(age);
        if !left.is_zero() {
            self.arm_header_after(left, key);
        }
        left.is_zero()
    }

    fn arm_header_after(&mut self, after: Duration, key: usize) {
        if self.header_armed.insert(key) {
            self.arm_after(after, Timer::Header(key));
        }
    }

    /// A time that no clock will show is never due.
    fn arm_after(&mut self, after: Duration, timer: Timer) {
        self.clock.update();
        if let Some(at) = self.clock.now().checked_add(after) {
            self.heap.push(Reverse((at, timer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(idle_timeout: u64) -> Timers {
        Timers::new(Some(Duration::from_millis(idle_timeout)), None)
    }

    #[test]
    fn timers_expire_when_due_and_earliest_first() {
        let mut timers = Timers::new(None, None);
        assert_eq!(timers.next_timeout(), None);
        let start = timers.clock().now();
        let at = |secs| start + Duration::from_secs(secs);
        timers.arm_drain_timeout(at(3));
        let id = ConnectionId::of(7, 9);
        timers.arm_linger(id);
        timers.arm_retry_accept();
        timers.arm_retry_accept();
        assert!(timers.next_timeout().unwrap() <= ACCEPT_RETRY_DELAY);
        assert_eq!(timers.pop_expired(at(0)), None);
        assert_eq!(timers.pop_expired(at(4)), Some(Timer::RetryAccept));
        assert_eq!(timers.pop_expired(at(4)), Some(Timer::Linger(id)));
        assert_eq!(timers.pop_expired(at(4)), Some(Timer::DrainTimeout));
        assert_eq!(timers.pop_expired(at(4)), None);
    }

    #[test]
    fn a_timer_beyond_the_range_of_the_clock_is_never_due() {
        let mut timers = Timers::new(None, None);
        timers.arm_heartbeat(Duration::MAX);
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn a_slot_has_one_idle_timer_however_often_it_is_reused() {
        let mut timers = timers(1000);
        for _ in 0..5 {
            timers.arm_idle(3);
        }
        let late = timers.clock().now() + Duration::from_secs(2);
        assert_eq!(timers.pop_expired(late), Some(Timer::Idle(3)));
        assert_eq!(timers.pop_expired(late), None);
        assert!(!timers.check_idle(3, 400));
        assert_eq!(timers.pop_expired(late), Some(Timer::Idle(3)));
    }

    #[test]
    fn a_slot_has_one_header_timer_which_waits_for_the_connection_that_has_it_then() {
        let mut timers = Timers::new(None, Some(Duration::from_secs(1000)));
        for _ in 0..5 {
            timers.arm_header(3);
        }
        let late = timers.clock().now() + Duration::from_secs(2000);
        assert_eq!(timers.pop_expired(late), Some(Timer::Header(3)));
        assert_eq!(timers.pop_expired(late), None);
        assert!(!timers.check_header(3, 0), "1000 s are not over");
        assert_eq!(timers.pop_expired(late), Some(Timer::Header(3)));
        let mut timers = Timers::new(None, Some(Duration::from_nanos(1)));
        assert!(timers.check_header(3, 0));
        assert_eq!(timers.pop_expired(late), None);
    }

    #[test]
    fn a_connection_is_idle_only_when_the_timeout_has_certainly_passed() {
        let mut timers = timers(1000);
        assert!(!timers.check_idle(0, 0));
        assert!(!timers.check_idle(0, 1000), "it may be 999.1 ms");
        assert!(timers.check_idle(0, 1001));
    }
}
