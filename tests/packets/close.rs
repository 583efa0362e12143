//! How connections end, and when a missing FIN proves something.

use std::time::Duration;

use echoline::capture::{Closed, Kind, Options, Side, Undecided, Verdict};

use crate::support::dialogue::{Client, Dialogue, MILLISECOND, SECOND, START, Server};
use crate::support::file::{Order, Pcapng};
use crate::support::frame::{ACK, RST};
use crate::support::{count, count_with};

fn close() -> Options {
    let mut options = Options::default();
    options.expectations.close = true;
    options
}

fn other_connection() -> Dialogue {
    Dialogue::between(["10.0.0.3:50000", "10.0.0.1:3000"], [1, 2])
        .handshake()
        .exchange(b"x\n")
        .close()
}

#[test]
fn the_side_that_closes_first_is_named() {
    let dialogue = Dialogue::open().exchange(b"a\n");
    let counted = count_with(&dialogue.clone().close().pcap(), close());
    let after = Duration::from_micros(100);
    assert_eq!(
        counted.report().closed,
        Closed::Both(Some(Side::Client), after)
    );
    assert_eq!(counted.verdict(), Verdict::Met);
    let counted = count_with(
        &dialogue.fin(Server).fin(Client).ack(Server).pcap(),
        close(),
    );
    assert_eq!(
        counted.report().closed,
        Closed::Both(Some(Side::Server), after)
    );
}

/// Without `--immediate-mode`, tcpdump loses the last packets.
#[test]
fn a_missing_fin_proves_nothing_at_the_end_of_a_capture() {
    let dialogue = Dialogue::open().exchange(b"a\n").fin(Client).ack(Server);
    count_with(&dialogue.pcap(), close()).cannot_tell(Undecided::EndOfCapture);
    let short = dialogue
        .clone()
        .wait(1900 * MILLISECOND)
        .then(other_connection());
    count_with(&short.pcap(), close()).cannot_tell(Undecided::EndOfCapture);
    // A packet of any connection, 2 s later.
    let long = dialogue.wait(2 * SECOND).then(other_connection());
    let counted = count_with(&long.pcap(), close());
    assert_eq!(counted.verdict(), Verdict::Failed);
    let first = counted
        .reports
        .iter()
        .find(|report| report.number == 1)
        .unwrap();
    assert!(matches!(first.closed, Closed::ByClientOnly(since) if since.as_secs() >= 2));
}

#[test]
fn a_pcapng_says_until_when_it_ran() {
    for (seconds, verdict) in [(1, Verdict::CannotTell), (3, Verdict::Failed)] {
        let mut file = Pcapng::new(Order::Little);
        file.interface(1, 0, &[]);
        for segment in Dialogue::open()
            .exchange(b"a\n")
            .fin(Client)
            .ack(Server)
            .segments
        {
            let frame = segment.ethernet();
            file.packet(
                0,
                u64::try_from(segment.time / 1000).unwrap(),
                &frame,
                frame.len(),
            );
        }
        file.statistics(
            u64::try_from(START / 1000).unwrap() + seconds * 1_000_000,
            0,
        );
        assert_eq!(count_with(&file.bytes, close()).verdict(), verdict);
    }
}

/// The ACK of a FIN that was not captured.
#[test]
fn a_fin_that_was_acknowledged_and_not_captured_undecides() {
    let dialogue = Dialogue::open().exchange(b"a\n").close().without(&[8]);
    let counted = count_with(
        &dialogue.wait(3 * SECOND).then(other_connection()).pcap(),
        close(),
    );
    counted.cannot_tell(Undecided::NotCaptured);
    // Of the client's FIN, too.
    let dialogue = Dialogue::open()
        .exchange(b"a\n")
        .close()
        .without(&[7, 8, 9]);
    let dialogue = dialogue.packet(Server, ACK, b"", |_| {});
    let counted = count_with(
        &dialogue.wait(3 * SECOND).then(other_connection()).pcap(),
        close(),
    );
    counted.cannot_tell(Undecided::NotCaptured);
}

#[test]
fn an_open_connection_is_judged_when_the_capture_goes_on() {
    let dialogue = Dialogue::open().exchange(b"a\n");
    count_with(&dialogue.pcap(), close()).cannot_tell(Undecided::EndOfCapture);
    let counted = count_with(
        &dialogue.wait(3 * SECOND).then(other_connection()).pcap(),
        close(),
    );
    assert_eq!(counted.verdict(), Verdict::Met);
}

/// A client that closes fully answers the echo with RST: the line came back, and was not
/// delivered.
#[test]
fn a_client_that_resets_leaves_the_server_no_time_for_its_fin() {
    let dialogue = Dialogue::open()
        .data(Client, b"a\n")
        .fin(Client)
        .data(Server, b"a\n");
    let dialogue = dialogue.packet(Client, RST, b"", |_| {});
    let counted = count_with(&dialogue.clone().pcap(), close());
    assert_eq!(counted.report().closed, Closed::Reset(Some(Side::Client)));
    assert_eq!(counted.report().tally.matched, 1);
    // Nothing else in the capture shows a close.
    counted.cannot_tell(Undecided::Nothing);
    let counted = count_with(&dialogue.then(other_connection()).pcap(), close());
    assert_eq!(counted.verdict(), Verdict::Met);
    // Two seconds would have been enough.
    let dialogue = Dialogue::open()
        .exchange(b"a\n")
        .fin(Client)
        .wait(3 * SECOND);
    let counted = count_with(&dialogue.packet(Client, RST, b"", |_| {}).pcap(), close());
    assert_eq!(counted.verdict(), Verdict::Failed);
}

/// RFC 9293, 3.5.3.
#[test]
fn the_text_of_a_reset_is_no_line() {
    let dialogue = Dialogue::open()
        .exchange(b"a\n")
        .packet(Server, RST, b"Go away!", |_| {});
    let counted = count(&dialogue.pcap());
    assert_eq!(counted.packet(7).kind, Kind::Rst);
    assert_eq!(counted.report().echo_packets, 1);
    assert_eq!(counted.report().closed, Closed::Reset(Some(Side::Server)));
    assert_eq!(counted.verdict(), Verdict::Met);
}

/// A closed port: the RST has sequence number 0.
#[test]
fn a_refused_connection_is_no_echo() {
    let dialogue = Dialogue::new().packet(Client, 2, b"", |_| {});
    let dialogue = dialogue.packet(Server, RST | ACK, b"", |segment| segment.seq = 0);
    let counted = count(&dialogue.pcap());
    assert_eq!(counted.verdict(), Verdict::NoEcho);
    assert_eq!((counted.summary.no_echo, counted.phases()), (1, [1, 0, 1]));
}
