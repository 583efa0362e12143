//! Many clients at once, and one that floods.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use echoline::client::{Client, Close, Event, Options};

use crate::support::clients::echo;
use crate::support::daemon::Daemon;
use crate::support::deadline::DEADLINE;

const MIB: usize = 1 << 20;

/// Each client sends three lines, the next when the echo of the last has come. No client
/// sends its second line until the server has accepted all.
#[test]
fn five_hundred_clients_at_once_are_all_served() {
    let daemon = Daemon::start();
    let mut options = Options::default();
    options.connections = 500;
    options.side_by_side = true;
    options.count = Some(3);
    options.interval = Duration::ZERO;
    options.timeout = DEADLINE;
    let client = Client::new(&[daemon.addr], options).unwrap();
    let mut echoes = vec![0; 500];
    let statistics = client.run(|event| match event {
        Event::Echo { connection, .. } => {
            daemon.wait_for_record("(500 open)");
            echoes[usize::try_from(connection).unwrap() - 1] += 1;
        }
        Event::Connected { .. } | Event::Segments { .. } => {}
        Event::Closed { ending, .. } => {
            assert!(matches!(ending.close, Close::Clean(_)), "{ending:?}");
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(echoes, [3; 500]);
    let statistics = statistics.unwrap();
    assert_eq!((statistics.sent, statistics.echoed), (1500, 1500));
    assert!(statistics.is_perfect(), "{statistics:?}");
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
