//! The real binary as a child process, with its log.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use super::clients::{connect, echo};
use super::deadline::{wait_for, wait_until};
use super::process::{self, raise_fd_limit, send_signal, without_inherited_settings};

pub const BINARY: &str = env!("CARGO_BIN_EXE_echoline");

/// A running daemon. It is killed on drop.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
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
        let mut child = without_inherited_settings(command)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let log = collect_lines(child.stdout.take().unwrap());
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

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
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
        self.sockets_in_state("08")
    }

    /// Sockets of the server's port in state `ESTABLISHED`, accepted or not.
    pub fn established_sockets(&self) -> usize {
        self.sockets_in_state("01")
    }

    /// Sockets of the server's port by their state in `/proc/net/tcp`
    /// (`include/net/tcp_states.h`).
    fn sockets_in_state(&self, state: &str) -> usize {
        let port = format!(":{:04X}", self.addr.port());
        let is_wanted = |fields: &&Vec<String>| fields[1].ends_with(&port) && fields[3] == state;
        sockets().iter().filter(is_wanted).count()
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

/// Bytes that the server has not read from the client with the address `client`.
pub fn receive_queue(client: SocketAddr) -> usize {
    let port = format!(":{:04X}", client.port());
    let sockets = sockets();
    let socket = sockets.iter().find(|fields| fields[2].ends_with(&port));
    let queues = &socket.expect("a connection")[4];
    usize::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

/// The fields of the lines in `/proc/net/tcp`.
fn sockets() -> Vec<Vec<String>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .map(|line| line.split_whitespace().map(String::from).collect())
        .collect()
}

/// The lines of `stdout`, collected by a thread.
fn collect_lines(stdout: ChildStdout) -> Arc<Mutex<Vec<String>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&collected);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
    collected
}

/// Runs `command`, which starts the daemon, on a port that was free. For tests in which
/// the log cannot be read for the address.
pub fn spawn_on_free_port(command: &mut Command) -> (Child, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let child = without_inherited_settings(command)
        .args(["--listen", &addr.to_string()])
        .spawn()
        .unwrap();
    wait_until("the daemon to listen", || TcpStream::connect(addr).is_ok());
    (child, addr)
}
