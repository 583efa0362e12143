//! Many clients, floods and clients that do not read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{BINARY, DEADLINE, Daemon, connect, echo, read_exactly, wait_until};

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

/// The daemon with so few descriptors that it runs out of them.
fn short_of_descriptors(listen: &[&str]) -> Daemon {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 32; exec \"$0\" \"$@\"", BINARY]);
    for addr in listen {
        command.args(["--listen", addr]);
    }
    Daemon::spawn(&mut command)
}

#[test]
fn out_of_descriptors_it_warns_once_and_serves_everybody_in_the_end() {
    let daemon = short_of_descriptors(&["127.0.0.1:0"]);
    let mut waiting: Vec<TcpStream> = (0..80).map(|_| daemon.connect()).collect();
    for client in &mut waiting {
        client.write_all(b"hello\n").unwrap();
    }
    daemon.wait_for_record("accepting pauses: Too many open files");
    for client in waiting {
        assert_eq!(read_exactly(&client, 6), b"hello\n");
    }
    daemon.wait_for_record("accepting goes on");
    let log = daemon.stop();
    let warnings = log.iter().filter(|line| line.contains(" WARN ")).count();
    assert_eq!(warnings, 1, "{log:?}");
}

#[test]
fn out_of_descriptors_the_listeners_take_turns() {
    let daemon = short_of_descriptors(&["127.0.0.1:0", "127.0.0.2:0"]);
    let second = daemon.wait_for_record("listening on 127.0.0.2:");
    let second = second.rsplit(' ').next().unwrap().parse().unwrap();
    let mut on_first: Vec<TcpStream> = (0..60).map(|_| daemon.connect()).collect();
    daemon.wait_for_record("accepting pauses");
    let on_second = connect(second);
    let local = on_second.local_addr().unwrap();
    // Each close makes room for one: the second of them is its turn.
    for done in 1..=10 {
        drop(on_first.remove(0));
        wait_until("the close", || {
            daemon
                .log()
                .iter()
                .filter(|l| l.contains(" closed by "))
                .count()
                == done
        });
    }
    let connected = format!("{local} connected");
    wait_until("its turn", || {
        daemon.log().iter().any(|l| l.contains(&connected))
    });
    echo(&on_second, b"hello\n");
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
