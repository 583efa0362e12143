//! Whatever a file holds, it is read to its end, and counts change only as they must.

use echoline::capture::{Options, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::dialogue::{Client, Dialogue, Server};
use crate::support::file::{Order, Pcapng, pcap};
use crate::support::{count_with, strict};

/// Several exchanges, of bursts too, with echoes in segments of their own or together.
fn dialogue(bursts: &[(u8, bool)]) -> Dialogue {
    dialogue_of(bursts, |number| format!("line {number}\n"))
}

fn dialogue_of(bursts: &[(u8, bool)], line: impl Fn(u32) -> String) -> Dialogue {
    let mut dialogue = Dialogue::open();
    let mut number = 0;
    for (lines, together) in bursts {
        let lines: Vec<Vec<u8>> = (0..*lines)
            .map(|_| {
                number += 1;
                line(number).into_bytes()
            })
            .collect();
        dialogue = dialogue.data(Client, &lines.concat());
        if *together {
            dialogue = dialogue.data(Server, &lines.concat());
        } else {
            for line in &lines {
                dialogue = dialogue.data(Server, line);
            }
        }
        dialogue = dialogue.ack(Client);
    }
    dialogue.close()
}

fn pcapng(dialogue: &Dialogue) -> Vec<u8> {
    let mut file = Pcapng::new(Order::Big);
    file.interface(1, 0, &[(9, &[9]), (14, &[0; 8])]);
    for segment in &dialogue.segments {
        let frame = segment.ethernet();
        file.packet(0, u64::try_from(segment.time).unwrap(), &frame, frame.len());
    }
    file.statistics(u64::MAX, 3);
    file.bytes
}

fn bursts() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((1_u8..5, any::<bool>()), 1..8)
}

proptest! {
    #[test]
    fn random_bytes_after_a_header_are_read_to_their_end(
        bytes in vec(any::<u8>(), 0..2000), link in 0_u32..300, kind in 0_u8..3,
    ) {
        let mut file = match kind {
            0 => pcap(link, &[]),
            1 => pcapng(&Dialogue::open()),
            _ => Vec::new(),
        };
        file.extend(bytes);
        if file.len() >= 24 && kind < 2 {
            count_with(&file, strict());
        } else {
            drop(echoline::capture::Reader::new(&file[..]));
        }
    }

    #[test]
    fn frames_of_random_bytes_are_read_to_their_end(
        frames in vec(vec(any::<u8>(), 0..120), 1..40), link in 0_u32..300,
    ) {
        let frames: Vec<_> = frames.into_iter().map(|frame| (0, frame)).collect();
        count_with(&pcap(link, &frames), strict());
    }

    /// One connection of segments with any numbers, which is what most code sees.
    #[test]
    fn segments_with_random_fields_are_read_to_their_end(
        segments in vec(
            (any::<bool>(), 0_u16..0x200, -50_i32..50, any::<Option<i32>>(), vec(0_u8..20, 0..20), -9_i64..9),
            1..120,
        ),
    ) {
        let mut dialogue = Dialogue::open();
        for (client, flags, back, far, data, time) in segments {
            let side = if client { Client } else { Server };
            dialogue = dialogue.wait(time * 300_000_000).packet(side, flags, &data, |segment| {
                segment.seq = segment.seq.wrapping_add_signed(far.unwrap_or(back));
                segment.ack = segment.ack.wrapping_add_signed(back);
                segment.window = u16::try_from(back.max(0)).unwrap();
            });
            dialogue.segments.last_mut().unwrap().time += 20_000_000_000;
        }
        for limit in [1, 100] {
            let mut options = strict();
            options.max_connections = limit;
            count_with(&dialogue.pcap(), options);
        }
    }

    #[test]
    fn a_capture_with_changed_bytes_is_read_to_its_end(
        bursts in bursts(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        ng in any::<bool>(),
    ) {
        let dialogue = dialogue(&bursts);
        let mut file = if ng { pcapng(&dialogue) } else { dialogue.pcap() };
        for (at, byte) in changes {
            let at = at.index(file.len() - 24) + 24;
            file[at] = byte;
        }
        count_with(&file, strict());
    }

    #[test]
    fn a_capture_cut_anywhere_is_read_to_its_end(
        bursts in bursts(), at in any::<prop::sample::Index>(), ng in any::<bool>(),
    ) {
        let dialogue = dialogue(&bursts);
        let file = if ng { pcapng(&dialogue) } else { dialogue.pcap() };
        let at = at.index(file.len() - 24) + 24;
        let counted = count_with(&file[..at], strict());
        prop_assert_eq!(counted.summary.totals.wrong, 0);
    }

    /// Without packets, a capture never shows what its whole does not: no wrong echo, no line
    /// in another number of packets; and it is met only if nothing of it is missing.
    #[test]
    fn without_packets_nothing_wrong_is_counted(
        bursts in vec((1_u8..5, any::<bool>()), 1..50),
        missing in vec(any::<prop::sample::Index>(), 1..9), kinds in 1_u32..5,
    ) {
        // Few kinds of lines: what follows a hole may look like what was lost.
        let dialogue = dialogue_of(&bursts, |number| "x".repeat((number % kinds) as usize) + "\n");
        let numbers: Vec<usize> =
            missing.iter().map(|at| at.index(dialogue.segments.len()) + 1).collect();
        let data_missing = numbers.iter().any(|at| !dialogue.segments[at - 1].data.is_empty());
        let counted = count_with(&dialogue.clone().without(&numbers).pcap(), strict());
        let totals = &counted.summary.totals;
        prop_assert_eq!(totals.wrong, 0, "{:#?}", counted.reports);
        prop_assert_eq!(totals.unexpected_packets, 0, "{:#?}", counted.reports);
        prop_assert!(counted.verdict() != Verdict::Failed, "{:#?}", counted.summary);
        if data_missing && numbers.iter().all(|at| *at > 3) {
            prop_assert_ne!(counted.verdict(), Verdict::Met, "{:#?}", counted.reports);
        }
    }

    #[test]
    fn a_capture_that_begins_anywhere_has_no_wrong_echo(
        bursts in vec((1_u8..5, any::<bool>()), 1..20),
        begin in any::<prop::sample::Index>(), kinds in 1_u32..9,
    ) {
        let line = |number: u32| "x".repeat((number % kinds) as usize) + "\n";
        let dialogue = dialogue_of(&bursts, line);
        let begin = begin.index(dialogue.segments.len());
        let before: Vec<usize> = (1..=begin).collect();
        let counted = count_with(&dialogue.without(&before).pcap(), strict());
        prop_assert_eq!(counted.summary.totals.wrong, 0, "{} {:#?}", begin, counted.reports);
        prop_assert_eq!(counted.summary.totals.unexpected_packets, 0);
    }

    /// Packets that come twice change the counts of "again" and of the phases, and no other.
    #[test]
    fn packets_sent_again_change_no_line(
        bursts in bursts(), again in vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let whole = dialogue(&bursts);
        let mut dialogue = whole.clone();
        let mut numbers: Vec<usize> =
            again.iter().map(|at| at.index(whole.segments.len())).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for at in numbers.iter().rev() {
            let mut copy = dialogue.segments[*at].clone();
            copy.id += 20_000;
            dialogue.segments.insert(at + 1, copy);
        }
        let takes_number = |at: &&usize| {
            let segment = &whole.segments[**at];
            !segment.data.is_empty() || segment.flags & 3 != 0
        };
        let expected = numbers.iter().filter(takes_number).count() as u64;
        let (a, b) = (count_with(&whole.pcap(), strict()), count_with(&dialogue.pcap(), strict()));
        let (a_totals, b_totals) = (&a.summary.totals, &b.summary.totals);
        prop_assert_eq!(b_totals.again, expected);
        prop_assert_eq!(a_totals.echo_packets, b_totals.echo_packets);
        prop_assert_eq!(&a_totals.packets_per_line, &b_totals.packets_per_line);
        prop_assert_eq!(a_totals.ack_on_echo, b_totals.ack_on_echo);
        prop_assert_eq!(a.verdict(), b.verdict());
        let all = |counted: &crate::support::Counted| counted.phases().iter().sum::<u64>();
        prop_assert_eq!(all(&b), all(&a) + numbers.len() as u64);
    }

    /// In another order, at most a few places away: the same lines, at most late.
    #[test]
    fn packets_out_of_order_change_no_line(
        bursts in bursts(), swaps in vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let whole = dialogue(&bursts);
        let mut dialogue = whole.clone();
        for at in swaps {
            // The handshake and the close stay.
            let last = dialogue.segments.len() - 5;
            let at = 4 + at.index(last - 3);
            dialogue = dialogue.swapped(at, at + 1);
        }
        let (a, b) =
            (count_with(&whole.pcap(), strict()), count_with(&dialogue.pcap(), strict()));
        prop_assert_eq!(b.summary.totals.wrong, 0, "{:#?}", b.reports);
        prop_assert_eq!(b.summary.totals.not_captured, 0);
        prop_assert_eq!(&a.summary.totals.packets_per_line, &b.summary.totals.packets_per_line);
        prop_assert!(b.verdict() != Verdict::Failed);
    }

    /// A snaplen changes no count of packets, and lines are right or not known.
    #[test]
    fn a_snaplen_undecides_and_never_changes_a_packet(bursts in bursts(), snaplen in 54_usize..120) {
        let dialogue = dialogue(&bursts);
        let (a, b) =
            (count_with(&dialogue.pcap(), strict()), count_with(&dialogue.pcap_cut(snaplen), strict()));
        prop_assert_eq!(a.phases(), b.phases());
        prop_assert_eq!(b.summary.totals.wrong, 0, "{:#?}", b.reports);
        prop_assert_eq!(b.summary.totals.echo_packets, a.summary.totals.echo_packets);
        prop_assert_eq!(b.summary.totals.unexpected_packets, 0, "{:#?}", b.reports);
        let is_cut = dialogue.segments.iter().any(|segment| !segment.data.is_empty() && segment.ethernet().len() > snaplen);
        prop_assert_eq!(b.verdict() == Verdict::CannotTell, is_cut, "{:#?}", b.summary);
    }
}

/// The memory of a connection is bounded, whatever waits in it.
#[test]
fn bytes_after_a_hole_are_bounded() {
    let mut dialogue = Dialogue::open().data(Client, b"lost");
    for _ in 0..500 {
        dialogue = dialogue.data(Client, &b"0123456789abcde\n".repeat(60));
    }
    let file = dialogue.without(&[4]).pcap();
    let counted = count_with(&file, Options::default());
    // After 64 KiB the hole is given up, and the rest is cut into lines.
    assert!(
        counted.report().tally.requests > 29_000,
        "{:#?}",
        counted.report()
    );
}
