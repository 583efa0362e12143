//! A server as a process of its own: started, watched, ended.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::servers::Server;

/// How long anything may take that takes no time.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A running server; it is ended when this is dropped.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    forks: bool,
}

impl Process {
    /// Starts `server` on the servers' processor and waits until it listens.
    pub fn start(server: &Server) -> io::Result<Process> {
        Process::start_in(server, &[])
    }

    /// The same under another program, such as valgrind.
    pub fn start_in(server: &Server, wrapper: &[&str]) -> io::Result<Process> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = if server.logs {
            File::create(log_file())?.into()
        } else {
            Stdio::null()
        };
        let mut command = server.command(addr.port(), wrapper);
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        let child = on(Side::Server, || command.spawn())?;
        let mut process = Process {
            child,
            addr,
            forks: server.forks,
        };
        let started = Instant::now();
        while TcpStream::connect(addr).is_err() {
            if process.child.try_wait()?.is_some() || started.elapsed() > DEADLINE {
                return Err(io::Error::other(format!("{} does not listen", server.name)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time used so far, by threads that have ended too; `None` if
    /// children did the work.
    pub fn cpu(&self) -> Option<Duration> {
        if self.forks {
            return None;
        }
        let pid = i32::try_from(self.pid()).ok()?;
        let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(pid)).ok()?;
        Some(clock.now().ok()?.into())
    }

    /// Resident memory in bytes (`proc_pid_status(5)`); `None` if children
    /// have it.
    pub fn rss(&self) -> Option<u64> {
        if self.forks {
            return None;
        }
        let kib = self.status("VmRSS:")?;
        Some(kib.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().to_owned())
    }

    /// Ends it and waits for that. Children that serve a connection end with it.
    pub fn stop(&mut self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > DEADLINE {
                kill_process(pid, Signal::KILL)?;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.stop();
        }
    }
}

/// Where a server that logs to a file does so.
fn log_file() -> String {
    format!("{}/log", env!("CARGO_TARGET_TMPDIR"))
}

/// Who runs on which processor.
#[derive(Clone, Copy)]
pub enum Side {
    Server,
    Load,
}

/// The processors of this process as they were at the start.
pub fn processors() -> &'static [usize] {
    static ALL: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let set = sched_getaffinity(None).expect("a process may ask for its own");
        (0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect()
    })
}

/// Has this thread, and those it starts, run on the processor of `side`: the
/// servers have the first, the load has the last.
pub fn pin(side: Side) {
    let all = processors();
    let mut set = CpuSet::new();
    set.set(match side {
        Side::Server => all[0],
        Side::Load => all[all.len() - 1],
    });
    sched_setaffinity(None, &set).expect("a process may choose among its own");
}

/// Does `work` there: children inherit the place (`sched_setaffinity(2)`).
fn on<T>(side: Side, work: impl FnOnce() -> T) -> T {
    pin(side);
    let done = work();
    pin(Side::Load);
    done
}
