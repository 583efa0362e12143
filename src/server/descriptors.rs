//! The limit on file descriptors, and how many connections it allows.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::record;
use crate::records;

/// File descriptors kept free beside those that are open at the bind: the signals
/// take two, scrapes of the daemon's metrics up to eight, and an embedder may open
/// more later.
const RESERVED_FDS: usize = 16;

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
        record!(records::ConnectionsLowered {
            wanted,
            allowed,
            limit
        });
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
