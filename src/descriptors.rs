//! How many file descriptors, and so connections, there can be.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not for connections: stdio, the poll, the waker, the
/// signals and the listeners, with some to spare.
const RESERVE: usize = 32;

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
/// at least one: each takes a descriptor. Warns if they are fewer.
pub(crate) fn possible_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let possible = limit.saturating_sub(RESERVE).max(1);
    if wanted > possible {
        log::warn!("at most {possible} connections rather than {wanted}: no more descriptors");
    }
    if wanted == 0 {
        possible
    } else {
        wanted.min(possible)
    }
}
