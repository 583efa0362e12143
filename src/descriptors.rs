//! How many file descriptors, and so connections, there can be.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept free beside those that are open at the bind: the signals
/// take two, and an embedder may open some later.
const RESERVED_FDS: usize = 16;

/// Raises this process's soft limit on file descriptors (`RLIMIT_NOFILE`) to
/// the hard one. The limit is the process's, so the daemon does it and
/// [`Server::bind`](crate::Server::bind) does not.
///
/// # Errors
///
/// When the system refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// The connections that there can be of those `wanted` (0: all there can be),
/// at least one: each takes a descriptor. Warns if they are fewer. To be called
/// when everything else is open, `listeners` listeners among it.
pub(crate) fn effective_max_connections(wanted: usize, listeners: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let used = open_descriptors().unwrap_or(listeners + RESERVED_FDS) + RESERVED_FDS;
    let possible = limit.saturating_sub(used).max(1);
    if wanted > possible {
        log::warn!("at most {possible} connections rather than {wanted}: no more descriptors");
    }
    if wanted == 0 {
        possible
    } else {
        wanted.min(possible)
    }
}

/// The descriptors that this process has open, if the system lists them.
fn open_descriptors() -> io::Result<usize> {
    let dir = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let listed = fs::read_dir(dir)?.count();
    Ok(listed - 1) // The directory itself is one of them.
}
