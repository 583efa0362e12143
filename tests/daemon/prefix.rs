//! `--prefix`: text before each echoed line.

use std::io::Write;

use crate::support::clients::{
    read_exactly, read_to_end, received_nothing, send_and_half_close, send_and_read_to_end,
};
use crate::support::daemon::Daemon;

const MIB: usize = 1 << 20;

#[test]
fn every_line_has_the_prefix_and_nothing_else_has() {
    for args in [
        &["--prefix", "a: "][..],
        &["--prefix", "a: ", "--packet-per-line"],
    ] {
        let daemon = Daemon::start_with(args);
        for (sent, echoed) in [
            (&b"hello\n"[..], &b"a: hello\n"[..]),
            (b"one\ntwo\nthree\n", b"a: one\na: two\na: three\n"),
            (b"\n\n\n", b"a: \na: \na: \n"),
            (b"one\nlast", b"a: one\na: last\n"),
            (b"\xff\r\n\0\n", b"a: \xff\r\na: \0\n"),
            (b"", b""),
        ] {
            let received = send_and_read_to_end(&daemon.connect(), sent);
            assert_eq!(received, echoed, "{args:?}");
        }
    }
}

#[test]
fn a_line_in_pieces_has_one_prefix() {
    let daemon = Daemon::start_with(&["--prefix", "a: "]);
    let (mut client, mut other) = (daemon.connect(), daemon.connect());
    for piece in ["in ", "pie", "ces"] {
        client.write_all(piece.as_bytes()).unwrap();
        other.write_all(b"read\n").unwrap();
        assert_eq!(read_exactly(&other, 8), b"a: read\n");
        assert!(received_nothing(&client), "a part of a line was echoed");
    }
    client.write_all(b"\nnext\n").unwrap();
    assert_eq!(read_exactly(&client, 21), b"a: in pieces\na: next\n");
}

#[test]
fn the_line_limit_and_the_message_log_leave_the_prefix_out() {
    let daemon = Daemon::start_with(&["--prefix", "a: ", "--max-line", "6", "-v"]);
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    client.write_all(b"hello\nhello!\n").unwrap();
    assert_eq!(read_to_end(&client), b"a: hello\n");
    drop(client);
    daemon.wait_for_record(&format!("{local} message: \"hello\""));
    let record = daemon.closing_record(local);
    let expected = "closed by line limit: 1 line, 13/9 bytes, ";
    assert!(record.contains(expected), "{record}");
}

#[test]
fn long_lines_and_many_short_ones_come_back_with_a_long_prefix() {
    let prefix = "p".repeat(1000);
    let daemon = Daemon::start_with(&["--max-line", "300000", "--prefix", &prefix]);
    let mut lines = Vec::new();
    for i in 0..2000 {
        let len = if i % 100 == 0 { 200_000 } else { i % 50 };
        lines.extend(std::iter::repeat_n(b'a', len));
        lines.push(b'\n');
    }
    let line_and_prefix = |line: &[u8]| [prefix.as_bytes(), line].concat();
    let expected: Vec<u8> = lines
        .split_inclusive(|&byte| byte == b'\n')
        .flat_map(line_and_prefix)
        .collect();
    assert!(send_and_read_to_end(&daemon.connect(), &lines) == expected);
}

/// Each read of 64 KiB becomes 64 MiB of output.
#[test]
fn a_flood_of_newlines_with_the_longest_prefix_costs_no_memory() {
    let prefix = "p".repeat(1024);
    let daemon = Daemon::start_with(&["--prefix", &prefix]);
    let mut client = daemon.connect();
    let echo = format!("{prefix}\n");
    client.write_all(b"\n").unwrap();
    assert_eq!(read_exactly(&client, echo.len()), echo.as_bytes());
    let before = daemon.rss();
    let sender = send_and_half_close(&client, vec![b'\n'; 128 * 1024]);
    let echoes = echo.repeat(1024);
    for _ in 0..128 {
        assert!(read_exactly(&client, echoes.len()) == echoes.as_bytes());
        let growth = daemon.rss().saturating_sub(before);
        assert!(growth < MIB, "RSS grew by {growth} bytes");
    }
    assert_eq!(read_to_end(&client), b"");
    sender.join().unwrap();
}
