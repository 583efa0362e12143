//! Many clients at once, and one that floods.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::support::clients::{echo, read_exactly};
use crate::support::daemon::Daemon;
use crate::support::deadline::DEADLINE;

const MIB: usize = 1 << 20;

#[test]
fn five_hundred_clients_at_once_are_all_served() {
    let daemon = Daemon::start();
    let clients = daemon.connect_many(500);
    daemon.wait_for_record("(500 open)");
    for round in 0..3 {
        for (i, mut client) in clients.iter().enumerate() {
            writeln!(client, "client {i} round {round}").unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            let expected = format!("client {i} round {round}\n");
            let echoed = read_exactly(client, expected.len());
            assert_eq!(echoed, expected.as_bytes());
        }
    }
}

#[test]
fn a_flooding_client_does_not_starve_a_quiet_one() {
    let daemon = Daemon::start();
    let (flooding, quiet) = (daemon.connect(), daemon.connect());
    let (done, echoed) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| flood(&flooding, &done));
        scope.spawn(|| count_echoed(&flooding, &echoed));
        for _ in 0..200 {
            echo(&quiet, b"quiet\n");
        }
        // Without a flood in the meantime the test shows nothing.
        let start = Instant::now();
        while echoed.load(Ordering::Relaxed) < MIB && start.elapsed() < DEADLINE {
            echo(&quiet, b"quiet\n");
        }
        assert!(echoed.load(Ordering::Relaxed) >= MIB);
        done.store(true, Ordering::Relaxed);
    });
}

/// Sends lines as fast as possible until `done`, then half-closes.
fn flood(mut client: &TcpStream, done: &AtomicBool) {
    let lines = b"flood\n".repeat(20_000);
    while !done.load(Ordering::Relaxed) {
        client.write_all(&lines).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
}

/// Reads to the end and counts the bytes.
fn count_echoed(mut client: &TcpStream, echoed: &AtomicUsize) {
    let mut buffer = vec![0; MIB];
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => break,
            n => echoed.fetch_add(n, Ordering::Relaxed),
        };
    }
}
