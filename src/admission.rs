//! Who may come in: how many in all, and how many from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::warn;

/// Refusals are logged this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The limits, and the count that the second of them needs.
#[derive(Debug)]
pub(crate) struct Admission {
    max_connections: usize,
    /// 0: no limit, and nothing is counted.
    max_per_ip: usize,
    by_ip: HashMap<IpAddr, usize>,
    /// Connections refused, ever.
    refused: u64,
    /// When a refusal was logged last, and how many had been then.
    logged: Option<(Instant, u64)>,
}

impl Admission {
    pub fn new(max_connections: usize, max_per_ip: usize) -> Admission {
        Admission {
            max_connections,
            max_per_ip,
            by_ip: HashMap::new(),
            refused: 0,
            logged: None,
        }
    }

    /// The limit, if `open` connections are as many as there may be.
    pub fn limit_reached(&self, open: usize) -> Option<usize> {
        (open >= self.max_connections).then_some(self.max_connections)
    }

    /// Lets `peer` in and counts it, or refuses it and logs that, unless a
    /// refusal has just been logged.
    pub fn admit(&mut self, peer: SocketAddr) -> bool {
        if self.max_per_ip == 0 {
            return true;
        }
        let count = self.by_ip.entry(peer.ip()).or_default();
        if *count < self.max_per_ip {
            *count += 1;
            return true;
        }
        self.refused += 1;
        self.log_refusal(peer, Instant::now());
        false
    }

    /// Takes note that a connection of `peer`, once admitted, is gone.
    pub fn leave(&mut self, peer: SocketAddr) {
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

    fn log_refusal(&mut self, peer: SocketAddr, now: Instant) {
        let (at, before) = self.logged.unwrap_or((now, 0));
        if self.logged.is_some() && now.duration_since(at) < LOG_INTERVAL {
            return;
        }
        self.logged = Some((now, self.refused));
        let (limit, unlogged) = (self.max_per_ip, self.refused - before - 1);
        warn!("{peer} refused: {limit} connections from its address ({unlogged} others refused)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_as_many_connections_as_it_may_have_at_a_time() {
        let [a, b] = ["127.0.0.1:1", "127.0.0.2:1"].map(|addr| addr.parse().unwrap());
        let mut admission = Admission::new(10, 2);
        assert!(admission.admit(a) && admission.admit(a));
        assert!(!admission.admit(a));
        assert!(admission.admit(b));
        admission.leave(a);
        assert!(admission.admit(a));
        assert!(!admission.admit(a));
        assert_eq!(admission.refused(), 2);
        admission.leave(a);
        admission.leave(a);
        admission.leave(b);
        assert!(admission.by_ip.is_empty(), "memory is given back");
    }

    #[test]
    fn no_limit_counts_nothing() {
        let mut admission = Admission::new(10, 0);
        assert!((0..1000).all(|_| admission.admit("127.0.0.1:1".parse().unwrap())));
        assert!(admission.by_ip.is_empty());
    }

    #[test]
    fn the_limit_on_all_is_reached_when_it_is() {
        let admission = Admission::new(10, 0);
        assert_eq!(admission.limit_reached(9), None);
        assert_eq!(admission.limit_reached(10), Some(10));
    }
}
