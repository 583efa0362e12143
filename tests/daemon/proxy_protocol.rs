//! PROXY protocol headers: the client that they name, and what is no header.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::clients::{echo, read_exactly, read_to_end, reset, send_and_read_to_end};
use crate::support::daemon::Daemon;
use crate::support::sockets::wait_until_arrived;

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
const NAMED: &str = "192.0.2.1:56324";

fn start(args: &[&str]) -> Daemon {
    Daemon::start_with(&[&["--proxy-protocol"], args].concat())
}

/// A header of version 2.
fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([version_and_command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend_from_slice(rest);
    header
}

/// A header of version 2 for a client 192.0.2.2:258, with TLVs of these bytes.
fn v2_with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 2, 198, 51, 100, 1, 1, 2, 1, 187];
    v2(0x21, 0x11, &[&addresses, tlvs].concat())
}

/// Returns when the server's loop has run since the call.
fn wait_for_loop_run(daemon: &Daemon) {
    let client = daemon.connect();
    send(&client, b"PROXY UNKNOWN\r\n");
    echo(&client, b"the loop has run\n");
}

fn send(mut client: &TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
}

/// Sends `header` with lines behind it in one segment, closes, and returns the closing
/// record of `peer`.
fn closing_record_after(daemon: &Daemon, header: &[u8], peer: SocketAddr) -> String {
    let client = daemon.connect();
    let bytes = [header, b"one\ntwo\n"].concat();
    assert_eq!(send_and_read_to_end(&client, &bytes), b"one\ntwo\n");
    daemon.closing_record(peer)
}

/// Expects that the daemon closes `client` without an echo; returns its closing record.
fn rejected(daemon: &Daemon, client: TcpStream) -> String {
    let local = client.local_addr().unwrap();
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    daemon.closing_record(local)
}

fn warnings(log: &[String]) -> Vec<&String> {
    let is_warning = |line: &&String| line.contains(" WARN ");
    log.iter().filter(is_warning).collect()
}

#[test]
fn the_named_client_is_in_every_record() {
    let daemon = start(&["-v"]);
    let client = daemon.connect();
    let local = client.local_addr().unwrap();
    send(&client, &[V1, b"hello\n"].concat());
    assert_eq!(read_exactly(&client, 6), b"hello\n");
    echo(&client, b"again\n");
    drop(client);
    daemon.closing_record(NAMED.parse().unwrap());
    let log = daemon.stop();
    for record in [
        "connected (1 open)",
        "message: \"hello\"",
        "message: \"again\"",
        "closed by peer: 2 lines, 12/12 bytes, ",
    ] {
        let record = format!("{NAMED} {record}");
        assert!(log.iter().any(|line| line.contains(&record)), "{record}");
    }
    assert!(!log.iter().any(|line| line.contains(&local.to_string())));
}

#[test]
fn versions_1_and_2_name_clients_of_both_families() {
    let daemon = start(&[]);
    let addresses = [[0x20; 16], [0x30; 16]].concat();
    let v2_ipv6 = v2(0x21, 0x21, &[&addresses[..], &[1, 2, 1, 187]].concat());
    for (header, named) in [
        (V1.to_vec(), NAMED),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 7 8\r\n".to_vec(),
            "[2001:db8::1]:7",
        ),
        (v2_with_tlvs(b""), "192.0.2.2:258"),
        (v2_ipv6, "[2020:2020:2020:2020:2020:2020:2020:2020]:258"),
    ] {
        let record = closing_record_after(&daemon, &header, named.parse().unwrap());
        assert!(record.contains("peer: 2 lines, 8/8 bytes, "), "{record}");
    }
}

#[test]
fn tlvs_are_skipped_up_to_a_header_of_4096_bytes() {
    let daemon = start(&[]);
    let value = [b'\n'; 4065];
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    let header = v2_with_tlvs(&[&[0x04], &len[..], &value].concat());
    assert_eq!(header.len(), 4096);
    closing_record_after(&daemon, &header, "192.0.2.2:258".parse().unwrap());
    let client = daemon.connect();
    send(&client, &v2_with_tlvs(&[0; 4069]));
    let record = rejected(&daemon, client);
    assert!(record.contains("proxy header (too long)"), "{record}");
}

#[test]
fn unknown_local_and_unix_headers_keep_the_real_peer() {
    let daemon = start(&[]);
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        b"PROXY UNKNOWN all\rof\nthis\xff\r\r\n".to_vec(),
        v2(0x20, 0x00, b""),
        v2(0x21, 0x00, b""),
        v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        let client = daemon.connect();
        let local = client.local_addr().unwrap();
        send(&client, &header);
        echo(&client, b"hello\n");
        drop(client);
        let record = daemon.closing_record(local);
        assert!(record.contains("peer: 1 line, 6/6 bytes, "), "{record}");
    }
}

/// Each cut is between two segments: the server has read the first one before the second
/// one is sent.
#[test]
fn a_header_may_be_cut_anywhere() {
    let daemon = start(&[]);
    for header in [V1.to_vec(), v2_with_tlvs(&[4, 0, 1, b'\n'])] {
        let bytes = [&header[..], b"one\ntwo\n"].concat();
        for cut in 1..bytes.len() {
            let client = daemon.connect();
            send(&client, &bytes[..cut]);
            wait_for_loop_run(&daemon);
            send(&client, &bytes[cut..]);
            assert_eq!(read_exactly(&client, 8), b"one\ntwo\n", "cut at {cut}");
        }
    }
    assert_eq!(warnings(&daemon.stop()), Vec::<&String>::new());
}

#[test]
fn a_header_in_single_bytes_is_one() {
    let daemon = start(&[]);
    let client = daemon.connect();
    for byte in [V1, b"hello\n"].concat() {
        send(&client, &[byte]);
    }
    assert_eq!(read_exactly(&client, 6), b"hello\n");
    drop(client);
    let record = daemon.closing_record(NAMED.parse().unwrap());
    assert!(record.contains("1 line, 6/6 bytes, "), "{record}");
}

#[test]
fn what_is_no_header_is_closed_with_a_reason_of_its_own() {
    let daemon = start(&[]);
    for (bytes, reason) in [
        (&b"hello\n"[..], "malformed): 0 lines, 6/0 bytes, "),
        (b"PROXY TCP4 nonsense\r\nhello\n", "malformed)"),
        (
            &[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat(),
            "too long)",
        ),
    ] {
        let client = daemon.connect();
        send(&client, bytes);
        let record = rejected(&daemon, client);
        assert!(
            record.contains(&format!("proxy header ({reason}")),
            "{record}"
        );
    }
    let client = daemon.connect();
    send(&client, &V1[..20]);
    client.shutdown(Shutdown::Write).unwrap();
    let record = rejected(&daemon, client);
    assert!(record.contains("proxy header (incomplete)"), "{record}");
    let log = daemon.stop();
    assert!(
        !log.iter().any(|line| line.contains(" connected ")),
        "{log:?}"
    );
    let totals = log.last().unwrap();
    assert!(
        totals.contains("totals: 4 connections, 0 open, 0 lines"),
        "{totals}"
    );
    assert!(totals.contains("; closed 4 by proxy header"), "{totals}");
}

/// None of these is LOCAL, whatever its 13th byte is, and none names a client.
#[test]
fn what_only_resembles_a_header_is_malformed() {
    let daemon = start(&[]);
    for bytes in [
        "PROXY HELLO! x\n",
        "PROXY TCP4 1 2 3 4\r\n",
        "PROXY UDP4 1 y\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +80 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 00080 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 80 +443\r\n",
        "PROXY UNKNOWNxyz\r\n",
    ] {
        let client = daemon.connect();
        let local = client.local_addr().unwrap();
        send(&client, bytes.as_bytes());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&client), b"", "{bytes:?}");
        let record = daemon.closing_record(local);
        assert!(
            record.contains("closed by proxy header (malformed)"),
            "{bytes:?}: {record}"
        );
    }
}

#[test]
fn connections_without_a_header_cost_one_warning_per_second() {
    const CLIENTS: usize = 300;
    let daemon = start(&[]);
    for _ in 0..CLIENTS {
        assert_eq!(send_and_read_to_end(&daemon.connect(), b"hello\n"), b"");
    }
    daemon.wait_for_closed(CLIENTS);
    let log = daemon.stop();
    let warnings = warnings(&log);
    assert!(warnings[0].contains(" without a PROXY header: malformed (0 others)"));
    assert!(warnings.len() < CLIENTS / 2, "{warnings:?}");
}

#[test]
fn a_header_that_takes_too_long_closes_the_connection() {
    let daemon = start(&[]);
    let (silent, slow, other) = (daemon.connect(), daemon.connect(), daemon.connect());
    send(&slow, &V1[..10]);
    send(&other, V1);
    for client in [silent, slow] {
        let record = rejected(&daemon, client);
        assert!(
            record.contains("closed by proxy header (timeout)"),
            "{record}"
        );
    }
    echo(&other, b"still here\n");
}

/// As behind a balancer that sends the header with the client's first bytes. The other
/// daemon's client shows that the default time is over.
#[test]
fn without_a_proxy_timeout_a_header_may_come_with_the_first_line_whenever_that_is() {
    let (daemon, with_default) = (start(&["--proxy-timeout", "0"]), start(&[]));
    let client = daemon.connect();
    let record = rejected(&with_default, with_default.connect());
    assert!(record.contains("proxy header (timeout)"), "{record}");
    send(&client, &[V1, b"hello\n"].concat());
    assert_eq!(read_exactly(&client, 6), b"hello\n");
}

#[test]
fn a_proxy_timeout_is_as_long_as_the_option_says() {
    let [short, long] = ["1", "60"].map(|secs| start(&["--proxy-timeout", secs]));
    let waiting = long.connect();
    let record = rejected(&short, short.connect());
    assert!(record.contains("proxy header (timeout)"), "{record}");
    send(&waiting, V1);
    echo(&waiting, b"still here\n");
}

#[test]
fn the_idle_timeout_holds_while_a_header_is_awaited() {
    for proxy_timeout in ["0", "1000"] {
        let daemon = start(&["--proxy-timeout", proxy_timeout, "--idle-timeout", "1"]);
        let (silent, partial) = (daemon.connect(), daemon.connect());
        send(&partial, &V1[..10]);
        for (client, bytes) in [(silent, "0/0 bytes"), (partial, "10/0 bytes")] {
            let record = rejected(&daemon, client);
            let expected = format!("closed by idle timeout: 0 lines, {bytes}, ");
            assert!(record.contains(&expected), "{record}");
        }
        assert_eq!(warnings(&daemon.stop()), Vec::<&String>::new());
    }
}

#[test]
fn a_header_without_any_limit_and_a_timeout_without_headers_are_warnings() {
    let first_warning = |daemon: Daemon| warnings(&daemon.stop()).first().copied().cloned();
    let warning = first_warning(start(&["--proxy-timeout", "0"])).unwrap();
    let text = "a PROXY header may take for ever: neither proxy-timeout nor idle-timeout is set";
    assert!(warning.ends_with(text), "{warning}");
    let warning = first_warning(Daemon::start_with(&["--proxy-timeout", "0"])).unwrap();
    let text = "proxy-timeout has no effect without proxy-protocol";
    assert!(warning.ends_with(text), "{warning}");
    assert_eq!(first_warning(start(&["--proxy-timeout", "30"])), None);
}

/// The rest of the header arrived in time; its event and the timer come together.
#[test]
fn a_header_that_waits_to_be_read_is_not_late() {
    let daemon = start(&[]);
    let clients = daemon.connect_many(3);
    wait_for_loop_run(&daemon);
    daemon.signal(Signal::STOP);
    for client in &clients {
        send(client, V1);
    }
    std::thread::sleep(std::time::Duration::from_millis(3200));
    daemon.signal(Signal::CONT);
    for client in &clients {
        echo(client, b"hello\n");
    }
}

#[test]
fn a_connection_that_closes_without_a_byte_is_no_fault() {
    let daemon = start(&[]);
    let client = daemon.connect();
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by peer: 0 lines, 0/0 bytes"),
        "{record}"
    );
    let log = daemon.stop();
    assert_eq!(warnings(&log), Vec::<&String>::new());
    let totals = log.last().unwrap();
    assert!(totals.contains("closed 1 by peer; 1 empty"), "{totals}");
}

/// As haproxy's check-send-proxy.
#[test]
fn a_connection_with_a_header_only_is_empty_and_can_be_left_out_of_the_log() {
    let daemon = start(&["--no-log-empty"]);
    let check = daemon.connect();
    assert_eq!(send_and_read_to_end(&check, &v2(0x20, 0x00, b"")), b"");
    closing_record_after(&daemon, V1, NAMED.parse().unwrap());
    let log = daemon.stop();
    let is_about_a_connection =
        |line: &&String| line.contains(" connected ") || line.contains(" closed by ");
    assert_eq!(
        log.iter().filter(is_about_a_connection).count(),
        2,
        "{log:?}"
    );
    assert!(log.last().unwrap().ends_with("closed 2 by peer; 1 empty"));
}

/// As a health check of haproxy with a header, or one that ends in the middle of it.
#[test]
fn a_reset_is_an_error_only_after_a_byte_that_is_no_header() {
    let daemon = start(&[]);
    for (bytes, expected) in [
        (&b""[..], "closed by peer: 0 lines, 0/0 bytes, "),
        (&v2(0x20, 0x00, b""), "closed by peer: 0 lines, 0/0 bytes, "),
        (
            &V1[..10],
            "closed by error (Connection reset by peer): 0 lines, 10/0 bytes, ",
        ),
        (
            b"PROXY UNKNOWN\r\nhel",
            "closed by error (Connection reset by peer): 0 lines, 3/0 bytes, ",
        ),
    ] {
        let client = daemon.connect();
        let local = client.local_addr().unwrap();
        send(&client, bytes);
        wait_for_loop_run(&daemon);
        reset(client);
        let record = daemon.closing_record(local);
        assert!(record.contains(expected), "{record}");
    }
    let totals = daemon.stop().pop().unwrap();
    // The connections of `wait_for_loop_run` are among the six.
    assert!(
        totals.ends_with("; closed 6 by peer, 2 by error; 2 empty"),
        "{totals}"
    );
}

#[test]
fn max_per_ip_counts_the_named_clients() {
    let daemon = start(&["--max-per-ip", "2"]);
    let from = |ip: u8, port: u16| {
        let client = daemon.connect();
        let header = format!("PROXY TCP4 192.0.2.{ip} 198.51.100.1 {port} 443\r\n");
        send(&client, header.as_bytes());
        client
    };
    let first = [from(1, 1), from(1, 2)];
    for client in &first {
        echo(client, b"first\n");
    }
    for port in 3..20 {
        assert_eq!(read_to_end(&from(1, port)), b"", "closed at once");
    }
    // The proxy itself has no such limit.
    let others: Vec<TcpStream> = (2..30).map(|ip| from(ip, 1)).collect();
    for client in &others {
        echo(client, b"others\n");
    }
    drop(first);
    daemon.wait_for_closed(2);
    let again = from(1, 30);
    echo(&again, b"again\n");
    drop((others, again));
    daemon.wait_for_closed(31);
    let log = daemon.stop();
    assert!(warnings(&log)[0].contains("192.0.2.1:3 refused: address limit 2 reached"));
    let totals = log.last().unwrap();
    assert!(
        totals.contains("totals: 31 connections, 0 open, "),
        "{totals}"
    );
    assert!(
        totals.ends_with("closed 31 by peer; 17 refused"),
        "{totals}"
    );
}

/// Connections without a header took no place, and free none.
#[test]
fn rejected_connections_do_not_change_the_count_of_their_address() {
    let daemon = start(&["--max-per-ip", "1"]);
    let local = daemon.connect();
    send(&local, &v2(0x20, 0x00, b""));
    echo(&local, b"the only place of 127.0.0.1\n");
    for _ in 0..3 {
        assert_eq!(send_and_read_to_end(&daemon.connect(), b"hello\n"), b"");
    }
    daemon.wait_for_closed(3);
    let second = daemon.connect();
    send(&second, &v2(0x20, 0x00, b""));
    assert_eq!(read_to_end(&second), b"", "refused");
    echo(&local, b"still here\n");
}

#[test]
fn a_shutdown_closes_what_awaits_a_header_and_echoes_what_is_behind_one() {
    let mut daemon = start(&[]);
    let (silent, partial, complete) = (daemon.connect(), daemon.connect(), daemon.connect());
    send(&partial, &V1[..30]);
    wait_for_loop_run(&daemon);
    daemon.wait_for_record("closed by peer");
    daemon.signal(Signal::STOP);
    let bytes = [V1, b"one\ntwo\n"].concat();
    send(&complete, &bytes);
    wait_until_arrived([&complete], bytes.len());
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    assert_eq!(read_to_end(&silent), b"");
    assert_eq!(read_to_end(&partial), b"");
    assert_eq!(read_to_end(&complete), b"one\ntwo\n");
    drop((silent, partial, complete));
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    let totals = daemon.wait_for_record("totals: ");
    // Three lines with 25 bytes, and 30 bytes that were no header.
    assert!(totals.contains(", 3 lines, 55/25 bytes, "), "{totals}");
    // The fourth connection is that of `wait_for_loop_run`.
    assert!(
        totals.contains("; closed 1 by peer, 3 by shutdown"),
        "{totals}"
    );
}

#[test]
fn without_the_option_a_header_is_a_line() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let local = client.local_addr().unwrap();
    echo(&client, V1);
    drop(client);
    let record = daemon.closing_record(local);
    assert!(record.contains("peer: 1 line, 45/45 bytes, "), "{record}");
}
