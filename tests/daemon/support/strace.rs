//! strace: counts system calls of the daemon, and makes them fail.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::daemon::Daemon;
use super::deadline::wait_until;
use super::process::{send_signal, status_field};

/// Attaches strace to a process while `work` runs; returns its output.
fn strace(pid: u32, args: &[&str], work: impl FnOnce()) -> String {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let file = format!("{dir}/strace.{}.{pid}", std::process::id());
    let mut strace = Command::new("strace")
        .args(args)
        .args(["-o", &file, "-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed");
    wait_until("strace to attach", || status_field(pid, "TracerPid") != "0");
    work();
    send_signal(strace.id(), Signal::INT);
    strace.wait().unwrap();
    let output = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    output
}

/// Makes the daemon's next `call` fail with `errno` while `work` runs.
pub fn inject_error(daemon: &Daemon, call: &str, errno: &str, work: impl FnOnce()) {
    let trace = format!("trace={call}");
    let fault = format!("inject={call}:error={errno}:when=1");
    let output = strace(daemon.pid(), &["-e", &trace, "-e", &fault], work);
    assert!(
        output.contains("(INJECTED)"),
        "{call} was not called, so {errno} was not injected: {output}"
    );
}

/// System calls by name, with the number of calls.
#[derive(Debug)]
pub struct CallCounts(Vec<(String, usize)>);

impl CallCounts {
    pub fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub fn of(&self, name: &str) -> usize {
        let call = self.0.iter().find(|call| call.0 == name);
        call.map_or(0, |call| call.1)
    }
}

/// Counts the daemon's system calls while `work` runs.
pub fn count_calls(daemon: &Daemon, work: impl FnOnce()) -> CallCounts {
    count_calls_of(daemon.pid(), work)
}

/// Counts the system calls of a process while `work` runs.
pub fn count_calls_of(pid: u32, work: impl FnOnce()) -> CallCounts {
    count(pid, &[], work)
}

/// Counts the daemon's system calls while `work` runs under strace with `args`.
pub fn count_calls_with(daemon: &Daemon, args: &[&str], work: impl FnOnce()) -> CallCounts {
    count(daemon.pid(), args, work)
}

fn count(pid: u32, args: &[&str], work: impl FnOnce()) -> CallCounts {
    let summary = ["-c", "-U", "name,calls"];
    let table = strace(pid, &[&summary, args].concat(), work);
    let calls = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, count) = (fields.next()?, fields.next()?.parse().ok()?);
        (name != "total").then(|| (name.to_owned(), count))
    });
    CallCounts(calls.collect())
}
