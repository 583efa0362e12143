//! A server process: start, CPU time, memory, stop.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::affinity;
use crate::servers::Server;

/// Timeout of steps that normally take milliseconds.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A running server, stopped on drop.
pub struct Process {
    name: &'static str,
    child: Child,
    pub addr: SocketAddr,
    forks: bool,
    /// What the server puts before each line.
    pub prefix: &'static str,
}

impl Process {
    /// Starts `server` on the servers' processor and waits until it listens.
    pub fn start(server: &Server) -> io::Result<Process> {
        Process::start_under(&[], server)
    }

    /// Starts `server` under a wrapper such as valgrind.
    pub fn start_under(wrapper: &[&str], server: &Server) -> io::Result<Process> {
        let addr = free_addr()?;
        let log = if server.logs {
            File::create(log_file())?.into()
        } else {
            Stdio::null()
        };
        let mut command = server.command(addr.port(), wrapper);
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(File::create(error_file(server.name))?)
            .process_group(0);
        let mut process = Process {
            name: server.name,
            child: affinity::as_server(|| command.spawn())?,
            addr,
            forks: server.forks,
            prefix: server.prefix,
        };
        if process.wait_until_listening()? {
            Ok(process)
        } else {
            let reason = process.exit_reason().unwrap_or_default();
            Err(io::Error::other(format!("does not listen; {reason}")))
        }
    }

    /// Returns false if the process exits or the time is up.
    fn wait_until_listening(&mut self) -> io::Result<bool> {
        let started = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            if self.child.try_wait()?.is_some() || started.elapsed() > TIMEOUT {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time so far, including that of exited threads; `None` if the server
    /// forks.
    pub fn cpu_time(&self) -> Option<Duration> {
        if self.forks {
            return None;
        }
        let pid = i32::try_from(self.pid()).ok()?;
        let clock = ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(pid)).ok()?;
        Some(clock.now().ok()?.into())
    }

    /// Resident memory in bytes (`proc_pid_status(5)`); `None` if the server
    /// forks.
    pub fn rss(&self) -> Option<u64> {
        if self.forks {
            return None;
        }
        let kib = self.status("VmRSS:")?;
        Some(kib.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// Share of the kernel in the CPU time since the start (`utime` and `stime` of
    /// `proc_pid_stat(5)`); `None` if the server forks.
    pub fn kernel_share(&self) -> Option<f64> {
        if self.forks {
            return None;
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?; // The name before may have spaces.
        let mut times = fields.split(' ').skip(11).map(str::parse::<f64>);
        let (user, kernel) = (times.next()?.ok()?, times.next()?.ok()?);
        Some(kernel / (user + kernel))
    }

    /// The exit status, and the last line that the server wrote to stderr; `None`
    /// if the server still runs after half a second. A process with many sockets
    /// takes a while to end.
    pub fn exit_reason(&mut self) -> Option<String> {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().ok()? {
                break status;
            }
            if started.elapsed() > Duration::from_millis(500) {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let errors = fs::read_to_string(error_file(self.name)).unwrap_or_default();
        let last = errors.lines().last().unwrap_or_default();
        Some(format!("the server ended, {status}: {last}"))
    }

    /// A field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().to_owned())
    }

    /// Sends SIGTERM, after a timeout SIGKILL, and waits for the exit.
    pub fn stop(&mut self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > TIMEOUT {
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
        // Processes of connections may outlive the one that forked them.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }
}

/// A loopback address with a port that is free now.
fn free_addr() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Where a server writes its errors.
fn error_file(name: &str) -> String {
    format!("{}/stderr.{name}", env!("CARGO_TARGET_TMPDIR"))
}

/// Where a server that logs writes its log.
fn log_file() -> String {
    format!("{}/log", env!("CARGO_TARGET_TMPDIR"))
}
