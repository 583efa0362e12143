//! Signals and limits of processes, and their state in `/proc`.

use std::env;
use std::fs;
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// Takes from `command` the variables that the program would inherit from the tests and
/// obey. Those that the test sets for it stay.
pub fn without_inherited_settings(command: &mut Command) -> &mut Command {
    let is_setting = |name: &str| name == "RUST_LOG" || name.starts_with("ECHOLINE_");
    for (name, _) in env::vars_os() {
        let is_inherited = command.get_envs().all(|(set, _)| set != name);
        if is_inherited && name.to_str().is_some_and(is_setting) {
            command.env_remove(name);
        }
    }
    command
}

/// Signals a process that the test has started.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).expect("the process exists");
}

/// Holds a thread of a child process while `work` runs. The other threads of that process
/// go on, which they would not after SIGSTOP (ptrace(2)).
pub fn while_held<T>(thread: u32, work: impl FnOnce() -> T) -> T {
    let thread = nix::unistd::Pid::from_raw(i32::try_from(thread).unwrap());
    ptrace::seize(thread, ptrace::Options::empty()).expect("a child can be traced");
    ptrace::interrupt(thread).unwrap();
    let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    assert!(
        matches!(stopped, WaitStatus::PtraceEvent(..)),
        "{stopped:?}"
    );
    let result = work();
    ptrace::detach(thread, None).unwrap();
    result
}

/// A field of `/proc/PID/status` (`proc_pid_status(5)`).
pub fn status_field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":"));
    value.expect("a field of this name").trim().to_owned()
}

/// Whether the process sleeps in a system call.
pub fn is_sleeping(pid: u32) -> bool {
    status_field(pid, "State").starts_with('S')
}

/// Whether a signal has stopped the process.
pub fn is_stopped(pid: u32) -> bool {
    status_field(pid, "State").starts_with('T')
}

/// Open file descriptors of the process.
pub fn fd_count(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Raises this process's soft limit on file descriptors to the hard limit, which must
/// be at least `required`.
pub fn raise_fd_limit(required: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let suffices = maximum.is_none_or(|maximum| maximum >= required as u64);
    assert!(
        suffices,
        "the hard limit on file descriptors is under {required}"
    );
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised");
}
