//! CPU affinity: servers run on the first processor, the load on the last. More processes
//! of a server run on those between, as far as there are any.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What runs on a processor.
#[derive(Clone, Copy)]
pub enum Role {
    /// A server's process with this number.
    Server(usize),
    Load,
}

/// The processors that this process was started on.
pub fn processors() -> &'static [usize] {
    static PROCESSORS: OnceLock<Vec<usize>> = OnceLock::new();
    PROCESSORS.get_or_init(|| {
        let set = sched_getaffinity(None).expect("a process may read its own affinity");
        (0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect()
    })
}

/// Moves this thread, and the threads and processes it starts, to the processor
/// of `role`.
pub fn pin(role: Role) {
    let processors = processors();
    let mut set = CpuSet::new();
    set.set(match role {
        Role::Server(number) => {
            let last = processors.len() - 1;
            processors[number % last.max(1)]
        }
        Role::Load => processors[processors.len() - 1],
    });
    sched_setaffinity(None, &set).expect("a process may choose among its processors");
}

/// Calls `start` on the processor of the server's process `number`, which child processes
/// inherit (`sched_setaffinity(2)`).
pub fn as_server<T>(number: usize, start: impl FnOnce() -> T) -> T {
    pin(Role::Server(number));
    let result = start();
    pin(Role::Load);
    result
}
