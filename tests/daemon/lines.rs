//! What the server sends back for what it receives.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use echoline::client::{Client, Options};
use socket2::SockRef;

use crate::support::clients::{
    echo, read_exactly, read_to_end, received_nothing, send_and_read_to_end,
};
use crate::support::daemon::Daemon;
use crate::support::deadline::DEADLINE;

#[test]
fn interactive_lines_come_back_one_by_one() {
    for args in [&[][..], &["--busy-poll", "500"]] {
        let daemon = Daemon::start_with(args);
        let mut options = Options::default();
        options.count = Some(100);
        options.interval = Duration::ZERO;
        options.timeout = DEADLINE;
        let client = Client::new(&[daemon.addr], options).unwrap();
        let statistics = client.run(|_| ()).unwrap();
        assert_eq!((statistics.sent, statistics.echoed), (100, 100));
        assert!(statistics.is_perfect(), "{statistics:?}");
    }
}

#[test]
fn many_lines_in_one_segment_all_come_back_in_order() {
    let daemon = Daemon::start();
    let lines: Vec<u8> = (0..1000)
        .flat_map(|i| format!("{i}\n").into_bytes())
        .collect();
    assert_eq!(send_and_read_to_end(&daemon.connect(), &lines), lines);
}

#[test]
fn one_line_in_many_segments_comes_back_whole_and_not_early() {
    let daemon = Daemon::start();
    let (mut client, other) = (daemon.connect(), daemon.connect());
    for byte in b"in pieces" {
        client.write_all(&[*byte]).unwrap();
        echo(&other, b"the byte has been read\n");
        assert!(received_nothing(&client), "a part of a line was echoed");
    }
    client.write_all(b"\n").unwrap();
    assert_eq!(read_exactly(&client, 10), b"in pieces\n");
}

#[test]
fn empty_lines_crlf_nul_and_invalid_utf8_are_data() {
    let daemon = Daemon::start();
    for bytes in [
        b"\n".as_slice(),
        b"\n\n\n\n",
        b"\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        b"\0\n\0\0\n",
        b"\xff\xfe\x80\n\xc3\x28\n",
        b"\x1b[2J\x07\x04\n",
    ] {
        assert_eq!(send_and_read_to_end(&daemon.connect(), bytes), bytes);
    }
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).chain([b'\n']).collect();
    let echoed = send_and_read_to_end(&daemon.connect(), &every_byte);
    assert_eq!(echoed, every_byte);
}

#[test]
fn a_last_line_without_newline_gets_one() {
    let daemon = Daemon::start();
    for (sent, echoed) in [
        (&b"last"[..], &b"last\n"[..]),
        (b"one\ntwo\nlast", b"one\ntwo\nlast\n"),
        (b"complete\n", b"complete\n"),
    ] {
        assert_eq!(send_and_read_to_end(&daemon.connect(), sent), echoed);
    }

    let mut client = daemon.connect();
    client.write_all(b"in ").unwrap();
    daemon.wait_for_loop_run();
    assert_eq!(send_and_read_to_end(&client, b"pieces"), b"in pieces\n");
}

#[test]
fn a_half_closing_client_gets_every_line() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.write_all(b"one\ntwo\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"one\ntwo\n");
}

/// A read stops at an urgent byte. A server that takes a short read for a drained socket
/// never reads the rest.
#[test]
fn urgent_bytes_are_data_and_hold_nothing_up() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    for _ in 0..100 {
        client.write_all(b"before ").unwrap();
        SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(b" after\n").unwrap();
        assert_eq!(read_exactly(&client, 15), b"before ! after\n");
    }
}
