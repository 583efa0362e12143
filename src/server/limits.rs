//! Limits on connections: in all, per address, and by file descriptors.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use log::warn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::log_limit::LogLimit;

/// File descriptors kept free beside those that are open at the bind: the signals
/// take two, scrapes of the daemon's metrics up to eight, and an embedder may open
/// more later.
const RESERVED_FDS: usize = 16;

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
            warn!("{peer} refused: address limit {limit} reached ({others} others refused)");
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

/// Raises the soft limit on file descriptors (`RLIMIT_NOFILE`) to the hard one.
///
/// The limit belongs to the process, so this is the daemon's decision and not part
/// of [`Server::bind`](crate::Server::bind).
///
/// # Errors
///
/// If the system refuses.
pub fn raise_fd_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// The most connections that file descriptors allow, up to `wanted`, and at least one. Warns
/// if that is less than `wanted`.
///
/// To be called when everything else is open, the `listeners` included.
pub(crate) fn effective_max_connections(wanted: Option<usize>, listeners: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let open = open_fds().unwrap_or(listeners + RESERVED_FDS);
    let allowed = limit.saturating_sub(open + RESERVED_FDS).max(1);
    let wanted = wanted.unwrap_or(allowed);
    if wanted > allowed {
        warn!("max-connections lowered from {wanted} to {allowed}: RLIMIT_NOFILE is {limit}");
    }
    wanted.min(allowed)
}

/// The number of open file descriptors, where the system lists them.
fn open_fds() -> io::Result<usize> {
    let dir = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let listed = fs::read_dir(dir)?.count();
    Ok(listed - 1) // The directory itself is open while it is read.
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
