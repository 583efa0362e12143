//! The idle timeout, what counts as activity, and the send timeout.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clients::{
    connect_from, connect_with_small_window, echo, read_exactly, read_to_end,
};
use crate::support::daemon::Daemon;
use crate::support::process::raise_fd_limit;
use crate::support::sockets::wait_until_arrived;

/// Expects the server's FIN, closes, and expects `reason` in the closing record.
fn assert_closed_by(daemon: &Daemon, client: TcpStream, reason: &str) {
    let local = client.local_addr().unwrap();
    assert_eq!(read_to_end(&client), b"", "a FIN");
    drop(client);
    let record = daemon.closing_record(local);
    assert!(record.contains(&format!(" closed by {reason}")), "{record}");
}

/// A client that has stopped sending and one that has sent nothing are closed. A third
/// sends a byte at a time, and is closed only when that stops.
#[test]
fn idle_clients_are_closed_and_a_dripping_one_is_not() {
    let daemon = Daemon::start_with(&["--idle-timeout", "2"]);
    let (idle, mut dripping) = (daemon.connect(), daemon.connect());
    echo(&idle, b"hello\n");
    let never_active = daemon.connect();
    for _ in 0..30 {
        dripping.write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert_closed_by(&daemon, idle, "idle timeout: ");
    assert_closed_by(&daemon, never_active, "idle timeout: ");

    dripping.write_all(b"\n").unwrap();
    let line = [b"x".repeat(30), b"\n".to_vec()].concat();
    assert_eq!(read_exactly(&dripping, 31), line);
    assert_closed_by(&daemon, dripping, "idle timeout: 1 line, 31/31 bytes");
    let log = daemon.stop();
    assert!(log.last().unwrap().contains("; closed 3 by idle timeout"));
}

/// Opens bursts of connections, which reuse slots while the idle timers of the slots'
/// earlier connections expire. No connection is idle, so none may be closed.
fn connect_in_bursts(bursts: usize) {
    const BURST: usize = 200;
    let daemon = Daemon::start_with(&["--idle-timeout", "1"]);
    for burst in 0..bursts {
        // A loopback address has 28,000 ports, each of them in TIME_WAIT for a minute.
        let ip = [127, 0, 0, 1 + u8::try_from(burst % 200).unwrap()];
        let clients: Vec<TcpStream> = (0..BURST).map(|_| connect_from(ip, daemon.addr)).collect();
        thread::sleep(Duration::from_millis(30));
        for mut client in &clients {
            client.write_all(b"first\n").unwrap();
        }
        for client in &clients {
            assert_eq!(read_exactly(client, 6), b"first\n");
        }
    }
    daemon.signal(Signal::USR1);
    let totals = daemon.wait_for_record("totals: ");
    assert!(!totals.contains("idle timeout"), "{totals}");
}

#[test]
fn connections_in_reused_slots_are_not_closed_early() {
    connect_in_bursts(30);
}

#[test]
#[ignore = "takes some seconds"]
fn none_of_100000_connections_in_reused_slots_is_closed_early() {
    connect_in_bursts(500);
}

/// More connections are readable than one poll reports. The timers of the others expire
/// before their events arrive.
#[test]
fn unread_input_counts_as_activity() {
    const CLIENTS: usize = 2500;
    raise_fd_limit(CLIENTS + 100);
    let daemon = Daemon::start_with(&["--idle-timeout", "2"]);
    let clients = daemon.connect_many(CLIENTS);
    daemon.wait_for_record("(2500 open)");
    daemon.signal(Signal::STOP);
    for mut client in &clients {
        client.write_all(b"in time\n").unwrap();
    }
    wait_until_arrived(&clients, 8);
    thread::sleep(Duration::from_millis(2500));
    daemon.signal(Signal::CONT);
    for client in &clients {
        assert_eq!(read_exactly(client, 8), b"in time\n");
        echo(client, b"still here\n");
    }
}

/// The server has handed the output to the kernel, which waits for a window update.
#[test]
fn pending_output_suspends_the_idle_timeout() {
    let daemon = Daemon::start_with(&["--idle-timeout", "1"]);
    let mut client = connect_with_small_window(daemon.addr);
    let lines = b"0123456789\n".repeat(20_000);
    client.write_all(&lines).unwrap();
    thread::sleep(Duration::from_millis(3500));
    assert_eq!(read_exactly(&client, lines.len()), lines);
    echo(&client, b"still here\n");
}

#[test]
fn a_client_that_stops_reading_is_closed_by_send_timeout() {
    let daemon = Daemon::start_with(&["--send-timeout", "1"]);
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    // Blocks when the server stops reading; fails when the server closes.
    while client.write_all(&b"0123456789\n".repeat(1000)).is_ok() {}
    let record = daemon.closing_record(local);
    assert!(record.contains(" closed by send timeout: "), "{record}");
    let other = daemon.connect();
    echo(&other, b"hello\n");
    drop((client, other));
    let totals = daemon.stop().pop().unwrap();
    assert!(totals.contains("1 by send timeout"), "{totals}");
}

/// The server has handed everything to the kernel, FIN included.
#[test]
fn a_half_closed_client_that_never_reads_is_closed_by_send_timeout() {
    let daemon = Daemon::start_with(&["--send-timeout", "1"]);
    let mut client = connect_with_small_window(daemon.addr);
    let local = client.local_addr().unwrap();
    client.write_all(&b"0123456789\n".repeat(20_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let record = daemon.closing_record(local);
    assert!(
        record.contains(" closed by send timeout: 20000 lines"),
        "{record}"
    );
}
