//! Captures: whatever a file holds, it is read to its end, and each of its packets is in one
//! count.

use std::io::{self, Read};

use super::support::dialogue::{Client, Dialogue, Server};
use super::support::file::{
    KUZNETZOV, Kind as FileKind, MICROSECONDS, NANOSECONDS, Order, Pcap, Pcapng,
};
use super::support::frame::Segment;
use super::support::strict;
use crate::capture::{Analysis, Event, Kind, Options, Packet, Reader, Report, Summary, Verdict};

const LINK_TYPES: [u16; 14] = [
    0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 9, 51, 147, 0xffff,
];

/// Bytes of the input that make a packet, before its data.
const DRAWN: usize = 8;

/// The first two bytes choose the options, the container and the link type, and what the
/// others are: a file, its frames, or the segments of its connections.
pub fn capture(input: &[u8]) {
    let Some((&[choice, form], input)) = input.split_first_chunk() else {
        return;
    };
    let file = match choice % 8 {
        0..=1 => input.to_vec(),
        2..=3 => file(
            form,
            input.chunks(1 + usize::from(form)).map(<[u8]>::to_vec),
        ),
        _ => file(
            form,
            segments(input).iter().map(|segment| frame(form, segment)),
        ),
    };
    let mut options = strict();
    if choice & 0x80 != 0 {
        options.max_connections = 2;
    }
    if choice & 0x40 != 0 {
        options.port = Some(3000);
    }
    let Some(counted) = Counted::read(&file[..], options) else {
        return;
    };
    counted.check();
    let in_pieces = Counted::read(Trickle(&file), options).expect("the same capture");
    assert_eq!(counted.told(), in_pieces.told());
}

/// A file of frames. `form` chooses the container and the link type.
fn file(form: u8, frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let link = LINK_TYPES[usize::from(form & 15) % LINK_TYPES.len()];
    let order = [Order::Little, Order::Big][usize::from(form >> 4 & 1)];
    let mut time = super::support::dialogue::START;
    let times = frames.map(|frame| {
        time += i64::from(frame.len() as u8) * 10_000_000;
        (time, frame)
    });
    if form & 0xc0 == 0xc0 {
        let mut file = Pcapng::new(order);
        file.interface(link, 0, &[(9, &[9])]);
        for (time, frame) in times {
            file.packet(0, time.cast_unsigned(), &frame, frame.len());
        }
        return file.bytes;
    }
    let magic = [MICROSECONDS, NANOSECONDS, KUZNETZOV][usize::from(form >> 6)];
    let mut file = Pcap::of(FileKind {
        order,
        magic,
        minor: 3 + u16::from(form >> 5 & 1),
        snaplen: 262_144,
        link: link.into(),
    });
    for (time, frame) in times {
        file.record(time, &frame, frame.len());
    }
    file.bytes
}

fn frame(form: u8, segment: &Segment) -> Vec<u8> {
    match LINK_TYPES[usize::from(form & 15) % LINK_TYPES.len()] {
        0 => [&2_u32.to_le_bytes()[..], &segment.ip()].concat(),
        108 => [&2_u32.to_be_bytes()[..], &segment.ip()].concat(),
        113 => segment.sll(u16::from(segment.id % 5 == 0)),
        276 => segment.sll2(u32::from(segment.id % 3 == 0), 0),
        1 => segment.ethernet(),
        _ => segment.ip(),
    }
}

/// Segments of a few connections: eight bytes say how each differs from what its sender would
/// send next, and how many of the bytes that follow are its data.
fn segments(mut input: &[u8]) -> Vec<Segment> {
    let mut dialogue = Dialogue::open();
    while let Some((drawn, rest)) = input.split_first_chunk::<DRAWN>() {
        let [side, flags, back, far, acked, window, len, time] = *drawn;
        let data = &rest[..rest.len().min(usize::from(len & 31))];
        input = &rest[data.len()..];
        let back = i32::from(back.cast_signed()) << (far & 31);
        let from = if side & 1 == 0 { Client } else { Server };
        let flags = u16::from(flags) | u16::from(side & 2) << 7;
        dialogue = dialogue.packet(from, flags, data, |segment| {
            // Most are as they should be.
            if side & 12 == 0 {
                segment.seq = segment.seq.wrapping_add_signed(back);
            }
            segment.ack = segment.ack.wrapping_add_signed(acked.cast_signed().into());
            segment.window = window.into();
            segment.time += i64::from(time.cast_signed()) << 26;
            let end = if side & 1 == 0 {
                &mut segment.from
            } else {
                &mut segment.to
            };
            end.set_port(40_000 + u16::from(side >> 6));
            if side & 0x30 == 0x30 {
                segment.options = vec![1; 4 * usize::from(time & 7)];
            }
        });
    }
    dialogue.segments
}

/// What was found in a capture.
struct Counted {
    records: u64,
    packets: Vec<Packet>,
    reports: Vec<Report>,
    summary: Summary,
}

impl Counted {
    /// `None` if it is no capture.
    fn read(file: impl Read, options: Options) -> Option<Counted> {
        let mut reader = Reader::new(file).ok()?;
        let mut analysis = Analysis::new(options);
        let (mut records, mut packets, mut reports) = (0, Vec::new(), Vec::new());
        let mut sink = |event: Event<'_>| match event {
            Event::Packet(packet) => packets.push(*packet),
            Event::Connection(report) => reports.push(report.clone()),
        };
        let damaged = loop {
            match reader.next() {
                Ok(Some(record)) => {
                    records += 1;
                    analysis.packet(&record, &mut sink);
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let summary = analysis.finish(reader.notes(), None, damaged, &mut sink);
        Some(Counted {
            records,
            packets,
            reports,
            summary,
        })
    }

    /// Each packet of the file is in one count, and the verdict follows from the sums.
    fn check(&self) {
        let sum = |of: fn(&Report) -> u64| self.reports.iter().map(of).sum::<u64>();
        let other: u64 = self.summary.other.iter().map(|(_, count)| count).sum();
        let elsewhere = sum(|report| report.counts.elsewhere);
        assert_eq!(self.records, self.packets.len() as u64 + other + elsewhere);

        let (twice, once): (Vec<&Packet>, Vec<&Packet>) = self
            .packets
            .iter()
            .partition(|packet| packet.kind == Kind::Duplicate);
        assert_eq!(sum(|report| report.counts.duplicates), twice.len() as u64);
        let segments: u64 = once.iter().map(|packet| u64::from(packet.segments)).sum();
        let phases =
            sum(|report| report.counts.handshake + report.counts.exchange + report.counts.close);
        assert_eq!(phases, segments);

        assert!(self.packets.is_sorted_by(|a, b| a.number < b.number));
        let totals = &self.summary.totals;
        assert!(totals.matched + totals.wrong <= totals.requests + totals.echoes);
        let is_met = self.summary.verdict == Verdict::Met;
        assert!(!is_met || totals.wrong + totals.unexpected_packets + totals.not_closed == 0);
    }

    /// All of it.
    fn told(&self) -> String {
        let Counted {
            packets,
            reports,
            summary,
            ..
        } = self;
        format!("{packets:?} {reports:?} {summary:?}")
    }
}

/// Gives its bytes one by one.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}
