//! What is an echo, what is judged, and the bound on connections.

use echoline::capture::{Options, Undecided, Verdict};

use crate::support::dialogue::{Client, Dialogue, Server};
use crate::support::{count, count_with, one_packet, strict};

#[test]
fn an_expectation_is_met_or_not() {
    let file = Dialogue::open().exchange(b"a\n").close().pcap();
    assert_eq!(count_with(&file, strict()).verdict(), Verdict::Met);
    let mut two = Options::default();
    two.expectations.packets = Some(2);
    assert_eq!(count_with(&file, two).verdict(), Verdict::Failed);
}

#[test]
fn what_is_no_echo_is_no_echo() {
    let http = Dialogue::open().data(Client, b"GET / HTTP/1.0\r\n\r\n");
    let http = http
        .data(Server, b"HTTP/1.0 200 OK\r\n\r\nhello\n")
        .ack(Client)
        .close();
    let counted = count(&http.pcap());
    assert_eq!(
        (counted.verdict(), counted.summary.no_echo),
        (Verdict::NoEcho, 1)
    );
    let empty = Dialogue::open().close();
    assert_eq!(count(&empty.pcap()).verdict(), Verdict::NoEcho);
    // With a port, any answer counts as an echo.
    let mut options = Options::default();
    options.port = Some(3000);
    assert_eq!(count_with(&http.pcap(), options).verdict(), Verdict::Failed);
    options.port = Some(3001);
    assert_eq!(count_with(&http.pcap(), options).verdict(), Verdict::NoEcho);
}

/// On IPv4 the server echoes, on IPv6 it does not.
#[test]
fn a_server_that_is_broken_on_one_address_is_judged_there_too() {
    let good = Dialogue::open().exchange(b"a\n").exchange(b"b\n").close();
    let bad = Dialogue::between(["[fd00::2]:5000", "[fd00::1]:3000"], [1, 2]).handshake();
    let bad = bad
        .data(Client, b"x\n")
        .data(Server, b"y\n")
        .ack(Client)
        .close();
    assert_eq!(count(&good.then(bad).pcap()).verdict(), Verdict::Failed);
}

/// Other connections of a server that echoes are judged, although none of their echoes is
/// right.
#[test]
fn a_server_is_an_echo_if_most_of_its_echoes_are_right() {
    let good = Dialogue::open().exchange(b"a\n").exchange(b"b\n").close();
    let bad = Dialogue::between(["10.0.0.3:50000", "10.0.0.1:3000"], [1, 2]).handshake();
    let bad = bad
        .data(Client, b"x\n")
        .data(Server, b"y\n")
        .ack(Client)
        .close();
    let counted = count(&good.then(bad).pcap());
    assert_eq!(
        (counted.verdict(), counted.summary.totals.wrong),
        (Verdict::Failed, 1)
    );
}

#[test]
fn headers_alone_are_no_failure_and_no_success() {
    let file = Dialogue::open().exchange(b"hello\n").close().pcap_cut(54);
    let counted = count(&file);
    assert_eq!(counted.verdict(), Verdict::Met);
    assert_eq!(counted.report().tally.echoes, 0);
    count_with(&file, one_packet()).cannot_tell(Undecided::Snaplen);
    // Closing needs no lines.
    let mut options = Options::default();
    options.expectations.close = true;
    assert_eq!(count_with(&file, options).verdict(), Verdict::Met);
}

#[test]
fn a_line_longer_than_the_snaplen_undecides_and_names_the_snaplen() {
    let line = [&b"x".repeat(199)[..], b"\n"].concat();
    let file = Dialogue::open()
        .exchange(b"one\n")
        .exchange(&line)
        .close()
        .pcap_cut(128);
    let counted = count_with(&file, one_packet());
    counted.cannot_tell(Undecided::Snaplen);
    assert_eq!(counted.report().counts.needed_snaplen, 254);
    assert_eq!(counted.report().tally.matched, 1);
}

#[test]
fn the_sums_are_those_of_all_connections() {
    let mut dialogue = Dialogue::open().exchange(b"a\n").close();
    for port in 0..50 {
        let addr = format!("10.0.{}.{port}:{}", port % 3, 20_000 + port / 2);
        let other = Dialogue::between([&addr, "10.0.0.1:3000"], [port, port]).handshake();
        dialogue = dialogue.then(other.exchange(b"one\n").exchange(b"two\n").close());
    }
    let counted = count_with(&dialogue.pcap(), strict());
    let totals = &counted.summary.totals;
    assert_eq!(
        (totals.connections, totals.echoes, totals.closed),
        (51, 101, 51)
    );
    assert_eq!(
        (totals.handshake, totals.exchange, totals.close),
        (153, 303, 153)
    );
    assert_eq!(
        totals.packets_per_line.iter().collect::<Vec<_>>(),
        [(1, 101)]
    );
    assert_eq!(counted.verdict(), Verdict::Met);
}

/// Finished connections make room first; if there is none, a quiet one is dropped, and what it
/// would have been is not decided.
#[test]
fn above_the_bound_connections_are_dropped_and_undecided() {
    let connection = |port: u32, close: bool| {
        let addr = format!("10.0.0.9:{}", 20_000 + port);
        let open = Dialogue::between([&addr, "10.0.0.1:3000"], [port, port]).handshake();
        let open = open.exchange(b"one\n");
        if close { open.close() } else { open }
    };
    for close in [true, false] {
        let mut dialogue = Dialogue::open().exchange(b"a\n").close();
        for port in 0..20 {
            dialogue = dialogue.then(connection(port, close));
        }
        let mut options = one_packet();
        options.max_connections = 5;
        let counted = count_with(&dialogue.pcap(), options);
        assert_eq!(counted.summary.totals.echoes, 21);
        if close {
            assert_eq!(counted.verdict(), Verdict::Met);
        } else {
            counted.cannot_tell(Undecided::Dropped);
        }
    }
}
