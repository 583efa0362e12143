//! Sequence numbers that wrap, times that run backwards, captures that begin in the middle.

use echoline::capture::{Undecided, Verdict};

use crate::support::dialogue::{Client, Dialogue, MILLISECOND, Server};
use crate::support::{count, count_with, one_packet};

const ADDRS: [&str; 2] = ["10.0.0.2:40000", "10.0.0.1:3000"];

#[test]
fn sequence_numbers_wrap() {
    for isn in [u32::MAX, u32::MAX - 1, u32::MAX - 7, 0x7fff_fffd] {
        let mut dialogue = Dialogue::between(ADDRS, [isn, isn.wrapping_sub(3)]).handshake();
        for _ in 0..5 {
            dialogue = dialogue.exchange(b"line\n");
        }
        let counted = count_with(&dialogue.close().pcap(), one_packet());
        assert_eq!(counted.packets_per_line(), [(1, 5)]);
        assert_eq!(
            (counted.report().counts.again, counted.report().not_captured),
            (0, 0)
        );
        assert_eq!(counted.verdict(), Verdict::Met);
    }
}

#[test]
fn more_than_four_gigabytes_are_one_stream() {
    let mut dialogue = Dialogue::between(ADDRS, [0, 0])
        .handshake()
        .exchange(b"a\n");
    // Headers only: the packets' bytes are not in the file.
    let mut file = crate::support::file::Pcap::new(1);
    for segment in &dialogue.segments {
        let frame = segment.ethernet();
        file.record(segment.time, &frame, frame.len());
    }
    let step = 1 << 30;
    for _ in 0..6 {
        dialogue = dialogue.ack(Client);
        let mut segment = dialogue.segments.pop().unwrap();
        // A long hole: the server acknowledges what was not captured.
        dialogue = dialogue.packet(Server, 0x10, b"", |ack| {
            ack.ack = segment.seq.wrapping_add(step);
        });
        let ack = dialogue.segments.pop().unwrap();
        segment.seq = ack.ack;
        file.record(ack.time, &ack.ethernet(), ack.ethernet().len());
        file.record(segment.time, &segment.ethernet(), segment.ethernet().len());
        dialogue = dialogue.packet(Client, 0x10, b"", |next| {
            next.seq = segment.seq;
        });
        let mut last = dialogue.segments.pop().unwrap();
        last.data = b"x".to_vec();
        last.seq = segment.seq;
        file.record(last.time, &last.ethernet(), last.ethernet().len());
        dialogue = Dialogue::between(ADDRS, [last.seq.wrapping_add(1), 7]);
    }
    let counted = count(&file.bytes);
    let missing = counted.report().not_captured;
    assert!(
        missing > 5 * u64::from(step) && missing < 7 * u64::from(step),
        "{missing}"
    );
}

/// A new SYN with another sequence number.
#[test]
fn a_pair_of_ports_that_is_used_again_is_another_connection() {
    let first = Dialogue::open().exchange(b"one\n").close();
    let second = Dialogue::between(ADDRS, [777_777, 888_888])
        .handshake()
        .exchange(b"two\n")
        .close();
    let counted = count_with(&first.clone().then(second.clone()).pcap(), one_packet());
    assert_eq!(counted.reports.len(), 2);
    assert_eq!(counted.verdict(), Verdict::Met);
    let open = Dialogue::open().exchange(b"one\n").then(second);
    assert_eq!(count(&open.pcap()).reports.len(), 2);
}

/// Several queues of a device, or two interfaces of dumpcap.
#[test]
fn times_may_run_backwards_and_be_equal() {
    let mut dialogue = Dialogue::open().exchange(b"one\n").close();
    for (at, segment) in dialogue.segments.iter_mut().enumerate() {
        segment.time -= i64::try_from(at).unwrap() * MILLISECOND;
    }
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(
        (counted.phases(), counted.verdict()),
        ([3, 3, 3], Verdict::Met)
    );
    for segment in &mut dialogue.segments {
        segment.time = crate::support::dialogue::START;
    }
    assert_eq!(
        count_with(&dialogue.pcap(), one_packet()).verdict(),
        Verdict::Met
    );
}

/// The file may have an echo before its line, or an ACK before the data.
#[test]
fn neighbours_may_be_swapped() {
    let dialogue = Dialogue::open()
        .exchange(b"one\n")
        .exchange(b"two\n")
        .close();
    for at in 1..dialogue.segments.len() {
        let counted = count(&dialogue.clone().swapped(at, at + 1).pcap());
        assert_eq!(counted.reports.len(), 1, "{at}");
        assert_eq!(
            counted.report().tally.wrong,
            0,
            "{at} {:#?}",
            counted.report()
        );
        assert_eq!(counted.packets_per_line(), [(1, 2)], "{at}");
        assert_eq!(counted.report().not_captured, 0, "{at}");
    }
}

#[test]
fn a_capture_that_begins_in_the_middle_finds_the_first_line() {
    let mut dialogue = Dialogue::open();
    for line in [&b"one\n"[..], b"two\n", b"three\n", b"four\n"] {
        dialogue = dialogue.exchange(line);
    }
    for begin in 4..=9_u64 {
        let before: Vec<usize> = (1..=usize::try_from(begin).unwrap()).collect();
        let counted = count_with(
            &dialogue.clone().close().without(&before).pcap(),
            one_packet(),
        );
        let report = counted.report();
        assert!(report.roles_known, "{begin}");
        assert_eq!(report.server.port(), 3000);
        let echoes = report.tally.matched;
        assert_eq!(
            echoes,
            if begin < 6 {
                3 + u64::from(begin < 4)
            } else if begin < 7 {
                3
            } else {
                2
            }
        );
        assert_eq!(report.tally.wrong, 0);
        assert_eq!(
            counted.verdict(),
            Verdict::Met,
            "{begin} {:#?}",
            counted.summary
        );
    }
}

/// The side that repeats the other, although its port is the higher one.
#[test]
fn the_server_is_the_side_that_repeats() {
    let mut dialogue = Dialogue::between(["10.0.0.2:3000", "10.0.0.1:40000"], [5, 6]).handshake();
    for line in [&b"one\n"[..], b"two\n", b"three\n", b"four\n"] {
        dialogue = dialogue.exchange(line);
    }
    let dialogue = dialogue.close().without(&[1, 2, 3]);
    let counted = count(&dialogue.pcap());
    assert_eq!(counted.report().server.port(), 40_000);
    assert_eq!(counted.report().tally.matched, 4);
    let mut options = one_packet();
    options.port = Some(40_000);
    assert_eq!(
        count_with(&dialogue.pcap(), options).report().tally.matched,
        4
    );
}

/// Lines that are all the same show nothing, and the ports speak for the other side.
#[test]
fn equal_lines_do_not_tell_which_side_is_the_server() {
    let mut dialogue = Dialogue::between(["10.0.0.2:3000", "10.0.0.1:40000"], [5, 6]).handshake();
    for _ in 0..4 {
        dialogue = dialogue.exchange(b"same\n");
    }
    let file = dialogue.close().without(&[1, 2, 3]).pcap();
    let counted = count_with(&file, one_packet());
    assert_ne!(counted.verdict(), Verdict::Met);
    let mut options = one_packet();
    options.port = Some(40_000);
    assert_eq!(count_with(&file, options).verdict(), Verdict::Met);
}

#[test]
fn several_lines_that_fit_the_first_echo_undecide() {
    let dialogue = Dialogue::open()
        .data(Client, b"x\n")
        .data(Client, b"x\nx\n");
    let dialogue = dialogue.data(Server, b"x\nx\nx\n").ack(Client).close();
    count_with(&dialogue.without(&[1, 2, 3, 4]).pcap(), one_packet())
        .cannot_tell(Undecided::Ambiguous);
}

#[test]
fn a_capture_that_begins_with_a_keep_alive_has_no_hole() {
    let dialogue = Dialogue::open().exchange(b"one\n");
    let dialogue = dialogue
        .packet(Client, 0x10, b"", |segment| segment.seq -= 1)
        .ack(Server);
    let dialogue = dialogue
        .exchange(b"two\n")
        .close()
        .without(&[1, 2, 3, 4, 5, 6]);
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counted.report().not_captured, 0);
    assert_eq!(counted.verdict(), Verdict::Met);
}
