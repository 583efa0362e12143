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
    /// More processes on the same port.
    others: Vec<Child>,
    pub addr: SocketAddr,
    forks: bool,
    /// What the server puts before each line.
    pub prefix: &'static str,
}

impl Process {
    /// Starts `server`, the first process on the servers' processor, and waits until it
    /// listens.
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
            child: affinity::as_server(0, || command.spawn())?,
            others: Vec::new(),
            addr,
            forks: server.forks,
            prefix: server.prefix,
        };
        for number in 1..server.processes {
            let other = affinity::as_server(number, || command.spawn())?;
            process.others.push(other);
        }
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
        while TcpStream::connect(self.addr).is_err() || !self.others_listen()? {
            if self.child.try_wait()?.is_some() || started.elapsed() > TIMEOUT {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    /// Whether there is a listening socket for each process, by `/proc/net/tcp`
    /// (`include/net/tcp_states.h`); true if there is only one process.
    fn others_listen(&self) -> io::Result<bool> {
        let port = format!(":{:04X}", self.addr.port());
        let table = fs::read_to_string("/proc/net/tcp")?;
        let is_listener = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&port) && fields[3] == "0A"
        };
        let listeners = table.lines().skip(1).filter(is_listener).count();
        Ok(self.others.is_empty() || listeners > self.others.len())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether all that the server does is in the process with this ID.
    pub fn is_one_process(&self) -> bool {
        !self.forks && self.others.is_empty()
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        [&self.child].into_iter().chain(&self.others).map(Child::id)
    }

    /// CPU time so far, including that of exited threads; `None` if the server
    /// forks.
    pub fn cpu_time(&self) -> Option<Duration> {
        if self.forks {
            return None;
        }
        self.pids().map(cpu_time_of).sum()
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
        let (mut user, mut kernel) = (0.0, 0.0);
        for pid in self.pids() {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?; // The name before may have spaces.
            let mut times = fields.split(' ').skip(11).map(str::parse::<f64>);
            user += times.next()?.ok()?;
            kernel += times.next()?.ok()?;
        }
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
        for other in &mut self.others {
            let _ = other.kill().and_then(|()| other.wait());
        }
    }
}

fn cpu_time_of(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    let clock = ClockId::pid_cpu_clock_id(pid).ok()?;
    Some(clock.now().ok()?.into())
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
