//! Counts a server's system calls with strace.

use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Process, TIMEOUT};

/// Runs `work` under strace and returns the server's system calls per unit, of
/// which `work` returns the number.
///
/// # Errors
///
/// If strace is missing or may not attach, and any error of `work`.
pub fn calls_per_unit(server: &Process, work: impl FnOnce() -> io::Result<u64>) -> io::Result<f64> {
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-p"])
        .arg(server.pid().to_string())
        .stderr(Stdio::piped())
        .spawn()?;
    let units = wait_until_attached(server, &mut strace).and_then(|()| work());
    let _ = kill_process(Pid::from_child(&strace), Signal::INT);
    let output = strace.wait_with_output()?.stderr;
    let calls = total(&String::from_utf8_lossy(&output))
        .ok_or_else(|| io::Error::other("no total in the output of strace"))?;
    Ok(calls as f64 / units? as f64)
}

fn wait_until_attached(server: &Process, strace: &mut Child) -> io::Result<()> {
    let started = Instant::now();
    while server.status("TracerPid:").as_deref() == Some("0") {
        if strace.try_wait()?.is_some() || started.elapsed() > TIMEOUT {
            return Err(io::Error::other("strace does not attach"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The number in the line that ends with "total".
fn total(output: &str) -> Option<u64> {
    output.lines().find_map(|line| {
        let calls = line.trim().strip_suffix("total")?;
        calls.trim().parse().ok()
    })
}
