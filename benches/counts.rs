//! Figures that do not vary: system calls and instructions.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::{Exchange, Load};
use crate::process::{DEADLINE, Process};
use crate::servers::Server;

/// System calls of `server` for each of what `work` counts, counted with strace.
///
/// # Errors
///
/// When strace is not there or may not attach; those of `work`.
pub fn system_calls(server: &Process, work: impl FnOnce() -> io::Result<u64>) -> io::Result<f64> {
    let mut strace = Command::new("strace")
        .args([
            "-f",
            "-c",
            "-U",
            "calls,name",
            "-p",
            &server.pid().to_string(),
        ])
        .stderr(Stdio::piped())
        .spawn()?;
    let count = attached(server, &mut strace).and_then(|()| work());
    let _ = kill_process(Pid::from_child(&strace), Signal::INT);
    let table = strace.wait_with_output()?.stderr;
    let total = String::from_utf8_lossy(&table).lines().find_map(|line| {
        let calls = line.trim().strip_suffix("total")?;
        calls.trim().parse::<u64>().ok()
    });
    let total = total.ok_or_else(|| io::Error::other("strace counts nothing"))?;
    Ok(total as f64 / count? as f64)
}

/// Waits until `strace` has attached to the server.
fn attached(server: &Process, strace: &mut Child) -> io::Result<()> {
    let started = Instant::now();
    while server.status("TracerPid:").as_deref() == Some("0") {
        if strace.try_wait()?.is_some() || started.elapsed() > DEADLINE {
            return Err(io::Error::other("strace does not attach"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Instructions in user space per ping-pong line of 16 bytes: what callgrind
/// counts for a long exchange and not for a short one.
pub fn instructions(server: &Server) -> io::Result<f64> {
    let (few, many) = (collect(server, 1_000)?, collect(server, 11_000)?);
    Ok((many - few) as f64 / 10_000.0)
}

fn collect(server: &Server, lines: u64) -> io::Result<u64> {
    let profile = format!("{}/callgrind.{}", env!("CARGO_TARGET_TMPDIR"), server.name);
    let out = format!("--callgrind-out-file={profile}");
    let mut server = Process::start_in(server, &["valgrind", "--tool=callgrind", &out])?;
    let exchange = Exchange {
        connections: 1,
        lines: 1,
        line_len: 16,
    };
    let mut load = Load::connect(server.addr, exchange)?;
    for _ in 0..lines {
        load.run(Duration::ZERO, false, || {})?;
    }
    drop(load);
    server.stop()?;
    let text = fs::read_to_string(&profile)?;
    fs::remove_file(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("callgrind counts nothing"))
}
