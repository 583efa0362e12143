//! Socket activation: the sockets that `LISTEN_FDS` and `LISTEN_PID` name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::metrics::{metrics_addr, scrape};
use crate::support::clients::{connect, echo, read_exactly, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::sockets::wait_until_arrived;
use crate::support::strace::count_calls;

/// Runs the daemon with `socket` as descriptor 3. The shell's process ID becomes the
/// daemon's.
fn with_socket(socket: impl Into<OwnedFd>, listen_fds: &str) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, BINARY])
        .env("LISTEN_FDS", listen_fds)
        .stdin(Stdio::from(socket.into()));
    command
}

pub fn start_with_socket(socket: impl Into<OwnedFd>, args: &[&str]) -> Daemon {
    Daemon::spawn_keeping_stdin(with_socket(socket, "1").args(args))
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn all_inherited_sockets_are_served_and_no_other() {
    let [v4, v6] = ["127.0.0.1:0", "[::1]:0"].map(|addr| TcpListener::bind(addr).unwrap());
    let addrs = [&v4, &v6].map(|socket| socket.local_addr().unwrap());
    let script = "exec 3<&0 4<&2 0</dev/null 2>&1; LISTEN_PID=$$ exec \"$0\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, BINARY])
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "echoline.socket:a:surplus")
        .stdin(Stdio::from(OwnedFd::from(v4)))
        .stderr(Stdio::from(OwnedFd::from(v6)));
    let daemon = Daemon::spawn_keeping_stdin(&mut command);
    for addr in addrs {
        daemon.wait_for_record(&format!("listening on {addr}"));
        echo(&connect(addr), b"hello\n");
    }
    let listening = |line: &&String| line.contains("listening on");
    assert_eq!(daemon.log().iter().filter(listening).count(), 2);
    for fd in [3, 4] {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", daemon.pid())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0, "{info}");
        assert_ne!(flags & libc::O_NONBLOCK, 0, "{info}");
    }
}

/// A client connects before the daemon runs, as the one does that starts the service.
#[test]
fn connections_that_wait_for_the_start_are_served() {
    let socket = listener();
    let client = connect(socket.local_addr().unwrap());
    (&client).write_all(b"early\n").unwrap();
    let _daemon = start_with_socket(socket, &[]);
    assert_eq!(read_exactly(&client, 6), b"early\n");
}

#[test]
fn metrics_are_served_beside_inherited_sockets() {
    let daemon = start_with_socket(listener(), &["--metrics", "127.0.0.1:0"]);
    echo(&daemon.connect(), b"hello\n");
    let text = scrape(metrics_addr(&daemon, "127.0.0.1"));
    assert!(text.contains("\necholine_lines_total 1\n"), "{text}");
}

#[test]
fn a_shutdown_leaves_the_backlog_to_the_next_process() {
    let socket = listener();
    let first = connect(socket.local_addr().unwrap());
    let mut daemon = start_with_socket(socket.try_clone().unwrap(), &[]);
    echo(&first, b"hello\n");
    daemon.signal(Signal::STOP);
    let second = connect(socket.local_addr().unwrap());
    (&second).write_all(b"waiting\n").unwrap();
    wait_until_arrived([&second], 8);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    assert_eq!(read_to_end(&first), b"");
    drop(first);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("totals: 1 connection, 0 open, 1 line");
    let _next = start_with_socket(socket, &[]);
    assert_eq!(read_exactly(&second, 8), b"waiting\n");
}

/// epoll reports a socket until all its copies are closed, and the next process has one.
#[test]
#[ignore = "needs strace"]
fn connections_of_the_next_process_do_not_wake_a_draining_one() {
    let socket = listener();
    let addr = socket.local_addr().unwrap();
    let args = ["--drain-timeout", "1000"];
    let daemon = start_with_socket(socket.try_clone().unwrap(), &args);
    let client = connect(addr);
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    let _next = start_with_socket(socket, &[]);
    let calls = count_calls(&daemon, || {
        (0..100).for_each(|_| echo(&connect(addr), b"hello\n"));
        thread::sleep(Duration::from_millis(100));
    });
    // strace interrupts one call.
    assert!(calls.total() <= 2, "{calls:?}");
}

#[test]
fn variables_for_another_process_are_ignored() {
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1");
    let daemon = Daemon::spawn(&mut command);
    echo(&daemon.connect(), b"hello\n");
}

/// Asserts the exit status, and that stderr is one line with `message`.
fn assert_fails(output: io::Result<Output>, status: i32, message: &str) {
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("echoline: {message}\n"));
    assert_eq!(output.status.code(), Some(status));
}

/// Sockets that are not TCP listeners, and why they are refused.
fn wrong_sockets() -> [(OwnedFd, &'static str); 6] {
    let (not_tcp, not_listening) = ("not a TCP socket", "the socket does not listen");
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let waiting = listener();
    let connected = TcpStream::connect(waiting.local_addr().unwrap()).unwrap();
    let dir = env!("CARGO_TARGET_TMPDIR");
    let path = format!("{dir}/activation.{}", std::process::id());
    let unix = UnixListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let no_socket = "Socket operation on non-socket (os error 88)";
    [
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), not_tcp),
        (unix.into(), not_tcp),
        (UnixDatagram::unbound().unwrap().into(), not_tcp),
        (bound.into(), not_listening),
        (connected.into(), not_listening),
        (File::open("/dev/null").unwrap().into(), no_socket),
    ]
}

#[test]
fn other_kinds_of_sockets_are_refused() {
    for (socket, why) in wrong_sockets() {
        let message = format!("cannot listen on file descriptor 3: {why}");
        assert_fails(with_socket(socket, "1").output(), 1, &message);
    }
}

#[test]
fn more_sockets_than_are_open_and_malformed_numbers_are_refused() {
    for (count, why) in [
        ("2", "Bad file descriptor (os error 9)"),
        ("4294967295", "fd count overflowed"),
        ("-1", "invalid LISTEN_FDS"),
        ("one", "invalid LISTEN_FDS"),
    ] {
        let message = format!("cannot use the sockets that LISTEN_FDS names: {why}");
        assert_fails(with_socket(listener(), count).output(), 1, &message);
    }
}

#[test]
fn binding_beside_inherited_sockets_is_a_usage_error() {
    for args in [&["--listen", "localhost:3000"][..], &["--reuse-port"]] {
        let output = with_socket(listener(), "1").args(args).output();
        let option = args[0];
        let message = format!(
            "{option} cannot be used with the sockets that systemd has opened (LISTEN_FDS) (see echoline --help)"
        );
        assert_fails(output, 2, &message);
    }
}

/// The file of settings has them for the service without its socket unit.
#[test]
fn variables_about_binding_are_warnings_beside_inherited_sockets() {
    let mut command = with_socket(listener(), "1");
    let variables = [("ECHOLINE_LISTEN", ":3000"), ("ECHOLINE_REUSE_PORT", "1")];
    let daemon = Daemon::spawn_keeping_stdin(command.envs(variables));
    for (variable, _) in variables {
        daemon.wait_for_record(&format!("WARN  [echoline] {variable} has no effect: "));
    }
    echo(&daemon.connect(), b"hello\n");
    let listening = |line: &&String| line.contains("listening on");
    assert_eq!(daemon.log().iter().filter(listening).count(), 1);
}

#[test]
fn an_ipv4_client_of_a_socket_of_both_families_has_an_ipv4_address() {
    let socket = TcpListener::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let daemon = start_with_socket(socket, &["--max-per-ip", "1"]);
    let client = connect(([127, 0, 0, 1], port).into());
    echo(&client, b"hello\n");
    let addr = client.local_addr().unwrap();
    daemon.wait_for_record(&format!("[echoline] {addr} connected"));
}
