//! Lines longer than `--max-line`.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::clients::{line_of, read_repeated, read_to_end, send_and_read_to_end};
use crate::support::daemon::Daemon;

#[test]
fn a_line_of_the_limit_is_echoed_and_one_byte_more_closes_the_connection() {
    let daemon = Daemon::start_with(&["--max-line", "1000"]);
    let longest = line_of(1000);
    for (sent, echoed) in [
        (&longest[..], &longest[..]),
        // Without its newline, which is added and counts.
        (&longest[..999], &longest),
        (&[b'x'; 1000], b""),
    ] {
        assert_eq!(send_and_read_to_end(&daemon.connect(), sent), echoed);
    }

    let mut client = daemon.connect();
    client
        .write_all(&[b"before\n", &[b'x'; 1000][..], b"\nafter\n"].concat())
        .unwrap();
    assert_eq!(read_to_end(&client), b"before\n");
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by line limit: 1 line, "),
        "{record}"
    );

    let log = daemon.stop();
    let warnings: Vec<_> = log.iter().filter(|l| l.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let text = format!("{local} line too long: at least 1001 bytes, the limit is 1000");
    assert!(warnings[1].ends_with(&text), "{warnings:?}");
}

#[test]
fn the_default_limit_is_65536_bytes() {
    let daemon = Daemon::start();
    let mut line = line_of(65536);
    assert_eq!(send_and_read_to_end(&daemon.connect(), &line), line);
    line.insert(0, b'x');
    let mut client = daemon.connect();
    client.write_all(&line).unwrap();
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn a_slow_client_gets_all_lines_before_a_line_that_is_too_long() {
    let daemon = Daemon::start_with(&["--max-line", "100"]);
    let line = b"0123456789\n";
    let len = 30_000 * line.len();
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(16384).unwrap();
    let sender = {
        let bytes = [line.repeat(30_000), vec![b'x'; 500_000]].concat();
        let mut client = client.try_clone().unwrap();
        thread::spawn(move || client.write_all(&bytes))
    };
    // Most of the echoes are still in the server's kernel then.
    daemon.wait_for_record("line too long");
    read_repeated(&client, line, len, 1100);
    assert_eq!(read_to_end(&client), b"");
    // The server has read the rest of the line too; otherwise the write fails or blocks.
    sender.join().unwrap().unwrap();
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by line limit: 30000 lines, "),
        "{record}"
    );
}

#[test]
fn a_client_that_keeps_sending_after_a_line_that_is_too_long_is_reset_in_the_end() {
    let daemon = Daemon::start_with(&["--max-line", "10"]);
    let client = daemon.connect();
    let local = client.local_addr().unwrap();
    let sender = {
        let mut client = client.try_clone().unwrap();
        thread::spawn(move || while client.write_all(&[b'x'; 4096]).is_ok() {})
    };
    assert_eq!(read_to_end(&client), b"");
    // Only the server's linger timeout ends this: the client never closes.
    sender.join().unwrap();
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by line limit: 0 lines, "),
        "{record}"
    );
}

/// The line is read after the drain has begun, as two reads come before it. The lingering
/// ends after 2 s, long before the drain timeout.
#[test]
fn a_line_that_is_too_long_does_not_linger_longer_while_draining() {
    // The end of the line is on its way when the drain begins. If it comes after the drain
    // has found no more input, the connection is closed by shutdown: up to five attempts.
    let found = (0..5).any(|_| {
        let mut daemon = Daemon::start_with(&["--drain-timeout", "1000"]);
        let mut client = daemon.connect_accepted();
        let lines = line_of(1024).repeat(128);
        daemon.signal(Signal::STOP);
        client.write_all(&lines).unwrap();
        client.write_all(&vec![b'x'; 70_000]).unwrap();
        daemon.signal(Signal::TERM);
        daemon.signal(Signal::CONT);
        assert_eq!(read_to_end(&client), lines);
        let exits = exits_within(&mut daemon, Duration::from_secs(20));
        drop(client);
        assert_eq!(daemon.wait_for_exit().code(), Some(0));
        let record = daemon.wait_for_record(" closed by ");
        let by_line_limit = record.contains("closed by line limit: 128 lines");
        assert_eq!(by_line_limit, exits, "{record}");
        exits
    });
    assert!(found, "the line was never seen to be too long");
}

/// Whether the daemon ends by itself in this time, far longer than it lingers.
fn exits_within(daemon: &mut Daemon, limit: Duration) -> bool {
    let start = Instant::now();
    while !daemon.has_exited() {
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
