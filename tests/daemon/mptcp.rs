//! MPTCP listeners (RFC 8684): those of `mptcpize run`, and inherited ones.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use echoline::SegmentCounts;
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::clients::{echo, read_exactly, read_to_end, send_and_read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::DEADLINE;
use crate::systemd::activation::start_with_socket;

fn socket() -> Socket {
    let protocol = Some(Protocol::MPTCP);
    Socket::new(Domain::IPV4, Type::STREAM, protocol).expect("the kernel has MPTCP")
}

/// Starts the daemon with an inherited MPTCP listener.
fn start(args: &[&str]) -> Daemon {
    let listener = socket();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any_port.into()).unwrap();
    listener.listen(128).unwrap();
    start_with_socket(TcpListener::from(listener), args)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = socket();
    client.connect(&addr.into()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client.into()
}

/// A session of one client; returns its closing record.
fn session(daemon: &Daemon, client: &TcpStream) -> String {
    echo(client, b"hello\n");
    assert_eq!(send_and_read_to_end(client, b"last"), b"last\n");
    daemon.closing_record(client.local_addr().unwrap())
}

/// The counts of MPTCP's socket would be those of its first subflow.
#[test]
#[ignore = "needs a kernel with MPTCP"]
fn an_inherited_mptcp_socket_serves_mptcp_and_tcp_and_counts_packets_of_tcp() {
    let daemon = start(&["--idle-timeout", "60"]);
    let record = session(&daemon, &connect(daemon.addr));
    assert!(
        record.contains(" closed by peer: 2 lines, 10/11 bytes, "),
        "{record}"
    );
    assert!(!record.contains("packets"), "{record}");
    let record = session(&daemon, &daemon.connect());
    assert!(record.contains(" packets (2/2 data)"), "{record}");
}

#[test]
#[ignore = "needs a kernel with MPTCP"]
fn options_that_mptcp_refuses_are_warnings_of_the_listener_alone() {
    let daemon = start(&[]);
    session(&daemon, &connect(daemon.addr));
    session(&daemon, &daemon.connect());
    let log = daemon.stop();
    let warnings: Vec<_> = log.iter().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(": cannot set SO_OOBINLINE: "));
    assert!(warnings[1].contains(": cannot set TCP_USER_TIMEOUT, so "));
}

#[test]
#[ignore = "needs a kernel with MPTCP"]
fn packet_per_line_is_a_warning_with_mptcp() {
    let daemon = start(&["--packet-per-line"]);
    let client = connect(daemon.addr);
    let lines = b"one\ntwo\nthree\n";
    (&client).write_all(lines).unwrap();
    assert_eq!(read_exactly(&client, lines.len()), lines);
    daemon.wait_for_record(": lines may share packets, as MPTCP ignores MSG_EOR");
}

/// Writes until the daemon has closed the connection.
fn write_without_reading(mut client: &TcpStream) {
    while client.write_all(&b"0123456789\n".repeat(1000)).is_ok() {}
}

#[test]
#[ignore = "needs a kernel with MPTCP"]
fn an_mptcp_client_that_stops_reading_is_closed_by_send_timeout() {
    let daemon = start(&["--send-timeout", "1"]);
    let client = connect(daemon.addr);
    let local = client.local_addr().unwrap();
    write_without_reading(&client);
    let record = daemon.closing_record(local);
    assert!(record.contains(" closed by send timeout: "), "{record}");
    echo(&connect(daemon.addr), b"hello\n");
}

/// The output is pending for three times the send timeout, and moves on all the time.
#[test]
#[ignore = "needs a kernel with MPTCP"]
fn an_mptcp_client_that_reads_slowly_is_not_closed() {
    let daemon = start(&["--send-timeout", "1"]);
    let client = connect(daemon.addr);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (&client)
                .write_all(&b"0123456789\n".repeat(2_000_000))
                .unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let (start, mut received) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(3) {
            received += read_exactly(&client, 330_000).len();
            thread::sleep(Duration::from_millis(50));
        }
        received += read_to_end(&client).len();
        assert_eq!(received, 22_000_000);
        writer.join().unwrap();
    });
}

#[test]
#[ignore = "needs a kernel with MPTCP"]
fn the_library_has_no_counts_of_an_mptcp_socket() {
    let daemon = start(&[]);
    let client = connect(daemon.addr);
    echo(&client, b"hello\n");
    assert_eq!(SegmentCounts::of(&client), None);
}

/// `mptcpize` has every TCP socket of a program created as one of MPTCP.
#[test]
#[ignore = "needs mptcpize and a kernel with MPTCP"]
fn the_daemon_and_ping_run_under_mptcpize() {
    let run = |args: &[&str]| {
        let mut command = Command::new("mptcpize");
        command.args(["run", BINARY]).args(args);
        command
    };
    let args = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let daemon = Daemon::spawn(&mut run(&args));
    daemon.wait_for_record(": cannot set SO_OOBINLINE: ");
    let record = session(&daemon, &connect(daemon.addr));
    assert!(!record.contains("packets"), "{record}");
    let addr = daemon.addr.to_string();
    let output = run(&["ping", "-c", "2", "-i", "0", &addr])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains("2 lines sent, 2 echoed"), "{stdout}");
    assert!(!stdout.contains("packets="), "{stdout}");
    daemon.stop();
}
