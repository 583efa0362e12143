//! Limits on connections: in all and per address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::record;
use crate::records;
use crate::server::log_limit::LogLimit;

/// The limits on open connections, and the count per address.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    max_connections: usize,
    /// `None`: no limit, and nothing is counted.
    max_per_ip: Option<usize>,
    by_ip: HashMap<IpAddr, usize>,
    /// Connections refused so far.
    refused: u64,
    log_limit: LogLimit,
}

impl ConnectionLimits {
    pub fn new(max_connections: usize, max_per_ip: Option<usize>) -> ConnectionLimits {
        ConnectionLimits {
            max_connections,
            max_per_ip,
            by_ip: HashMap::new(),
            refused: 0,
            log_limit: LogLimit::default(),
        }
    }

    /// The limit on all connections, if it is reached with `open` of them.
    pub fn limit_reached(&self, open: usize) -> Option<usize> {
        (open >= self.max_connections).then_some(self.max_connections)
    }

    /// Counts a connection of `peer`. Returns false if its address is at its limit;
    /// such refusals are counted and logged, at most one per second.
    pub fn try_acquire(&mut self, peer: SocketAddr) -> bool {
        let Some(limit) = self.max_per_ip else {
            return true;
        };
        let count = self.by_ip.entry(peer.ip()).or_default();
        if *count < limit {
            *count += 1;
            return true;
        }
        self.refused += 1;
        if let Some(others) = self.log_limit.check(Instant::now()) {
            record!(records::AddressLimit {
                peer,
                limit,
                others
            });
        }
        false
    }

    /// Gives back the place of a connection of `peer`.
    pub fn release(&mut self, peer: SocketAddr) {
        if self.max_per_ip.is_none() {
            return;
        }
        if let Entry::Occupied(mut count) = self.by_ip.entry(peer.ip()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Connections refused so far.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_no_more_connections_than_its_limit() {
        let [a, b] = ["127.0.0.1:1", "127.0.0.2:1"].map(|addr| addr.parse().unwrap());
        let mut limits = ConnectionLimits::new(10, Some(2));
        assert!(limits.try_acquire(a) && limits.try_acquire(a));
        assert!(!limits.try_acquire(a));
        assert!(limits.try_acquire(b));
        limits.release(a);
        assert!(limits.try_acquire(a));
        assert!(!limits.try_acquire(a));
        assert_eq!(limits.refused(), 2);
        limits.release(a);
        limits.release(a);
        limits.release(b);
        assert!(limits.by_ip.is_empty(), "memory is freed");
    }

    #[test]
    fn without_a_limit_per_address_nothing_is_counted() {
        let mut limits = ConnectionLimits::new(10, None);
        assert!((0..1000).all(|_| limits.try_acquire("127.0.0.1:1".parse().unwrap())));
        assert!(limits.by_ip.is_empty());
    }

    #[test]
    fn the_limit_on_all_connections_is_inclusive() {
        let limits = ConnectionLimits::new(10, None);
        assert_eq!(limits.limit_reached(9), None);
        assert_eq!(limits.limit_reached(10), Some(10));
    }
}
