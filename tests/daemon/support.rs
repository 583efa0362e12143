//! Starts the real binary on loopback and watches it from outside.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};

/// How long anything may take before a test gives up on it.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const BINARY: &str = env!("CARGO_BIN_EXE_echoline");

/// Looks every few milliseconds until there is something to see.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_within(DEADLINE, what, look)
}

fn wait_for_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < limit, "waited too long for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

pub fn wait_until_within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for_within(limit, what, || is_so().then_some(()));
}

/// A running daemon; it is killed when the test lets go of it.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub addr: SocketAddr,
}

impl Daemon {
    /// Starts it on a port of the kernel's choice on 127.0.0.1.
    pub fn start() -> Daemon {
        Daemon::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Daemon {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(args);
        Daemon::spawn(Command::new(BINARY).args(all))
    }

    /// Starts `command`, which runs the daemon, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Daemon {
        // For all the tests that run at the same time.
        raise_descriptor_limit(4096);
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stdout) = (Arc::clone(&log), child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Daemon { child, log, addr };
        daemon.addr = daemon
            .wait_for_record("listening on ")
            .rsplit(' ')
            .next()
            .and_then(|addr| addr.parse().ok())
            .expect("the log names the address");
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first record that contains `part`, once it is there.
    pub fn wait_for_record(&self, part: &str) -> String {
        wait_for(&format!("a record with {part:?}"), || {
            self.log().into_iter().find(|line| line.contains(part))
        })
    }

    /// The closing record of the connection whose client has `local`.
    pub fn closing_record(&self, local: SocketAddr) -> String {
        self.wait_for_record(&format!("{local} closed by "))
    }

    /// Waits until so many connections are recorded as closed.
    pub fn wait_for_closes(&self, count: usize) {
        wait_until("the closing records", || self.closes() == count);
    }

    /// How many connections are recorded as closed so far.
    pub fn closes(&self) -> usize {
        let is_closing = |line: &&String| line.contains(" closed by ");
        self.log().iter().filter(is_closing).count()
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(self.pid(), signal);
        if signal == Signal::STOP {
            // It may still be at work on another processor (proc_pid_stat(5)).
            wait_until("the daemon to stand still", || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
                stat.contains(") T ")
            });
        }
    }

    /// All that it wrote to stderr, if that is a pipe; after its end.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut text).unwrap();
        text
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("the daemon to end", || self.child.try_wait().unwrap())
    }

    /// Stops it as a supervisor would, and returns its whole log.
    pub fn stop(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{:?}", self.log());
        self.wait_for_record("totals: ");
        self.log()
    }

    /// Resident memory in bytes (`proc_pid_status(5)`).
    pub fn rss(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Sockets of the server's port in state `CLOSE_WAIT` (08 in
    /// /proc/net/tcp, `include/net/tcp_states.h`).
    pub fn close_waits(&self) -> usize {
        let port = format!(":{:04X}", self.addr.port());
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .map(|table| {
                let of_server = |line: &&str| {
                    let fields: Vec<_> = line.split_whitespace().collect();
                    fields[1].ends_with(&port) && fields[3] == "08"
                };
                table.lines().skip(1).filter(of_server).count()
            })
            .sum()
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

/// Signals a process that the test has started.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).expect("the process is there to take a signal");
}

/// Runs `command`, which runs the daemon, where its log cannot be asked for the
/// address; returns the address that it was told instead.
pub fn spawn_unheard(command: &mut Command) -> (Child, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let child = command
        .args(["--listen", &addr.to_string()])
        .spawn()
        .unwrap();
    wait_until("the daemon to listen", || TcpStream::connect(addr).is_ok());
    (child, addr)
}

/// A client whose every call fails rather than hang.
pub fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).expect("the server accepts");
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// A client that offers a window of a few KiB at most, from the handshake on.
pub fn connect_with_small_window(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

pub fn read_exactly(mut client: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).expect("the echo comes");
    bytes
}

/// All that comes until the server finishes; fails on a reset.
pub fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the end is clean");
    bytes
}

/// Sends `line` and expects it back.
pub fn echo(mut client: &TcpStream, line: &[u8]) {
    client.write_all(line).unwrap();
    assert_eq!(read_exactly(client, line.len()), line);
}

/// Sends `bytes` from a thread of its own, then half-closes: the reader must
/// not wait for the writer.
pub fn send_and_finish(client: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut client = client.try_clone().unwrap();
    thread::spawn(move || {
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    })
}

/// Sends `bytes`, half-closes, and returns all that came back.
pub fn converse(client: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let sender = send_and_finish(client, bytes.to_vec());
    let echoed = read_to_end(client);
    sender.join().unwrap();
    echoed
}

/// Whether nothing has come that was not read.
pub fn is_silent(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    peeked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

/// Ends the connection with an RST (`SO_LINGER` with zero time, socket(7)).
pub fn reset(client: TcpStream) {
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
}

/// Lets this process have all the descriptors it may, at least so many.
pub fn raise_descriptor_limit(least: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let enough = maximum.is_none_or(|maximum| maximum >= least as u64);
    assert!(enough, "the hard limit on descriptors is under {least}");
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit allows it");
}

/// Has strace attach to `pid` with `args`, writing to a file, while `work` is
/// done; returns what it wrote.
pub fn strace(pid: u32, args: &[&str], work: impl FnOnce()) -> String {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let file = format!("{dir}/strace.{}.{pid}", std::process::id());
    let mut strace = Command::new("strace")
        .args(args)
        .args(["-o", &file, "-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed");
    wait_until("strace to attach", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        !status.contains("TracerPid:\t0\n")
    });
    work();
    send_signal(strace.id(), Signal::INT);
    strace.wait().unwrap();
    let written = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    written
}
