//! A capture that is shuffled, seen from several devices or cut: counts change only as
//! docs/counting.md says. (Packets sent again, swapped or left out are in `robust`.)

use echoline::capture::Verdict;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::dialogue::{Client, Dialogue, Server};
use crate::support::file::pcap;
use crate::support::{Counted, count_with, strict};

/// A connection of bursts of lines, each line in a packet of its own.
fn dialogue(bursts: &[u8]) -> Dialogue {
    let mut dialogue = Dialogue::open();
    let mut number = 0;
    for lines in bursts {
        let lines: Vec<String> = (0..*lines)
            .map(|_| {
                number += 1;
                format!("line {number}\n")
            })
            .collect();
        dialogue = dialogue.data(Client, lines.concat().as_bytes());
        for line in &lines {
            dialogue = dialogue.data(Server, line.as_bytes());
        }
        dialogue = dialogue.ack(Client);
    }
    dialogue.close()
}

/// All packets of the file: those of a phase, and those that are in no count.
fn all(counted: &Counted) -> u64 {
    let counts = counted.reports.iter().map(|report| {
        let counts = &report.counts;
        counts.handshake + counts.exchange + counts.close + counts.duplicates + counts.elsewhere
    });
    counts.sum()
}

proptest! {
    /// In any order: no echo is wrong, no line takes more packets, and no packet is lost.
    #[test]
    fn a_shuffled_capture_has_no_wrong_echo(
        bursts in vec(1_u8..5, 1..8), places in vec(any::<u32>(), 60),
    ) {
        let whole = dialogue(&bursts);
        let mut dialogue = whole.clone();
        // The SYN stays first, so that it is known which side is which.
        let times: Vec<i64> = whole.segments.iter().map(|segment| segment.time).collect();
        let mut order: Vec<usize> = (1..times.len()).collect();
        order.sort_by_key(|at| places[*at % places.len()]);
        for (at, from) in order.into_iter().enumerate() {
            dialogue.segments[at + 1] = whole.segments[from].clone();
            dialogue.segments[at + 1].time = times[at + 1];
        }
        let counted = count_with(&dialogue.pcap(), strict());
        prop_assert_eq!(counted.summary.totals.wrong, 0, "{:#?}", counted.reports);
        prop_assert_eq!(counted.summary.totals.unexpected_packets, 0, "{:#?}", counted.reports);
        prop_assert_ne!(counted.verdict(), Verdict::Failed);
        prop_assert_eq!(counted.summary.totals.again, 0);
        prop_assert_eq!(all(&counted), whole.segments.len() as u64);
    }

    /// What another device shows too is "seen elsewhere", and in no other count.
    #[test]
    fn packets_of_another_device_change_no_other_count(
        bursts in vec(1_u8..5, 1..8), twice in vec((any::<Index>(), 0_usize..9), 1..20),
    ) {
        let whole = dialogue(&bursts);
        let frames = whole.segments.iter();
        let mut frames: Vec<_> = frames.map(|s| (s.time, s.sll2(4, 0))).collect();
        let a = count_with(&pcap(276, &frames), strict());
        for (at, later) in &twice {
            let segment = &whole.segments[at.index(whole.segments.len())];
            // Not before the first packet, which chooses the capture point.
            let at = (at.index(frames.len()) + 1 + later).min(frames.len());
            frames.insert(at, (segment.time, segment.sll2(5, 0)));
        }
        let b = count_with(&pcap(276, &frames), strict());
        prop_assert_eq!(b.report().counts.elsewhere, twice.len() as u64);
        prop_assert_eq!(a.phases(), b.phases());
        prop_assert_eq!(a.packets_per_line(), b.packets_per_line());
        prop_assert_eq!(a.report().tally.ack_on_echo, b.report().tally.ack_on_echo);
        prop_assert_eq!((b.report().counts.again, b.report().counts.late), (0, 0));
        prop_assert_eq!(a.verdict(), b.verdict());
    }

    /// The first packets of a capture have no other lines than all of them.
    #[test]
    fn a_capture_cut_between_packets_has_the_first_lines(
        bursts in vec(1_u8..5, 1..8), end in any::<Index>(),
    ) {
        let whole = dialogue(&bursts);
        let mut dialogue = whole.clone();
        dialogue.segments.truncate(end.index(whole.segments.len() - 1) + 1);
        let echoes = dialogue.segments.iter();
        let echoes = echoes.filter(|s| s.from.port() == 3000 && !s.data.is_empty()).count() as u64;
        let counted = count_with(&dialogue.pcap(), strict());
        let totals = &counted.summary.totals;
        prop_assert_eq!((totals.wrong, totals.unexpected_packets, totals.not_captured), (0, 0, 0));
        prop_assert_eq!((totals.again, totals.late), (0, 0));
        prop_assert_eq!((totals.echo_packets, totals.matched), (echoes, echoes));
        prop_assert_eq!(all(&counted), dialogue.segments.len() as u64);
        // Proven only by what comes to its end.
        let is_whole = dialogue.segments.len() + 1 >= whole.segments.len();
        prop_assert_eq!(counted.verdict() == Verdict::Met, is_whole, "{:#?}", counted.summary);
        prop_assert_ne!(counted.verdict(), Verdict::Failed);
    }
}
