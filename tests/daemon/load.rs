//! Many clients, floods and clients that do not read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Daemon, echo};

const MIB: usize = 1 << 20;

#[test]
fn five_hundred_clients_at_once_are_all_served() {
    let daemon = Daemon::start();
    let clients: Vec<TcpStream> = (0..500).map(|_| daemon.connect()).collect();
    daemon.wait_for_record("(500 open)");
    for round in 0..3 {
        for (i, mut client) in clients.iter().enumerate() {
            writeln!(client, "client {i} round {round}").unwrap();
        }
        for (i, mut client) in clients.iter().enumerate() {
            let expected = format!("client {i} round {round}\n");
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, expected.as_bytes());
        }
    }
}

#[test]
fn a_flooding_client_does_not_starve_a_quiet_one() {
    let daemon = Daemon::start();
    let done = AtomicBool::new(false);
    let flooded = AtomicUsize::new(0);
    let (flood, quiet) = (daemon.connect(), daemon.connect());
    thread::scope(|scope| {
        scope.spawn(|| {
            let chunk = b"flood\n".repeat(20_000);
            while !done.load(Ordering::Relaxed) {
                (&flood).write_all(&chunk).unwrap();
            }
            flood.shutdown(std::net::Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut buffer = vec![0; MIB];
            loop {
                match (&flood).read(&mut buffer).unwrap() {
                    0 => break,
                    n => flooded.fetch_add(n, Ordering::Relaxed),
                };
            }
        });
        for _ in 0..200 {
            echo(&quiet, b"quiet\n");
        }
        // The flood went on meanwhile, or this has shown nothing.
        let start = Instant::now();
        while flooded.load(Ordering::Relaxed) < MIB && start.elapsed() < DEADLINE {
            echo(&quiet, b"quiet\n");
        }
        assert!(flooded.load(Ordering::Relaxed) >= MIB);
        done.store(true, Ordering::Relaxed);
    });
}

/// Backpressure: what the client does not read stays in the kernel's buffers
/// and, once these are full, with the client.
#[test]
fn a_client_that_never_reads_while_it_sends_a_gibibyte_costs_no_memory() {
    const LEN: usize = 1 << 30;
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"warm\n");
    let before = daemon.rss();

    let block: Arc<Vec<u8>> = Arc::new(
        (0..MIB / 16)
            .flat_map(|i| format!("{i:015}\n").into_bytes())
            .collect(),
    );
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = {
        let (mut client, block, sent) = (client.try_clone().unwrap(), block.clone(), sent.clone());
        thread::spawn(move || {
            for piece in block.chunks(MIB / 16).cycle().take(LEN / (MIB / 16)) {
                client.write_all(piece).unwrap();
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
            client.shutdown(std::net::Shutdown::Write).unwrap();
        })
    };
    let stuck_at = wait_for_standstill(&sent);
    assert!(0 < stuck_at && stuck_at < LEN, "the sender was not held up");
    let grown = daemon.rss().saturating_sub(before);
    assert!(
        grown < MIB,
        "RSS grew by {grown} bytes with {stuck_at} sent"
    );

    let (mut got, mut buffer) = (0, vec![0; MIB]);
    loop {
        let n = (&client).read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        assert!(is_at(&buffer[..n], &block, got), "wrong bytes after {got}");
        got += n;
    }
    assert_eq!(got, LEN);
    sender.join().unwrap();
    let grown = daemon.rss().saturating_sub(before);
    assert!(grown < MIB, "RSS grew by {grown} bytes in the end");
}

/// Waits until a counter has not moved for half a second; returns it.
fn wait_for_standstill(counter: &AtomicUsize) -> usize {
    let mut last = (Instant::now(), counter.load(Ordering::Relaxed));
    while last.0.elapsed() < Duration::from_millis(500) {
        thread::sleep(Duration::from_millis(20));
        let now = counter.load(Ordering::Relaxed);
        if now != last.1 {
            last = (Instant::now(), now);
        }
    }
    last.1
}

/// Whether `bytes` are what the endless repetition of `block` has at `offset`.
fn is_at(bytes: &[u8], block: &[u8], offset: usize) -> bool {
    let start = offset % block.len();
    let first = bytes.len().min(block.len() - start);
    bytes[..first] == block[start..start + first] && bytes[first..] == block[..bytes.len() - first]
}
