//! Clients that read slowly, late or not at all.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::support::clients::{echo, read_repeated, read_to_end, send_and_half_close};
use crate::support::daemon::Daemon;

const MIB: usize = 1 << 20;

/// Unread output fills the kernel's buffers; then the server stops reading, and the
/// sender blocks.
#[test]
fn a_client_that_never_reads_while_it_sends_a_gibibyte_costs_no_memory() {
    const LEN: usize = 1 << 30;
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"warm\n");
    let before = daemon.rss();

    let lines: Vec<u8> = (0..MIB / 16)
        .flat_map(|i| format!("{i:015}\n").into_bytes())
        .collect();
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = send_repeated(&client, lines.clone(), LEN, Arc::clone(&sent));
    let blocked_at = wait_for_standstill(&sent);
    assert!(
        0 < blocked_at && blocked_at < LEN,
        "the sender did not block"
    );
    let growth = daemon.rss().saturating_sub(before);
    assert!(
        growth < MIB,
        "RSS grew by {growth} bytes with {blocked_at} sent"
    );

    read_repeated(&client, &lines, LEN, MIB);
    assert_eq!(read_to_end(&client), b"");
    sender.join().unwrap();
    let growth = daemon.rss().saturating_sub(before);
    assert!(growth < MIB, "RSS grew by {growth} bytes in the end");
}

/// Sends `len` bytes that repeat `pattern`, counts them in `sent`, and half-closes.
fn send_repeated(
    client: &TcpStream,
    pattern: Vec<u8>,
    len: usize,
    sent: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    const PIECE: usize = MIB / 16;
    let mut client = client.try_clone().unwrap();
    thread::spawn(move || {
        for piece in pattern.chunks(PIECE).cycle().take(len / PIECE) {
            client.write_all(piece).unwrap();
            sent.fetch_add(piece.len(), Ordering::Relaxed);
        }
        client.shutdown(Shutdown::Write).unwrap();
    })
}

/// Returns the counter when it has not changed for half a second.
fn wait_for_standstill(counter: &AtomicUsize) -> usize {
    let (mut changed_at, mut count) = (Instant::now(), counter.load(Ordering::Relaxed));
    while changed_at.elapsed() < Duration::from_millis(500) {
        thread::sleep(Duration::from_millis(20));
        let now = counter.load(Ordering::Relaxed);
        if now != count {
            (changed_at, count) = (Instant::now(), now);
        }
    }
    count
}

#[test]
fn a_half_closing_client_that_reads_slowly_gets_100_megabytes() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(16384).unwrap();
    let line: Vec<u8> = (0..=255).filter(|&b| b != b'\n').chain([b'\n']).collect();
    let bytes = line.repeat(100_000_000 / line.len());
    let len = bytes.len();
    let sender = send_and_half_close(&client, bytes);
    read_repeated(&client, &line, len, 16 * line.len());
    assert_eq!(read_to_end(&client), b"");
    sender.join().unwrap();
}

/// Every write of the server is short: both buffers of the client have a few KiB, and
/// the client reads in small pieces.
#[test]
fn tiny_buffers_and_slow_readers_change_no_byte() {
    for args in [&[][..], &["--packet-per-line"]] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        // The kernel raises these to its minimum.
        SockRef::from(&client).set_recv_buffer_size(1).unwrap();
        SockRef::from(&client).set_send_buffer_size(1).unwrap();
        let lines: Vec<u8> = (0..3000)
            .flat_map(|i| format!("line {i} {}\n", "x".repeat(i % 90)).into_bytes())
            .collect();
        let sender = send_and_half_close(&client, lines.clone());
        read_repeated(&client, &lines, lines.len(), 700);
        assert_eq!(read_to_end(&client), b"");
        sender.join().unwrap();
    }
}
