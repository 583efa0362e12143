//! What a packet is: again, late, merged, a probe, a duplicate.

use echoline::capture::{Kind, Undecided, Verdict};

use crate::support::dialogue::{Client, Dialogue, SECOND, Server};
use crate::support::file::{Order, Pcapng, pcap};
use crate::support::frame::{ACK, PSH, SYN};
use crate::support::{Counted, count, count_with, one_packet};

fn counts(counted: &Counted) -> (u64, u64, u64) {
    let report = counted.report();
    (report.counts.again, report.counts.late, report.not_captured)
}

#[test]
fn what_is_sent_again_is_again_syn_and_fin_too() {
    let dialogue = Dialogue::new().packet(Client, SYN, b"", |_| {});
    let dialogue = dialogue.packet(Client, SYN, b"", |segment| segment.seq -= 1);
    let dialogue = dialogue.packet(Server, SYN | ACK, b"", |_| {}).ack(Client);
    let dialogue = dialogue.data(Client, b"one\n").again(Client, 4, b"one\n");
    let dialogue = dialogue
        .data(Server, b"one\n")
        .again(Server, 4, b"one\n")
        .ack(Client)
        .fin(Client);
    let dialogue = dialogue
        .packet(Client, 0x11, b"", |segment| segment.seq -= 1)
        .fin(Server)
        .ack(Client);
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counts(&counted), (4, 0, 0));
    assert_eq!(counted.phases(), [4, 5, 4]);
    assert_eq!(counted.packets_per_line(), [(1, 1)]);
    assert_eq!(counted.verdict(), Verdict::Met);
}

/// A retransmission that merges two lines, of which one had come.
#[test]
fn a_packet_with_old_and_new_bytes_counts_for_the_new_ones() {
    let dialogue = Dialogue::open()
        .data(Client, b"a\nb\n")
        .data(Server, b"a\n");
    let dialogue = dialogue
        .packet(Server, ACK, b"a\nb\n", |segment| segment.seq -= 2)
        .ack(Client);
    let counted = count(&dialogue.close().pcap());
    assert_eq!(counted.packets_per_line(), [(1, 2)]);
    assert_eq!(counts(&counted), (0, 0, 0));
}

/// Reordered on the way: the identification proves it.
#[test]
fn a_reordered_packet_is_late_and_no_retransmission() {
    let mut dialogue = Dialogue::open();
    for _ in 0..4 {
        dialogue = dialogue.exchange(b"x\n");
    }
    let at = dialogue.segments.len();
    let dialogue = dialogue
        .data(Client, b"a\nb\n")
        .data(Server, b"a\n")
        .data(Server, b"b\n");
    let dialogue = dialogue.ack(Client).close().swapped(at + 2, at + 3);
    let counted = count_with(&dialogue.pcap(), one_packet());
    assert_eq!(counts(&counted), (0, 1, 0));
    assert_eq!(counted.packets_per_line(), [(1, 6)]);
    assert_eq!(counted.verdict(), Verdict::Met);
    let late = counted.packet(u64::try_from(at).unwrap() + 3);
    assert_eq!(late.kind, Kind::Late);
}

/// Lost before the capture point and sent again in one packet, where it had been two: the
/// count at the sender is not known.
#[test]
fn what_was_lost_before_the_capture_point_is_late_and_undecides() {
    let dialogue = Dialogue::open()
        .data(Client, b"a\nb\n")
        .data(Server, b"a")
        .data(Server, b"\n");
    let dialogue = dialogue
        .data(Server, b"b\n")
        .again(Server, 4, b"a\n")
        .ack(Client)
        .close();
    // Packets 5 and 6 were lost.
    let counted = count_with(&dialogue.without(&[5, 6]).pcap(), one_packet());
    assert_eq!(counts(&counted), (0, 1, 0));
    counted.cannot_tell(Undecided::PerhapsAgain);
    assert_eq!(counted.packets_per_line(), [(1, 2)]);
}

#[test]
fn acknowledged_bytes_that_no_packet_carried_were_not_captured() {
    let dialogue = Dialogue::open()
        .exchange(b"one\n")
        .exchange(b"two\n")
        .exchange(b"three\n")
        .close();
    // Without the echo of line 2.
    let counted = count_with(&dialogue.clone().without(&[8]).pcap(), one_packet());
    assert_eq!(counts(&counted), (0, 0, 4));
    counted.cannot_tell(Undecided::NotCaptured);
    assert_eq!(counted.report().tally.wrong, 0);
    // Without expectations there is nothing to decide.
    assert_eq!(
        count(&dialogue.clone().without(&[8]).pcap()).verdict(),
        Verdict::Met
    );
    // Without line 2: its echo is counted, and not compared.
    let counted = count_with(&dialogue.clone().without(&[7]).pcap(), one_packet());
    counted.cannot_tell(Undecided::NotCaptured);
    assert_eq!(counted.packets_per_line(), [(1, 3)]);
    // Where the bytes that follow a hole are the rest of a line is not known.
    assert_eq!(counted.report().tally.matched, 1);
    // Without both.
    let counted = count_with(&dialogue.without(&[7, 8]).pcap(), one_packet());
    assert_eq!(counts(&counted), (0, 0, 8));
    assert_eq!(counted.report().tally.wrong, 0);
}

#[test]
fn what_is_proven_stays_proven_beside_a_hole() {
    let two_writes = Dialogue::open()
        .data(Client, b"1\n")
        .data(Server, b"1")
        .data(Server, b"\n");
    let dialogue = two_writes.ack(Client).exchange(b"two\n").close();
    let counted = count_with(&dialogue.without(&[9]).pcap(), one_packet());
    assert_eq!(counted.report().not_captured, 4);
    assert_eq!(counted.verdict(), Verdict::Failed);
}

/// Its one byte is where a keep-alive has none.
#[test]
fn an_empty_line_that_was_not_captured_is_no_keep_alive() {
    let dialogue = Dialogue::open().exchange(b"\n").exchange(b"\n").close();
    for missing in [&[1, 4][..], &[2, 4], &[1, 2, 4], &[1, 2, 3, 4]] {
        let counted = count_with(&dialogue.clone().without(missing).pcap(), one_packet());
        assert_eq!(counted.report().tally.wrong, 0, "{missing:?}");
        if missing.len() < 4 {
            counted.cannot_tell(Undecided::NotCaptured);
        }
    }
}

/// A filter such as `src port 3000`.
#[test]
fn one_direction_alone_has_no_wrong_echo() {
    for kept in [3000, 40_000] {
        for lines in [5, 2000] {
            let mut dialogue = Dialogue::open();
            for number in 0..lines {
                dialogue = dialogue.exchange(format!("line {number}\n").as_bytes());
            }
            let mut dialogue = dialogue.close();
            dialogue
                .segments
                .retain(|segment| segment.from.port() == kept);
            let counted = count_with(&dialogue.pcap(), one_packet());
            assert_eq!(
                counted.report().tally.wrong,
                0,
                "{kept} {:#?}",
                counted.report()
            );
            counted.cannot_tell(Undecided::NotCaptured);
        }
    }
}

#[test]
fn after_a_hole_lines_are_in_step_again() {
    let mut dialogue = Dialogue::open();
    for line in [&b"a\n"[..], b"bb\n", b"ccc\n", b"dddd\n"] {
        dialogue = dialogue.exchange(line);
    }
    let wrong = dialogue
        .clone()
        .exchange(b"next\n")
        .data(Client, b"right\n")
        .data(Server, b"wrong\n")
        .close();
    for hole in 4..=15 {
        let counted = count(&dialogue.clone().close().without(&[hole]).pcap());
        assert_eq!(counted.report().tally.wrong, 0, "{hole}");
        let counted = count(&wrong.clone().without(&[hole]).pcap());
        assert_eq!(
            counted.report().tally.wrong,
            1,
            "{hole} {:#?}",
            counted.report()
        );
    }
}

/// TSO and GRO: a packet longer than the MSS is several on the wire.
#[test]
fn a_packet_longer_than_the_mss_is_at_least_several() {
    let long = [&b"x".repeat(3999)[..], b"\n"].concat();
    let counted = count_with(
        &Dialogue::open().exchange(&long).close().pcap(),
        one_packet(),
    );
    // 4,000 bytes in segments of 1,460.
    assert_eq!(counted.phases(), [3, 7, 3]);
    assert_eq!(counted.packets_per_line(), [(3, 1)]);
    assert_eq!(counted.report().counts.merged, 2);
    // At least three packets are more than one.
    assert_eq!(counted.verdict(), Verdict::Failed);
    let mut options = one_packet();
    options.expectations.packets = Some(3);
    let counted = count_with(&Dialogue::open().exchange(&long).close().pcap(), options);
    counted.cannot_tell(Undecided::Merged);

    // Lines shorter than the MSS in such a packet: each takes one packet or two.
    let lines = b"0123456789\n".repeat(200);
    let counted = count_with(
        &Dialogue::open().exchange(&lines).close().pcap(),
        one_packet(),
    );
    counted.cannot_tell(Undecided::Merged);
}

#[test]
fn the_segment_size_is_less_by_the_options() {
    let stamps = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    let line = [&b"x".repeat(1459)[..], b"\n"].concat();
    let dialogue = Dialogue::open().data(Client, &line);
    let dialogue = dialogue.packet(Server, PSH | ACK, &line, |segment| segment.options = stamps);
    let counted = count(&dialogue.ack(Client).close().pcap());
    assert_eq!(counted.phases(), [3, 4, 3]);
    assert_eq!(counted.packets_per_line(), [(2, 1)]);
}

#[test]
fn without_the_handshake_a_long_packet_may_be_several() {
    let line = [&b"x".repeat(1999)[..], b"\n"].concat();
    let dialogue = Dialogue::open().exchange(b"one\n").exchange(&line).close();
    let counted = count_with(&dialogue.without(&[1, 2, 3]).pcap(), one_packet());
    counted.cannot_tell(Undecided::Merged);
}

/// Linux sends no byte, other systems one that the peer has. The peer's window tells a
/// keep-alive from a zero-window probe.
#[test]
fn probes_are_no_retransmissions() {
    for data in [&b""[..], b"\n"] {
        let probe = |dialogue: Dialogue| {
            let dialogue = dialogue.wait(75 * SECOND);
            dialogue.packet(Client, ACK, data, |segment| segment.seq -= 1)
        };
        let dialogue = probe(Dialogue::open().exchange(b"one\n")).ack(Server);
        let counted = count(&dialogue.close().pcap());
        assert_eq!(counts(&counted), (0, 0, 0));
        assert_eq!(counted.packet(7).kind, Kind::KeepAlive);
        let full = Dialogue::open().exchange(b"one\n");
        let full = full.packet(Server, ACK, b"", |segment| segment.window = 0);
        let counted = count(&probe(full).ack(Server).close().pcap());
        assert_eq!(counted.packet(8).kind, Kind::ZeroWindowProbe);
        assert!(counted.packet(7).zero_window);
        assert_eq!(counts(&counted), (0, 0, 0));
    }
}

/// Wireshark calls it a keep-alive.
#[test]
fn one_byte_that_is_sent_again_is_no_keep_alive() {
    let dialogue = Dialogue::open()
        .data(Client, b"\n")
        .again(Client, 1, b"\n")
        .data(Server, b"\n");
    let counted = count(&dialogue.ack(Client).close().pcap());
    assert_eq!(counted.packet(5).kind, Kind::Again);
}

#[test]
fn a_window_update_and_an_ack_of_nothing_new_are_told_apart() {
    let dialogue = Dialogue::open().exchange(b"one\n").ack(Client);
    let dialogue = dialogue.packet(Client, ACK, b"", |segment| segment.window = 900);
    let counted = count(&dialogue.close().pcap());
    assert_eq!(counted.packet(7).kind, Kind::DuplicateAck);
    assert_eq!(counted.packet(8).kind, Kind::WindowUpdate);
}

/// `-i any` on a bridge: each packet once per device.
#[test]
fn one_capture_point_counts_where_devices_are_told_apart() {
    let dialogue = Dialogue::open().exchange(b"hello\n").close();
    let mut frames = Vec::new();
    for segment in &dialogue.segments {
        let from_client = segment.from.port() == 40_000;
        for (device, direction) in [(5, if from_client { 0 } else { 4 }), (4, 0)] {
            frames.push((segment.time, segment.sll2(device, direction)));
        }
    }
    let counted = count_with(&pcap(276, &frames), one_packet());
    assert_eq!(counted.phases(), [3, 3, 3]);
    assert_eq!(counted.report().counts.elsewhere, 9);
    assert_eq!(counted.report().point.device, 5);
    assert_eq!(counted.verdict(), Verdict::Met);

    // Loopback in a raw capture: the same device, once out and once in.
    let both = |segment: &crate::support::frame::Segment| {
        [4, 0].map(|direction| (segment.time, segment.sll2(1, direction)))
    };
    let frames: Vec<_> = dialogue.segments.iter().flat_map(both).collect();
    let counted = count_with(&pcap(276, &frames), one_packet());
    assert_eq!(
        (counted.phases(), counted.verdict()),
        ([3, 3, 3], Verdict::Met)
    );
}

#[test]
fn two_interfaces_of_a_file_are_two_capture_points() {
    let mut file = Pcapng::new(Order::Little);
    file.interface(1, 0, &[]);
    file.interface(101, 0, &[]);
    for segment in Dialogue::open().exchange(b"hello\n").close().segments {
        let time = u64::try_from(segment.time / 1000).unwrap();
        let (first, second) = (segment.ip(), segment.ethernet());
        file.packet(1, time, &first, first.len());
        file.packet(0, time, &second, second.len());
    }
    let counted = count_with(&file.bytes, one_packet());
    assert_eq!(
        (counted.phases(), counted.verdict()),
        ([3, 3, 3], Verdict::Met)
    );
    assert_eq!(counted.report().point.interface, 1);
}

#[test]
fn a_capture_point_with_one_direction_cannot_tell() {
    let mut frames = Vec::new();
    for segment in Dialogue::open().exchange(b"hello\n").close().segments {
        let device = if segment.from.port() == 40_000 { 5 } else { 6 };
        frames.push((segment.time, segment.sll2(device, 0)));
    }
    count_with(&pcap(276, &frames), one_packet()).cannot_tell(Undecided::OneDirection);
}

/// SLL has no device: within a millisecond the same packet is a suspected duplicate.
#[test]
fn duplicates_that_cannot_be_told_apart_are_not_counted_and_undecide() {
    let dialogue = Dialogue::open().exchange(b"hello\n").close();
    let twice = |segment: &crate::support::frame::Segment| {
        [0, 10_000].map(|later| (segment.time + later, segment.sll(0)))
    };
    let frames: Vec<_> = dialogue.segments.iter().flat_map(twice).collect();
    let counted = count_with(&pcap(113, &frames), one_packet());
    assert_eq!(counted.phases(), [3, 3, 3]);
    assert_eq!(
        (counted.report().counts.duplicates, counts(&counted)),
        (9, (0, 0, 0))
    );
    counted.cannot_tell(Undecided::Duplicates);

    // On Ethernet, the identification shows it; without one it was sent again.
    for (id, duplicates) in [(7, 1), (0, 0)] {
        let mut dialogue = dialogue.clone();
        dialogue.segments[4].id = id;
        let again = dialogue.segments[4].clone();
        dialogue.segments.insert(5, again);
        let counted = count(&dialogue.pcap());
        assert_eq!(counted.report().counts.duplicates, duplicates);
        assert_eq!(counts(&counted).0, 1 - duplicates);
    }
}
