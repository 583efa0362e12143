//! How long and how often everything is measured.

use std::time::Duration;

pub struct Plan {
    pub rounds: usize,
    /// Foreign servers take part in one of so many rounds.
    pub foreign_every: usize,
    /// Pause after each measurement, while connections are still being closed.
    pub pause: Duration,
    pub warm_up: Duration,
    /// Length of one measurement.
    pub duration: Duration,
    /// Sessions per measurement. Each session leaves a port in `TIME_WAIT`, so
    /// they and their rounds are limited.
    pub max_sessions: u64,
    pub session_rounds: usize,
    pub latency_rounds: usize,
    pub flood_duration: Duration,
    /// Connections that are all in ping-pong.
    pub growth: &'static [usize],
    pub growth_rounds: usize,
    /// Long enough for each of the most connections to echo several lines.
    pub growth_duration: Duration,
    pub idle_connections: &'static [usize],
}

pub const FULL: Plan = Plan {
    rounds: 40,
    foreign_every: 8,
    pause: Duration::from_millis(10),
    warm_up: Duration::from_millis(20),
    duration: Duration::from_millis(100),
    max_sessions: 1000,
    session_rounds: 15,
    latency_rounds: 7,
    flood_duration: Duration::from_secs(1),
    growth: &[1, 64, 1_000, 8_000, 16_000],
    growth_rounds: 9,
    growth_duration: Duration::from_millis(300),
    idle_connections: &[1_000, 10_000, 19_000],
};

pub const QUICK: Plan = Plan {
    rounds: 5,
    foreign_every: 5,
    pause: Duration::from_millis(10),
    warm_up: Duration::from_millis(10),
    duration: Duration::from_millis(60),
    max_sessions: 500,
    session_rounds: 3,
    latency_rounds: 1,
    flood_duration: Duration::from_millis(300),
    growth: &[1, 64, 2_000],
    growth_rounds: 3,
    growth_duration: Duration::from_millis(60),
    idle_connections: &[1_000, 5_000],
};
