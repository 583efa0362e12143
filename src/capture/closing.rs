//! How a connection ends.

use std::time::Duration;

use crate::capture::packet::Side;

/// A FIN that is missing proves something when the capture goes on for this long: without
/// `--immediate-mode`, tcpdump loses what came in its last second.
pub const ENOUGH: i64 = 2_000_000_000;

/// FINs and the first reset of both halves.
#[derive(Debug, Default)]
pub struct Closing {
    fins: [Option<i64>; 2],
    reset: Option<(usize, i64)>,
}

/// How a connection ended, as far as the capture shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// Both sides sent a FIN: which was first, and how much later the other's came.
    Both(Option<Side>, Duration),
    /// The client's FIN was captured and the server's not, for so long.
    ByClientOnly(Duration),
    /// The server's FIN was captured and the client's not, for so long.
    ByServerOnly(Duration),
    /// One side reset it, without both FINs before.
    Reset(Option<Side>),
    /// Neither closed it, for so long since its last packet.
    Open(Duration),
}

impl Closing {
    pub fn fin(&mut self, half: usize, time: i64) {
        self.fins[half].get_or_insert(time);
    }

    pub fn reset(&mut self, half: usize, time: i64) {
        if self.fins.contains(&None) {
            self.reset.get_or_insert((half, time));
        }
    }

    /// Whether nothing but packets sent again is to come.
    pub fn is_finished(&self) -> bool {
        self.reset.is_some() || !self.fins.contains(&None)
    }

    /// The FIN of one half, and who reset the connection, with their times.
    pub fn fin_time(&self, half: usize) -> Option<i64> {
        self.fins[half]
    }

    pub fn reset_by(&self) -> Option<(usize, i64)> {
        self.reset
    }

    /// As seen at time `end`. `last` is the time of the last packet.
    pub fn closed(&self, client: Option<usize>, last: i64, end: i64) -> Closed {
        let side = |half: usize| {
            let client = client?;
            Some(if half == client {
                Side::Client
            } else {
                Side::Server
            })
        };
        let since = |time: i64| duration(time, end);
        match (self.fins, self.reset) {
            ([Some(a), Some(b)], _) => {
                Closed::Both(side(usize::from(b < a)), duration(a.min(b), a.max(b)))
            }
            (_, Some((half, _))) => Closed::Reset(side(half)),
            ([Some(fin), None], _) if side(0) != Some(Side::Server) => {
                Closed::ByClientOnly(since(fin))
            }
            ([None, Some(fin)], _) if side(1) == Some(Side::Client) => {
                Closed::ByClientOnly(since(fin))
            }
            ([Some(fin), None] | [None, Some(fin)], _) => Closed::ByServerOnly(since(fin)),
            _ => Closed::Open(since(last)),
        }
    }
}

pub fn duration(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}
