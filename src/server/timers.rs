//! Timers: a heap of deadlines, and per slot one idle timer, one header timer and one send
//! timer.
//!
//! The clock is read once per run of the loop while a timer is armed, and not at
//! all while none is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::clock::{self, Clock, Nanos};
use crate::server::connection::LINGER_TIMEOUT;
use crate::server::connections::ConnectionId;

/// How long accepting pauses for lack of resources, unless a close comes first.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The shortest time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The peer of the connection with this key may have taken nothing for too long.
    Send(usize),
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
    idle: SlotTimers,
    header: SlotTimers,
    send: SlotTimers,
}

/// How long a connection may take for each of these; `None`: as long as it likes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeouts {
    pub idle: Option<Duration>,
    pub header: Option<Duration>,
    pub send: Option<Duration>,
}

/// Timers of one kind, at most one per slot. A reused slot inherits it; at worst it fires
/// early and is armed again.
#[derive(Debug)]
struct SlotTimers {
    timeout: Option<Duration>,
    /// By key: whether the timer is armed.
    armed: Vec<bool>,
}

impl SlotTimers {
    fn new(timeout: Option<Duration>) -> SlotTimers {
        let armed = Vec::new();
        SlotTimers { timeout, armed }
    }

    /// Returns false if the timer of this slot was armed already.
    fn arm(&mut self, key: usize) -> bool {
        if self.armed.len() <= key {
            self.armed.resize(key + 1, false);
        }
        !std::mem::replace(&mut self.armed[key], true)
    }

    /// What is left of the timeout after `elapsed`. `None` without a timeout.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        Some(self.timeout?.saturating_sub(elapsed))
    }
}

impl Timers {
    pub fn new(timeouts: Timeouts) -> Timers {
        Timers {
            clock: Clock::start(),
            heap: BinaryHeap::new(),
            retry_accept_armed: false,
            progress_armed: false,
            idle: SlotTimers::new(timeouts.idle),
            header: SlotTimers::new(timeouts.header),
            send: SlotTimers::new(timeouts.send),
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn is_armed(&self) -> bool {
        !self.heap.is_empty()
    }

    /// Reads the clock.
    pub fn update_clock(&mut self) -> Nanos {
        self.clock.update();
        self.clock.last_nanos()
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
            Timer::Idle(key) => self.idle.armed[key] = false,
            Timer::Header(key) => self.header.armed[key] = false,
            Timer::Send(key) => self.send.armed[key] = false,
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
    pub fn arm_idle(&mut self, key: usize) -> Nanos {
        if let Some(timeout) = self.idle.timeout {
            self.clock.update();
            self.arm_idle_after(timeout, key);
        }
        self.clock.last_nanos()
    }

    /// Arms the idle timer again, as the connection goes on if unread input is found.
    /// Returns whether the idle timeout has passed after `idle_for`.
    pub fn rearm_idle(&mut self, key: usize, idle_for: Duration) -> bool {
        let (Some(timeout), Some(left)) = (self.idle.timeout, self.idle.left(idle_for)) else {
            return false;
        };
        self.arm_idle_after(if left.is_zero() { timeout } else { left }, key);
        left.is_zero()
    }

    fn arm_idle_after(&mut self, after: Duration, key: usize) {
        if self.idle.arm(key) {
            self.arm_after(after, Timer::Idle(key));
        }
    }

    /// Arms the header timer of a slot for a new connection, if there is a limit.
    pub fn arm_header(&mut self, key: usize) {
        if let Some(timeout) = self.header.timeout {
            self.arm_header_after(timeout, key);
        }
    }

    /// Arms the header timer again, unless a connection accepted at that time has had the time
    /// for its header. Returns whether it has.
    pub fn rearm_header(&mut self, key: usize, accepted_at: Nanos) -> bool {
        let Some(timeout) = self.header.timeout else {
            return false;
        };
        let age = clock::between(accepted_at, self.clock.nanos());
        let left = timeout.saturating_sub(age);
        if !left.is_zero() {
            self.arm_header_after(left, key);
        }
        left.is_zero()
    }

    fn arm_header_after(&mut self, after: Duration, key: usize) {
        if self.header.arm(key) {
            self.arm_after(after, Timer::Header(key));
        }
    }

    /// Arms the send timer of a slot, if there is a send timeout and the timer is not armed
    /// yet. If so, returns the time.
    pub fn arm_send(&mut self, key: usize) -> Option<Nanos> {
        let timeout = self.send.timeout?;
        if !self.send.arm(key) {
            return None;
        }
        self.arm_after(timeout, Timer::Send(key));
        Some(self.clock.last_nanos())
    }

    /// Arms the send timer again, unless the send timeout has passed after `blocked_for`.
    /// Returns whether it has.
    pub fn rearm_send(&mut self, key: usize, blocked_for: Duration) -> bool {
        let Some(left) = self.send.left(blocked_for) else {
            return false;
        };
        if !left.is_zero() && self.send.arm(key) {
            self.arm_after(left, Timer::Send(key));
        }
        left.is_zero()
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

    fn with(set: impl FnOnce(&mut Timeouts)) -> Timers {
        let mut timeouts = Timeouts::default();
        set(&mut timeouts);
        Timers::new(timeouts)
    }

    fn timers(idle_timeout: u64) -> Timers {
        with(|timeouts| timeouts.idle = Some(Duration::from_millis(idle_timeout)))
    }

    #[test]
    fn timers_expire_when_due_and_earliest_first() {
        let mut timers = with(|_| {});
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
        let mut timers = with(|_| {});
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
        assert!(!timers.rearm_idle(3, Duration::from_millis(400)));
        assert_eq!(timers.pop_expired(late), Some(Timer::Idle(3)));
    }

    #[test]
    fn a_slot_has_one_header_timer_which_waits_for_the_connection_that_has_it_then() {
        let mut timers = with(|timeouts| timeouts.header = Some(Duration::from_secs(1000)));
        for _ in 0..5 {
            timers.arm_header(3);
        }
        let late = timers.clock().now() + Duration::from_secs(2000);
        assert_eq!(timers.pop_expired(late), Some(Timer::Header(3)));
        assert_eq!(timers.pop_expired(late), None);
        assert!(!timers.rearm_header(3, 0), "1000 s are not over");
        assert_eq!(timers.pop_expired(late), Some(Timer::Header(3)));
        let mut timers = with(|timeouts| timeouts.header = Some(Duration::from_nanos(1)));
        assert!(timers.rearm_header(3, 0));
        assert_eq!(timers.pop_expired(late), None);
    }

    #[test]
    fn a_send_timer_is_armed_once_and_again_while_time_is_left() {
        let mut timers = with(|timeouts| timeouts.send = Some(Duration::from_secs(1)));
        assert!(timers.arm_send(3).is_some());
        assert!(
            timers.arm_send(3).is_none(),
            "the time goes on from the first"
        );
        let late = timers.clock().now() + Duration::from_secs(2);
        assert_eq!(timers.pop_expired(late), Some(Timer::Send(3)));
        let timeout = Duration::from_secs(1);
        assert!(!timers.rearm_send(3, Duration::from_nanos(999_999_999)));
        assert_eq!(timers.pop_expired(late), Some(Timer::Send(3)));
        assert!(timers.rearm_send(3, timeout));
        assert_eq!(timers.pop_expired(late), None);
        assert!(with(|_| {}).arm_send(3).is_none());
    }

    #[test]
    fn a_connection_is_idle_when_the_timeout_has_passed_and_not_before() {
        let mut timers = timers(1000);
        let timeout = Duration::from_secs(1);
        assert!(!timers.rearm_idle(0, Duration::ZERO));
        assert!(!timers.rearm_idle(0, Duration::from_nanos(999_999_999)));
        assert!(timers.rearm_idle(0, timeout));
    }
}
