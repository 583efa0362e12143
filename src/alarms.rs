//! What the server has to do later, and what time it is.
//!
//! The clock is read once per turn of the loop while anything has a deadline,
//! and not at all while nothing has.

use std::time::{Duration, Instant};

use crate::connection::{LINGER, Moment, Tick};
use crate::deadlines::Deadlines;

/// How long accepting pauses when the system lacks resources, unless a
/// connection closes before.
const PAUSE: Duration = Duration::from_secs(1);

/// The difference of two readings in whole milliseconds may be this much more
/// than the time between them.
const RESOLUTION: Duration = Duration::from_millis(1);

/// What the server has deadlines for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// Accepting goes on.
    Resume,
    /// The connection with this key has lingered long enough, if it is still
    /// the one that was accepted then.
    Linger(usize, Moment),
    /// Whoever has this key may have been silent for too long.
    Idle(usize),
    /// Stopping has taken long enough.
    End,
}

/// The alarms that are set.
#[derive(Debug)]
pub(crate) struct Alarms {
    deadlines: Deadlines<Alarm>,
    started: Instant,
    /// The time after the last poll, or of the last alarm that was set.
    now: Instant,
    /// There is an alarm to resume.
    resume: bool,
    idle_timeout: Option<Duration>,
    /// The keys that have an idle alarm. A connection leaves its alarm to the
    /// next with its key, for which it only rings early: there are never more
    /// than keys, however often they change hands.
    idle: Vec<bool>,
}

impl Alarms {
    pub fn new(idle_timeout: Option<Duration>) -> Alarms {
        let now = Instant::now();
        Alarms {
            deadlines: Deadlines::new(),
            started: now,
            now,
            resume: false,
            idle_timeout,
            idle: Vec::new(),
        }
    }

    /// Time since the beginning.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time as what lasts is measured.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "centuries, as said where it is defined"
    )]
    pub fn moment(&self) -> Moment {
        self.uptime().as_nanos() as Moment
    }

    /// How long until the next alarm, if one is set.
    pub fn wait(&self) -> Option<Duration> {
        let next = self.deadlines.next()?;
        Some(next.saturating_duration_since(self.now))
    }

    /// Whether anything has a deadline, and somebody may ask for the time.
    pub fn is_any_set(&self) -> bool {
        self.deadlines.next().is_some()
    }

    /// Reads the clock; returns the time as connections keep it.
    pub fn read_clock(&mut self) -> Tick {
        self.now = Instant::now();
        self.tick()
    }

    /// Takes out one alarm that was due when the clock was read last.
    pub fn pop_due(&mut self) -> Option<Alarm> {
        let alarm = self.deadlines.pop_due(self.now)?;
        match alarm {
            Alarm::Resume => self.resume = false,
            Alarm::Idle(key) => self.idle[key] = false,
            Alarm::Linger(..) | Alarm::End => {}
        }
        Some(alarm)
    }

    /// Accepting has paused.
    pub fn set_resume(&mut self) {
        if !std::mem::replace(&mut self.resume, true) {
            self.set(PAUSE, Alarm::Resume);
        }
    }

    /// The connection with this key, accepted `since`, lingers.
    pub fn set_linger(&mut self, key: usize, since: Moment) {
        self.set(LINGER, Alarm::Linger(key, since));
    }

    /// The server stops.
    pub fn set_end(&mut self, at: Instant) {
        self.now = Instant::now();
        self.deadlines.arm(at, Alarm::End);
    }

    /// A connection gets this key; returns the time for it.
    pub fn set_idle(&mut self, key: usize) -> Tick {
        if let Some(timeout) = self.idle_timeout {
            self.read_clock();
            self.arm_idle(key, timeout + RESOLUTION);
        }
        self.tick()
    }

    /// Whether a connection that has been idle for `idle_for` milliseconds has
    /// been so for too long. Arms its timer again in any case: the connection
    /// goes on if input turns out to be waiting.
    pub fn is_idle(&mut self, key: usize, idle_for: u32) -> bool {
        let Some(timeout) = self.idle_timeout else {
            return false;
        };
        let idle_for = Duration::from_millis(idle_for.into());
        let left = (timeout + RESOLUTION).saturating_sub(idle_for);
        let next = if left.is_zero() { timeout } else { left };
        self.arm_idle(key, next);
        left.is_zero()
    }

    fn arm_idle(&mut self, key: usize, after: Duration) {
        if self.idle.len() <= key {
            self.idle.resize(key + 1, false);
        }
        if !std::mem::replace(&mut self.idle[key], true) {
            self.set(after, Alarm::Idle(key));
        }
    }

    fn set(&mut self, after: Duration, alarm: Alarm) {
        self.now = Instant::now();
        self.deadlines.arm(self.now + after, alarm);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "modulo 2^32, as said where it is defined"
    )]
    fn tick(&self) -> Tick {
        (self.now - self.started).as_millis() as Tick
    }
}
