//! The real binary as a child process, with its log.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::clients::{connect, echo};
use super::deadline::{wait_for, wait_until};
use super::port::ReservedPort;
use super::process::{self, raise_fd_limit, send_signal, without_inherited_settings};
use super::sockets::{CLOSE_WAIT, ESTABLISHED, tcp_sockets};

pub const BINARY: &str = env!("CARGO_BIN_EXE_echoline");

/// A running daemon. It is killed on drop.
pub struct Daemon {
    child: Child,
    /// Its stdout: a file, which is never full, so that no record is lost, and which has a
    /// record as soon as it is written.
    log: File,
    pub addr: SocketAddr,
}

impl Daemon {
    /// Starts the daemon on 127.0.0.1 and a port that the kernel chooses.
    pub fn start() -> Daemon {
        Daemon::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Daemon {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(args);
        Daemon::spawn(Command::new(BINARY).args(all))
    }

    /// Starts the daemon under a limit, soft and hard, of `limit` file descriptors.
    pub fn start_with_fd_limit(limit: usize, args: &str) -> Daemon {
        let script = format!("ulimit -n {limit}; exec \"$0\" --listen 127.0.0.1:0 {args}");
        Daemon::spawn(Command::new("sh").args(["-c", &script, BINARY]))
    }

    /// Runs `command`, which starts the daemon, and waits until the daemon listens.
    pub fn spawn(command: &mut Command) -> Daemon {
        Daemon::spawn_keeping_stdin(command.stdin(Stdio::null()))
    }

    /// The same with the standard input that `command` has.
    pub fn spawn_keeping_stdin(command: &mut Command) -> Daemon {
        // Enough for all the tests that run at the same time.
        raise_fd_limit(4096);
        let log = File::from(memfd_create("log", MemfdFlags::CLOEXEC).unwrap());
        let child = without_inherited_settings(command)
            .stdout(log.try_clone().unwrap())
            .spawn()
            .expect("the daemon starts");
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Daemon { child, log, addr };
        daemon.addr = daemon.listen_addr("");
        daemon
    }

    /// The first logged listen address that starts with `ip`.
    pub fn listen_addr(&self, ip: &str) -> SocketAddr {
        let record = self.wait_for_record(&format!("listening on {ip}"));
        let addr = record.rsplit(' ').next().unwrap();
        addr.parse().expect("the record ends with an address")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The records so far.
    pub fn log(&self) -> Vec<String> {
        let len = usize::try_from(self.log.metadata().unwrap().len()).unwrap();
        let mut text = vec![0; len];
        self.log.read_exact_at(&mut text, 0).unwrap();
        let text = String::from_utf8_lossy(&text);
        let whole = text.split_inclusive('\n');
        let records = whole.filter_map(|line| line.strip_suffix('\n'));
        records.map(str::to_owned).collect()
    }

    /// Waits for a record that contains `part`; returns the first.
    pub fn wait_for_record(&self, part: &str) -> String {
        wait_for(&format!("a record with {part:?}"), || {
            self.log().into_iter().find(|line| line.contains(part))
        })
    }

    /// Waits for the closing record of the client with the address `local`.
    pub fn closing_record(&self, local: SocketAddr) -> String {
        self.wait_for_record(&format!("{local} closed by "))
    }

    /// Waits until `count` connections are logged as closed.
    pub fn wait_for_closed(&self, count: usize) {
        wait_until("the closing records", || self.closed_count() == count);
    }

    /// Connections that are logged as closed so far.
    pub fn closed_count(&self) -> usize {
        let is_closing = |line: &&String| line.contains(" closed by ");
        self.log().iter().filter(is_closing).count()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub fn connect_many(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Connects, and waits until the server has accepted.
    pub fn connect_accepted(&self) -> TcpStream {
        let client = self.connect();
        let local = client.local_addr().unwrap();
        self.wait_for_record(&format!("{local} connected"));
        client
    }

    /// Returns when the server's loop has run since the call: an echo on another
    /// connection comes back.
    pub fn wait_for_loop_run(&self) {
        echo(&self.connect(), b"the loop has run\n");
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
        if signal == Signal::STOP {
            // Until then the daemon may still run on another processor.
            wait_until("SIGSTOP to take effect", || process::is_stopped(self.pid()));
        }
    }

    /// Waits for the exit; returns all that the daemon wrote to stderr, which must be a
    /// pipe.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut text).unwrap();
        text
    }

    /// Holds the thread of the loop while `work` runs; the other threads go on.
    pub fn while_loop_is_held<T>(&self, work: impl FnOnce() -> T) -> T {
        process::while_held(self.pid(), work)
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("the daemon to exit", || self.child.try_wait().unwrap())
    }

    /// Sends SIGTERM, expects exit status 0, and returns the whole log.
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{:?}", self.log());
        self.wait_for_record("totals: ");
        self.log()
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> usize {
        let rss = process::status_field(self.pid(), "VmRSS");
        let kib = rss.strip_suffix(" kB").unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    pub fn fd_count(&self) -> usize {
        process::fd_count(self.pid())
    }

    /// Sockets of the server's port in state `CLOSE_WAIT`.
    pub fn close_wait_sockets(&self) -> usize {
        self.sockets_in_state(CLOSE_WAIT)
    }

    /// Sockets of the server's port in state `ESTABLISHED`, accepted or not.
    pub fn established_sockets(&self) -> usize {
        self.sockets_in_state(ESTABLISHED)
    }

    fn sockets_in_state(&self, state: u64) -> usize {
        let sockets = tcp_sockets().into_iter();
        let own = sockets.filter(|socket| socket.local_port == self.addr.port());
        own.filter(|socket| socket.state == state).count()
    }

    /// Waits until the daemon has `fds` descriptors, as before the connections, and
    /// asserts that no socket is in `CLOSE_WAIT`.
    pub fn assert_nothing_leaked(&self, fds: usize) {
        wait_until("the descriptors to be closed", || self.fd_count() == fds);
        assert_eq!(self.close_wait_sockets(), 0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log().join("\n"));
        }
    }
}

/// Runs `command`, which starts the daemon, on a port that only the daemon can have. For
/// tests in which the log cannot be read for the address.
pub fn spawn_on_reserved_port(command: &mut Command) -> (Child, SocketAddr) {
    let port = ReservedPort::new();
    let mut child = without_inherited_settings(command)
        .args(["--listen", &port.addr.to_string()])
        .spawn()
        .unwrap();
    port.wait_for_listener(&mut child);
    (child, port.addr)
}
