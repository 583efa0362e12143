//! Which bytes of which line a packet carries, and wrong echoes.

use echoline::capture::{Acked, Fault, Kind, Undecided, Verdict};

use crate::support::dialogue::{Client, Dialogue, MILLISECOND, SECOND, Server};
use crate::support::frame::{ACK, FIN, MSS, PSH, SYN};
use crate::support::{count, count_with, one_packet};

fn faults(dialogue: &Dialogue) -> Vec<(u64, Fault)> {
    let counted = count(&dialogue.pcap());
    if !counted.report().tally.faults.is_empty() {
        assert_eq!(counted.verdict(), Verdict::Failed);
    }
    counted.report().tally.faults.clone()
}

#[test]
fn a_line_in_two_packets_counts_two() {
    let dialogue = Dialogue::open().data(Client, b"1\n").ack(Server);
    let dialogue = dialogue
        .data(Server, b"1")
        .ack(Client)
        .data(Server, b"\n")
        .ack(Client)
        .close();
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counted.packets_per_line(), [(2, 1)]);
    assert_eq!(counted.report().tally.unusual, [(1, 2)]);
    assert_eq!(counted.report().tally.ack_on_echo, 0);
    assert_eq!(counted.verdict(), Verdict::Failed);
    assert_eq!(counted.packet(7).acked, None.or(counted.packet(7).acked));
    let span = counted.packet(8).lines.unwrap();
    assert_eq!(
        (span.first, span.first_byte, span.last_byte, span.ends),
        (1, 2, 2, true)
    );
    assert_eq!(counted.packet(7).acked, Some(Acked::PartOfEcho(1)));
}

#[test]
fn ten_lines_in_one_packet_take_one_packet_each_and_a_tenth_in_all() {
    let lines = b"line\n".repeat(10);
    let dialogue = Dialogue::open()
        .data(Client, &lines)
        .data(Server, &lines)
        .ack(Client)
        .close();
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counted.packets_per_line(), [(1, 10)]);
    assert_eq!(counted.report().echo_packets, 1);
    // The echoes' packet is the first to acknowledge each line.
    assert_eq!(counted.report().tally.ack_on_echo, 10);
    assert_eq!(counted.verdict(), Verdict::Met);
    assert_eq!(counted.packet(5).acked, Some(Acked::Lines(1, 10)));
}

#[test]
fn an_ack_before_the_echo_is_not_on_the_echo() {
    let dialogue = Dialogue::open()
        .data(Client, b"a\n")
        .ack(Server)
        .data(Server, b"a\n");
    let dialogue = dialogue.ack(Client).exchange(b"b\n").close();
    let counted = count(&dialogue.pcap());
    assert_eq!(
        (
            counted.report().tally.matched,
            counted.report().tally.ack_on_echo
        ),
        (2, 1)
    );
}

#[test]
fn a_last_line_without_newline_comes_back_with_or_without_one() {
    for echo in [&b"rest\n"[..], b"rest"] {
        let dialogue = Dialogue::open().exchange(b"one\n").data(Client, b"rest");
        let dialogue = dialogue
            .fin(Client)
            .data(Server, echo)
            .fin(Server)
            .ack(Client);
        let counted = count(&dialogue.pcap());
        assert_eq!(counted.report().tally.faults, []);
        assert_eq!(counted.report().tally.matched, 2);
    }
    // In the middle of the stream the newline may not be missing.
    let dialogue = Dialogue::open().exchange(b"zero\n");
    let dialogue = dialogue.data(Client, b"one\n").data(Server, b"one");
    assert_eq!(faults(&dialogue.close()), [(2, Fault::Changed)]);
}

/// As a byte echo (RFC 862) does: its echo begins before the line is complete.
#[test]
fn an_echo_may_begin_before_its_line_ends() {
    let mut dialogue = Dialogue::open();
    for byte in b"abc" {
        dialogue = dialogue.data(Client, &[*byte]).data(Server, &[*byte]);
    }
    let counted = count(&dialogue.ack(Client).close().pcap());
    assert_eq!(counted.packets_per_line(), [(3, 1)]);
    assert_eq!(counted.report().tally.matched, 1);
}

#[test]
fn wrong_echoes_are_named() {
    let sent = |lines: &[u8]| Dialogue::open().data(Client, lines);
    let right = |dialogue: Dialogue| dialogue.exchange(b"end\n").close();
    let changed = right(sent(b"a\nb\nc\n").data(Server, b"a\nX\nc\n"));
    assert_eq!(faults(&changed), [(2, Fault::Changed)]);
    let swapped = right(sent(b"a\nb\nc\n").data(Server, b"b\na\nc\n"));
    assert_eq!(faults(&swapped), [(1, Fault::Reordered)]);
    let lost = right(sent(b"a\nb\nc\n").data(Server, b"a\nc\n"));
    assert_eq!(faults(&lost), [(2, Fault::Lost)]);
    let twice = right(sent(b"a\nb\nc\n").data(Server, b"a\na\nb\nc\n"));
    assert_eq!(faults(&twice), [(1, Fault::Repeated)]);
    let longer = right(sent(b"a\nb\n").data(Server, b"a!\nb\n"));
    assert_eq!(faults(&longer), [(1, Fault::Changed)]);
    let extra = sent(b"a\n").data(Server, b"a\nmore\n").close();
    assert_eq!(faults(&extra), [(2, Fault::Unexpected)]);
    let none = right(sent(b"a\nb\nc\n").data(Server, b"a\nb\nc\n"));
    assert_eq!(faults(&none), []);
}

#[test]
fn a_line_is_lost_when_the_server_closes_or_had_two_seconds() {
    let closed = Dialogue::open()
        .exchange(b"a\n")
        .data(Client, b"b\n")
        .fin(Server)
        .fin(Client);
    assert_eq!(faults(&closed), [(2, Fault::Lost)]);
    let reset = Dialogue::open()
        .exchange(b"a\n")
        .data(Client, b"b\n")
        .reset(Server);
    assert_eq!(faults(&reset), [(2, Fault::Lost)]);
    let waits = |time| {
        Dialogue::open()
            .exchange(b"a\n")
            .data(Client, b"b\n")
            .wait(time)
            .ack(Client)
    };
    assert_eq!(faults(&waits(2 * SECOND)), [(2, Fault::Lost)]);
    assert_eq!(faults(&waits(SECOND)), []);
    count_with(&waits(SECOND).pcap(), one_packet()).cannot_tell(Undecided::Pending);
    // A client that resets may have kept the server from answering.
    let gone = Dialogue::open()
        .exchange(b"a\n")
        .data(Client, b"b\n")
        .reset(Client);
    assert_eq!(faults(&gone), []);
}

#[test]
fn a_prefix_is_recognised_and_must_stay() {
    let dialogue = Dialogue::open().data(Client, b"one\ntwo\n");
    let dialogue = dialogue.data(Server, b"web1: one\nweb1: two\n");
    let dialogue = dialogue.data(Client, b"x\n").data(Server, b"web1: x\n");
    let counted = count(&dialogue.clone().close().pcap());
    assert_eq!(&counted.report().tally.prefix[..], b"web1: ");
    assert_eq!(counted.report().tally.matched, 3);
    assert_eq!(counted.verdict(), Verdict::Met);
    let dialogue = dialogue.data(Client, b"y\n").data(Server, b"web2: y\n");
    assert_eq!(faults(&dialogue), [(4, Fault::Changed)]);
    let dialogue = dialogue.data(Client, b"y\n").data(Server, b"y\n");
    assert_eq!(
        faults(&dialogue),
        [(4, Fault::Changed), (5, Fault::Changed)]
    );
}

#[test]
fn a_line_in_pieces_is_one_line() {
    let dialogue = Dialogue::open()
        .data(Client, b"hel")
        .ack(Server)
        .data(Client, b"lo\nw");
    let dialogue = dialogue
        .data(Client, b"orld\n")
        .data(Server, b"hello\nworld\n")
        .ack(Client);
    let counted = count(&dialogue.close().pcap());
    assert_eq!(counted.packets_per_line(), [(1, 2)]);
    let span = counted.packet(6).lines.unwrap();
    assert_eq!(
        (span.first, span.last, span.first_byte, span.last_byte),
        (1, 2, 4, 1)
    );
}

/// 40 ms is how long Linux delays an ACK; Nagle's algorithm waits for it.
#[test]
fn a_part_that_waits_for_a_delayed_ack_is_a_stall() {
    let stalled = |wait: i64, next: i64| {
        let dialogue = Dialogue::open()
            .data(Client, b"hel")
            .wait(wait)
            .ack(Server)
            .wait(next);
        let dialogue = dialogue
            .data(Client, b"lo\n")
            .data(Server, b"hello\n")
            .ack(Client)
            .close();
        count(&dialogue.pcap()).report().counts.stalls
    };
    assert_eq!(stalled(40 * MILLISECOND, 0), 1);
    assert_eq!(stalled(20 * MILLISECOND, 0), 0);
    // A person who types slowly: the ACK did not make the next part come.
    assert_eq!(stalled(40 * MILLISECOND, 100 * MILLISECOND), 0);
    // The server's parts.
    let dialogue = Dialogue::open()
        .data(Client, b"1\n")
        .data(Server, b"1")
        .wait(40 * MILLISECOND);
    let dialogue = dialogue.ack(Client).data(Server, b"\n").ack(Client).close();
    let counted = count(&dialogue.pcap());
    assert_eq!(counted.report().counts.stalls, 1);
    assert!(counted.packet(7).stall.is_some());
}

/// TCP Fast Open, and a FIN with data.
#[test]
fn a_syn_and_a_fin_may_carry_lines() {
    let dialogue = Dialogue::new().packet(Client, SYN, b"one\n", |_| {});
    let dialogue = dialogue
        .packet(Server, SYN | ACK, b"", |_| {})
        .data(Server, b"one\n")
        .ack(Client);
    let dialogue = dialogue.packet(Client, FIN | PSH | ACK, b"two\n", |_| {});
    let dialogue = dialogue
        .packet(Server, FIN | PSH | ACK, b"two\n", |_| {})
        .ack(Client);
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counted.packets_per_line(), [(1, 2)]);
    assert_eq!(counted.report().tally.requests, 2);
    assert_eq!(counted.phases(), [2, 2, 3]);
    assert_eq!(counted.verdict(), Verdict::Met);

    // The server does not take the data of the SYN: they come again.
    let dialogue = Dialogue::new().packet(Client, SYN, b"one\n", |_| {});
    let dialogue = dialogue.packet(Server, SYN | ACK, b"", |segment| segment.ack -= 4);
    let dialogue = dialogue
        .again(Client, 4, b"one\n")
        .data(Server, b"one\n")
        .ack(Client)
        .close();
    let counted = count(&dialogue.pcap());
    assert_eq!(
        (
            counted.report().tally.matched,
            counted.report().counts.again
        ),
        (1, 1)
    );
}

/// The urgent byte is in the stream (RFC 6093).
#[test]
fn urgent_data_ecn_and_mptcp_change_no_count() {
    const URG: u16 = 0x20;
    const ECE_CWR_AE: u16 = 0x1c0;
    let mptcp = [
        30, 20, 0x20, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let dialogue = Dialogue::new().packet(Client, SYN | ECE_CWR_AE, b"", |_| {});
    let dialogue = dialogue.packet(Server, SYN | ACK | 0x40, b"", |_| {});
    let dialogue = dialogue.packet(Client, ACK | 0x80, b"", |_| {});
    let dialogue = dialogue.packet(Client, URG | ACK | PSH, b"ur!\n", |_| {});
    let dialogue = dialogue.packet(Server, ACK | PSH | 0x140, b"ur!\n", |_| {});
    let dialogue = dialogue.packet(Client, ACK | 0x100, b"", |segment| {
        segment.options = mptcp.to_vec();
    });
    let counted = count_with(&dialogue.close().pcap(), one_packet());
    assert_eq!(counted.phases(), [3, 3, 3]);
    assert_eq!(counted.verdict(), Verdict::Met);
    assert_eq!(counted.packet(6).kind, Kind::Ack);
    assert_eq!(MSS.len() % 4, 0);
}

/// More than 64 KiB of lines wait: what is more is not compared, and the rest is.
#[test]
fn more_lines_than_are_remembered_are_not_compared() {
    let mut dialogue = Dialogue::open();
    let lines = b"0123456789abcde\n".repeat(64);
    for _ in 0..100 {
        dialogue = dialogue.data(Client, &lines);
    }
    for _ in 0..100 {
        dialogue = dialogue.data(Server, &lines);
    }
    let counted = count_with(&dialogue.exchange(b"last\n").close().pcap(), one_packet());
    let tally = &counted.report().tally;
    assert_eq!((tally.requests, tally.echoes), (6401, 6401));
    assert!(
        tally.not_compared > 2000 && tally.matched > 4000,
        "{tally:#?}"
    );
    assert_eq!(
        (tally.wrong, counted.packets_per_line()),
        (0, vec![(1, 6401)])
    );
    counted.cannot_tell(Undecided::NotCompared);
}
