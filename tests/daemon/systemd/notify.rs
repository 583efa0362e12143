//! What the daemon tells the service manager, which is the test itself.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::clients::{echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::{DEADLINE, wait_until};

/// A notification socket in the abstract namespace.
struct NotifySocket {
    socket: UnixDatagram,
    name: String,
}

impl NotifySocket {
    fn new() -> NotifySocket {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("echoline-notify.{pid}.{count}");
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&addr).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        NotifySocket { socket, name }
    }

    fn command(&self) -> Command {
        command(&format!("@{}", self.name))
    }

    fn start(&self) -> Daemon {
        Daemon::spawn(&mut self.command())
    }

    fn receive(&self) -> String {
        let mut message = [0; 1024];
        let len = self.socket.recv(&mut message).expect("a message");
        String::from_utf8(message[..len].to_vec()).unwrap()
    }

    /// Receives up to the first message with `part`; returns it.
    fn receive_until(&self, part: &str) -> String {
        let start = Instant::now();
        loop {
            let message = self.receive();
            if message.contains(part) {
                return message;
            }
            assert!(start.elapsed() < DEADLINE, "no message with {part}");
        }
    }

    /// Takes all messages that have arrived; returns their number.
    fn drain(&self) -> u64 {
        self.socket.set_nonblocking(true).unwrap();
        let mut count = 0;
        while self.socket.recv(&mut [0; 1024]).is_ok() {
            count += 1;
        }
        self.socket.set_nonblocking(false).unwrap();
        count
    }

    /// Fills the queue of the socket.
    fn fill(&self) {
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let addr = self.socket.local_addr().unwrap();
        while filler.send_to_addr(b"FILLER=1\n", &addr).is_ok() {}
    }
}

fn command(notify_socket: &str) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", notify_socket);
    command
}

#[test]
fn a_session_is_told_as_documented() {
    let notify = NotifySocket::new();
    let daemon = notify.start();
    let ready = "READY=1\nSTATUS=open connections: 0, lines echoed: 0\n";
    assert_eq!(notify.receive(), ready);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    let status = "STATUS=open connections: 1, lines echoed: 1\n";
    assert_eq!(notify.receive_until("echoed: 1"), status);
    echo(&client, b"hello\n");
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    let stopping = "STOPPING=1\nSTATUS=open connections: 1, lines echoed: 3\n";
    assert_eq!(notify.receive_until("STOPPING"), stopping);
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn sighup_is_logged_and_ignored_also_while_draining() {
    let notify = NotifySocket::new();
    // SIGHUP is ignored where the tests run under nohup.
    let mut command = Command::new("env");
    command
        .args(["--default-signal", BINARY, "--listen", "127.0.0.1:0"])
        .args(["--drain-timeout", "1000"])
        .env("NOTIFY_SOCKET", format!("@{}", notify.name));
    let mut daemon = Daemon::spawn(&mut command);
    let client = daemon.connect();
    for count in 1..=2 {
        daemon.signal(Signal::HUP);
        wait_until("the record", || ignored_hangups(&daemon) == count);
        echo(&client, b"still here\n");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    daemon.signal(Signal::HUP);
    wait_until("the record", || ignored_hangups(&daemon) == 3);
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

fn ignored_hangups(daemon: &Daemon) -> usize {
    let is_record = |line: &&String| line.ends_with(" INFO  [echoline] SIGHUP: ignored");
    daemon.log().iter().filter(is_record).count()
}

#[test]
fn the_status_is_sent_at_most_once_per_second() {
    let notify = NotifySocket::new();
    let daemon = notify.start();
    let start = Instant::now();
    let client = daemon.connect();
    while start.elapsed() < Duration::from_millis(2500) {
        echo(&client, b"hello\n");
    }
    drop(client);
    daemon.stop();
    let seconds = start.elapsed().as_secs();
    let messages = notify.drain();
    // The two of the start and of the stop come in addition.
    assert!((3..=seconds + 2).contains(&messages), "{messages}");
}

#[test]
fn the_loop_feeds_the_watchdog_and_a_stopped_loop_does_not() {
    let notify = NotifySocket::new();
    let daemon = Daemon::spawn(notify.command().env("WATCHDOG_USEC", "100000"));
    assert_eq!(notify.receive().lines().next(), Some("READY=1"));
    for _ in 0..5 {
        assert_eq!(notify.receive(), "WATCHDOG=1\n");
    }
    daemon.signal(Signal::STOP);
    notify.drain();
    let timeout = Duration::from_millis(300);
    notify.socket.set_read_timeout(Some(timeout)).unwrap();
    let nothing = notify.socket.recv(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    notify.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    daemon.signal(Signal::CONT);
    assert_eq!(notify.receive(), "WATCHDOG=1\n");
    echo(&daemon.connect(), b"hello\n");
}

#[test]
fn a_watchdog_of_any_length_lets_the_daemon_start() {
    let notify = NotifySocket::new();
    for usec in ["1", "18446744073709551614"] {
        let daemon = Daemon::spawn(notify.command().env("WATCHDOG_USEC", usec));
        echo(&daemon.connect(), b"hello\n");
    }
}

#[test]
fn the_watchdog_of_another_process_is_not_fed() {
    let notify = NotifySocket::new();
    let mut command = notify.command();
    command
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    let daemon = Daemon::spawn(&mut command);
    echo(&daemon.connect(), b"hello\n");
    assert!(notify.receive().starts_with("READY=1\n"));
    // This comes after a second, in which a watchdog would have been fed 2,000 times.
    assert!(notify.receive().starts_with("STATUS="));
}

#[test]
fn a_full_notification_socket_holds_nothing_up_and_ready_is_sent_later() {
    let notify = NotifySocket::new();
    notify.fill();
    let daemon = notify.start();
    daemon.wait_for_record("WARN  [echoline] cannot notify the service manager: ");
    notify.drain();
    echo(&daemon.connect(), b"hello\n");
    let message = notify.receive();
    assert!(message.starts_with("READY=1\nSTATUS="), "{message}");
}

#[test]
fn a_missing_notification_socket_is_one_warning() {
    for name in ["/no/such/socket", "@echoline-no-such-socket", "vsock:2:1"] {
        let daemon = Daemon::spawn(command(name).env("WATCHDOG_USEC", "1000"));
        echo(&daemon.connect(), b"hello\n");
        let log = daemon.stop();
        let warning = "cannot notify the service manager: ";
        let warnings = log.iter().filter(|line| line.contains(warning));
        assert_eq!(warnings.count(), 1, "{name}: {log:?}");
    }
}

#[test]
fn a_failed_start_is_never_ready() {
    let notify = NotifySocket::new();
    let mut command = notify.command();
    let output = command.args(["-l", "192.0.2.1:3000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(notify.drain(), 0);
}

/// The client never closes, so a timer closes the connection, and no event.
#[test]
fn the_status_counts_connections_that_a_timer_has_closed() {
    let notify = NotifySocket::new();
    let mut command = notify.command();
    command.args(["--idle-timeout", "1"]);
    let daemon = Daemon::spawn(&mut command);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    notify.receive_until("open connections: 1, ");
    notify.receive_until("open connections: 0, ");
    drop(client);
}
