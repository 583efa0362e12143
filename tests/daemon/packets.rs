//! Packets, counted by the kernel on the client's side (`TCP_INFO`).
//!
//! The same counts from a capture are in `capture.rs`; these need nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use echoline::SegmentCounts;
use socket2::SockRef;

use crate::support::{
    Daemon, connect_with_small_window, echo, read_exactly, read_to_end, send_and_read_to_end,
};

const PER_LINE: &[&str] = &["--packet-per-line"];

fn packets(client: &TcpStream) -> SegmentCounts {
    SegmentCounts::of(client).expect("the kernel counts")
}

/// The closing record's figures in the order of the record.
pub fn recorded(record: &str) -> [u64; 5] {
    let clause = record.split_once("; packets in ").expect("a clause").1;
    let figures: Vec<u64> = clause
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|figure| figure.parse().ok())
        .collect();
    figures.try_into().expect("five figures")
}

/// Asserts that the closing record has the data segments and retransmissions
/// that the client saw, and returns how many the server sent.
fn agreed(daemon: &Daemon, client: TcpStream) -> u64 {
    let local = client.local_addr().unwrap();
    let seen = packets(&client);
    drop(client);
    let [_, data_in, _, data_out, retransmitted] = recorded(&daemon.closing_record(local));
    assert_eq!(data_in, seen.data_segs_out, "from the client");
    // What was sent again and arrived twice is not counted as received data.
    assert!(seen.data_segs_in <= data_out, "{seen:?}");
    assert!(data_out - retransmitted <= seen.data_segs_in, "{seen:?}");
    data_out - retransmitted
}

#[test]
fn one_line_is_one_data_segment_each_way() {
    for args in [&[], PER_LINE] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        echo(&client, b"hello\n");
        assert_eq!(packets(&client).data_segs_out, 1);
        assert_eq!(packets(&client).data_segs_in, 1);
        assert_eq!(agreed(&daemon, client), 1);
    }
}

#[test]
fn a_hundred_ping_pong_lines_are_a_hundred_data_segments_each_way() {
    for args in [&[], PER_LINE] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        (0..100).for_each(|_| echo(&client, b"ping\n"));
        assert_eq!(packets(&client).data_segs_out, 100);
        assert_eq!(packets(&client).data_segs_in, 100);
        assert_eq!(agreed(&daemon, client), 100);
    }
}

#[test]
fn four_lines_in_one_segment_come_back_in_one_or_in_four() {
    for (args, segments) in [(&[][..], 1), (PER_LINE, 4)] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        echo(&client, b"one\ntwo\nthree\nfour\n");
        assert_eq!(packets(&client).data_segs_out, 1);
        assert_eq!(packets(&client).data_segs_in, segments);
        assert_eq!(agreed(&daemon, client), segments);
    }
}

/// Whether some of a few sessions has no packet too many. (A machine that is
/// busy for 40 ms has an ACK sent by a timer; `capture.rs` counts those.)
fn at_best(is_minimal: impl Fn() -> bool) {
    assert!(
        (0..10).any(|_| is_minimal()),
        "a packet too many in each of 10 sessions"
    );
}

#[test]
fn a_last_line_without_newline_is_one_segment_and_the_fin_rides_on_it() {
    for args in [&[], PER_LINE] {
        at_best(|| {
            let daemon = Daemon::start_with(args);
            let client = daemon.connect();
            daemon.wait_for_record(" connected ");
            assert_eq!(send_and_read_to_end(&client, b"last"), b"last\n");
            let seen = packets(&client);
            assert_eq!((seen.data_segs_out, seen.data_segs_in), (1, 1));
            assert_eq!(agreed(&daemon, client), 1);
            // Echo and FIN in one, after the SYN-ACK; the ACK of the line apart.
            seen.segs_in <= 3
        });
    }
}

#[test]
fn lines_with_a_fin_come_back_with_the_fin_on_the_last_segment() {
    for (args, segments) in [(&[][..], 1), (PER_LINE, 3)] {
        at_best(|| {
            let daemon = Daemon::start_with(args);
            let client = daemon.connect();
            daemon.wait_for_record(" connected ");
            // Held back until the FIN: one segment.
            SockRef::from(&client)
                .send_with_flags(b"one\ntwo\nthree\n", libc::MSG_MORE)
                .unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&client), b"one\ntwo\nthree\n");
            let seen = packets(&client);
            assert_eq!(seen.data_segs_out, 1);
            assert_eq!(seen.data_segs_in, segments);
            assert_eq!(agreed(&daemon, client), segments);
            // The SYN-ACK and data, nothing else.
            seen.segs_in == 1 + segments
        });
    }
}

#[test]
fn a_burst_of_10000_lines_comes_back_in_10000_segments_per_line() {
    let daemon = Daemon::start_with(PER_LINE);
    let client = daemon.connect();
    let lines = b"fifteen bytes..\n".repeat(10_000);
    assert_eq!(send_and_read_to_end(&client, &lines), lines);
    assert_eq!(agreed(&daemon, client), 10_000);
}

#[test]
fn a_slow_reader_gets_100000_lines_in_100000_segments_per_line() {
    let daemon = Daemon::start_with(PER_LINE);
    let client = daemon.connect();
    let line = b"fifteen bytes..\n";
    let sender = {
        let mut client = client.try_clone().unwrap();
        thread::spawn(move || {
            client.write_all(&line.repeat(100_000)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        })
    };
    let (mut got, mut piece) = (0, [0; 1000]);
    while got < 100_000 * line.len() {
        let n = (&client).read(&mut piece).unwrap();
        assert_ne!(n, 0, "the end came after {got} bytes");
        for (i, byte) in piece[..n].iter().enumerate() {
            assert_eq!(*byte, line[(got + i) % line.len()], "byte {}", got + i);
        }
        got += n;
    }
    sender.join().unwrap();
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(agreed(&daemon, client), 100_000);
}

/// A full socket buffer in the middle of a line: what remains of the line is
/// sent alone, and no line shares a segment with another.
#[test]
fn lines_longer_than_a_segment_stay_apart_under_backpressure() {
    let daemon = Daemon::start_with(&["--packet-per-line", "--max-line", "300000"]);
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(30_000).unwrap();
    let lines: Vec<u8> = (0..40)
        .flat_map(|i| {
            [
                vec![b'a' + i % 26; 200_000],
                b"\n".to_vec(),
                b"short\n".to_vec(),
            ]
            .concat()
        })
        .collect();
    assert_eq!(send_and_read_to_end(&client, &lines), lines);
    assert!(agreed(&daemon, client) >= 80);
}

/// Segments of more than half the peer's largest window do not leave; what is
/// not longer does so whole.
#[test]
fn a_line_is_cut_only_where_the_peers_window_leaves_no_choice() {
    for (len, segments) in [(1000, 20), (2500, 40)] {
        let daemon = Daemon::start_with(PER_LINE);
        let client = connect_with_small_window(daemon.addr);
        let line = [vec![b'x'; len - 1], b"\n".to_vec()].concat();
        (0..20).for_each(|_| echo(&client, &line));
        assert_eq!(agreed(&daemon, client), segments, "lines of {len} bytes");
    }
}

#[test]
fn by_default_no_more_data_segments_leave_than_came() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let mut sent = 0;
    for round in 0..200 {
        // Lines and parts of lines, each write a segment (TCP_NODELAY).
        let bytes = b"some lines\nand a bit of".repeat(1 + round % 50);
        (&client).write_all(&bytes).unwrap();
        sent += bytes.len();
        (&client).write_all(b" more\n").unwrap();
        sent += 6;
    }
    assert_eq!(read_exactly(&client, sent).len(), sent);
    let seen = packets(&client);
    assert!(seen.data_segs_in <= seen.data_segs_out, "{seen:?}");
    assert!(agreed(&daemon, client) <= seen.data_segs_out);
}

#[test]
fn totals_add_up_the_packets_of_closed_connections() {
    let daemon = Daemon::start();
    let mut sum = [0; 5];
    for lines in 1..5 {
        let client = daemon.connect();
        (0..lines).for_each(|_| echo(&client, b"line\n"));
        let local = client.local_addr().unwrap();
        drop(client);
        let record = recorded(&daemon.closing_record(local));
        sum.iter_mut().zip(record).for_each(|(sum, n)| *sum += n);
    }
    let open = daemon.connect();
    echo(&open, b"not counted yet\n");
    daemon.signal(rustix::process::Signal::USR1);
    assert_eq!(recorded(&daemon.wait_for_record("totals: ")), sum);
}
