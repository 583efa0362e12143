//! Several connections, in turn or side by side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ping;
use super::program::Ping;
use crate::support::clients::reset;
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;

#[test]
fn connections_in_turn_have_one_line_each() {
    let daemon = Daemon::start();
    let finished = ping(daemon.addr, "--connections 3 -i 0.01").assert_exits(0);
    for number in 1..=3 {
        let part = format!(": connection={number} line=1 time=");
        assert!(finished.stdout.contains(&part), "{finished:?}");
    }
    finished
        .assert_prints("3 lines sent, 3 echoed, 0 wrong, 0 lost\n")
        .assert_prints(
            "3 connections: 3 closed cleanly by the server, 0 closed early, \
             0 not closed within 2 s, 0 failed\n",
        );
    assert_eq!(accepted_alone(&daemon), 3);
}

#[test]
fn connections_in_turn_have_as_many_lines_as_the_count_says() {
    let daemon = Daemon::start();
    ping(daemon.addr, "--connections 3 -c 2 -i 0.001")
        .assert_exits(0)
        .assert_prints("6 lines sent, 6 echoed, 0 wrong, 0 lost\n");
    assert_eq!(accepted_alone(&daemon), 3);
}

/// The server is stopped until all connections wait in its backlog.
#[test]
fn connections_without_an_interval_are_open_side_by_side() {
    let daemon = Daemon::start();
    daemon.signal(Signal::STOP);
    let running = Ping::spawn(daemon.addr, "--connections 20 -i 0 -c 5 -W 60");
    wait_until("20 connections", || daemon.established_sockets() == 20);
    daemon.signal(Signal::CONT);
    running
        .wait_for_exit()
        .assert_exits(0)
        .assert_prints("100 lines sent, 100 echoed, 0 wrong, 0 lost\n")
        .assert_prints("; 1.00 data packets per line received; ")
        .assert_prints("20 connections: 20 closed cleanly by the server, ");
    daemon.wait_for_record("(20 open)");
}

/// Connections that were the only open one when they were accepted.
fn accepted_alone(daemon: &Daemon) -> usize {
    daemon.wait_for_closed(3);
    let is_alone = |line: &&String| line.contains("connected (1 open)");
    daemon.log().iter().filter(is_alone).count()
}

/// The daemon closes each connection above the limit of one per address. Whether ping has
/// sent a line before the FIN comes depends on timing.
#[test]
fn connections_that_the_server_refuses_fail() {
    let daemon = Daemon::start_with(&["--max-per-ip", "1"]);
    let _first = daemon.connect_accepted();
    ping(daemon.addr, "--connections 3 -W 30")
        .assert_exits(1)
        .assert_prints(", 0 echoed, 0 wrong, ")
        .assert_prints("3 connections: 0 closed cleanly by the server, ");
}

#[test]
fn connections_in_turn_begin_an_interval_apart() {
    let daemon = Daemon::start();
    let start = Instant::now();
    ping(daemon.addr, "--connections 4 -i 0.1").assert_exits(0);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// A server that accepts one connection, echoes a line, and is away from then on.
#[test]
fn each_connection_that_fails_is_a_line_and_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut line = Vec::new();
        BufReader::new(&stream)
            .read_until(b'\n', &mut line)
            .unwrap();
        (&stream).write_all(&line).unwrap();
        stream.take(1).read_to_end(&mut line).unwrap();
    });
    let start = Instant::now();
    let finished = ping(addr, "--connections 5 -i 0.05").assert_exits(1);
    assert!(start.elapsed() >= Duration::from_millis(200));
    server.join().unwrap();
    for number in 2..=5 {
        let line = format!("failed to {addr}: connection={number} connect: Connection refused\n");
        assert!(finished.stdout.contains(&line), "{finished:?}");
    }
    finished
        .assert_prints("1 connection: 1 closed cleanly by the server, 0 closed early, ")
        .assert_prints(", 4 failed\nfailed: 4 x connect: Connection refused\n");
}

#[test]
fn a_reset_connection_is_a_line_and_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            reset(stream);
        }
    });
    let finished = ping(addr, "--connections 2 -i 0.01 -W 30").assert_exits(1);
    server.join().unwrap();
    finished
        .assert_prints(&format!("failed to {addr}: connection=2 reset\n"))
        .assert_prints("\nfailed: 2 x reset\n");
}
