//! Every kind of file.

use std::io::ErrorKind;

use echoline::capture::Reader;

use crate::support::dialogue::{Dialogue, START};
use crate::support::file::{KUZNETZOV, Kind, MICROSECONDS, NANOSECONDS, Order, Pcap, Pcapng};
use crate::support::{Counted, count};

fn dialogue() -> Dialogue {
    Dialogue::open().exchange(b"hello\n").close()
}

fn assert_counts(counted: &Counted) {
    assert_eq!(counted.phases(), [3, 3, 3], "{:#?}", counted.summary);
    assert_eq!(counted.packets_per_line(), [(1, 1)]);
    let second = &counted.packets[1];
    assert_eq!((second.number, second.time), (2, START + 200_000));
    assert_eq!(second.since, 100_000);
}

#[test]
fn a_pcap_is_read_in_each_unit_order_and_version() {
    for order in [Order::Little, Order::Big] {
        for magic in [MICROSECONDS, NANOSECONDS, KUZNETZOV] {
            for (minor, snaplen) in [(4, 262_144), (3, 0), (4, 10)] {
                // Bits of a frame check sequence of 4 bytes, and a reserved one.
                for link in [1, 1 | 0x2400_0000, 1 | 0x0800_0000] {
                    let kind = Kind {
                        order,
                        magic,
                        minor,
                        snaplen,
                        link,
                    };
                    let mut file = Pcap::of(kind);
                    for segment in dialogue().segments {
                        let mut frame = segment.ethernet();
                        if link & 0x0400_0000 != 0 {
                            frame.extend([9; 4]);
                        }
                        file.record(segment.time, &frame, frame.len());
                    }
                    assert_counts(&count(&file.bytes));
                }
            }
        }
    }
}

#[test]
fn more_bytes_than_the_packet_had_are_read_as_they_are() {
    let mut file = Pcap::new(1);
    for segment in dialogue().segments {
        let frame = segment.ethernet();
        file.record(segment.time, &frame, frame.len() - 2);
    }
    assert_counts(&count(&file.bytes));
}

#[test]
fn a_fraction_of_a_second_may_be_more_than_a_second() {
    let mut file = Pcap::new(1);
    let segments = dialogue().segments;
    for segment in &segments {
        let frame = segment.ethernet();
        file.record(segment.time - 1_000_000_000, &frame, frame.len());
        let record = file.bytes.len() - frame.len() - 16;
        let micros = u32::from_le_bytes(file.bytes[record + 4..record + 8].try_into().unwrap());
        file.bytes[record + 4..record + 8].copy_from_slice(&(micros + 1_000_000).to_le_bytes());
    }
    assert_counts(&count(&file.bytes));
}

/// Ticks of the time, in units of 2^`bits` or 10^`digits` per second.
fn ticks(time: i64, units: u128) -> u64 {
    u64::try_from(u128::try_from(time).unwrap() * units / 1_000_000_000).unwrap()
}

#[test]
fn a_pcapng_is_read_in_each_order_and_resolution() {
    for order in [Order::Little, Order::Big] {
        for (resolution, units, offset) in [
            (6, 1_000_000, 0_i64),
            (9, 1_000_000_000, 0),
            (7, 10_000_000, -3600),
            (0x80 | 0x14, 1 << 20, 1_000_000),
            (12, 1_000_000_000_000, 1_767_220_000), // Picoseconds: 64 bits are 213 days.
        ] {
            let mut file = Pcapng::new(order);
            let seconds = match order {
                Order::Little => offset.to_le_bytes(),
                Order::Big => offset.to_be_bytes(),
            };
            file.interface(
                1,
                0,
                &[(1, b"\xff no UTF-8"), (9, &[resolution]), (14, &seconds)],
            );
            for segment in dialogue().segments {
                let frame = segment.ethernet();
                let time = segment.time - offset * 1_000_000_000;
                file.packet(0, ticks(time, units), &frame, frame.len());
            }
            let counted = count(&file.bytes);
            assert_eq!(counted.phases(), [3, 3, 3]);
            let error = counted.packets[1].time - START - 200_000;
            // 2^-20 s is about a microsecond.
            assert!(
                (-1000..=0).contains(&error),
                "{order:?} {resolution} {error}"
            );
        }
    }
}

#[test]
fn sections_have_interfaces_and_a_byte_order_of_their_own() {
    let segments = dialogue().segments;
    let mut file = Pcapng::new(Order::Little);
    file.block(0x0bad_cafe, &[1; 100]);
    file.interface(276, 0, &[]);
    file.interface(1, 0, &[]);
    let micros = |time: i64| u64::try_from(time / 1000).unwrap();
    for segment in &segments[..4] {
        let frame = segment.ethernet();
        file.packet(1, micros(segment.time), &frame, frame.len());
    }
    // The same interface by its place in the file would be another capture point.
    let first = count(&file.bytes);
    assert_eq!(first.packets.len(), 4);
    file.section(Order::Big);
    file.interface(101, 0, &[]);
    let raw = segments[4].ip();
    file.packet(0, micros(segments[4].time), &raw, raw.len());
    let counted = count(&file.bytes);
    assert_eq!(counted.report().counts.elsewhere, 1);
    assert_eq!(counted.report().point.interface, 1);
}

#[test]
fn an_interface_may_be_described_after_packets_of_another() {
    let mut file = Pcapng::new(Order::Big);
    file.interface(1, 0, &[]);
    let micros = |time: i64| u64::try_from(time / 1000).unwrap();
    for segment in dialogue().segments {
        let frame = segment.ethernet();
        file.packet(0, micros(segment.time), &frame, frame.len());
        file.interface(101, 0, &[]);
    }
    assert_counts(&count(&file.bytes));
}

#[test]
fn obsolete_and_simple_packet_blocks_are_packets() {
    for order in [Order::Little, Order::Big] {
        let mut file = Pcapng::new(order);
        file.interface(1, 0, &[]);
        for segment in dialogue().segments {
            let time = u64::try_from(segment.time / 1000).unwrap();
            file.obsolete_packet(0, time, &segment.ethernet());
        }
        assert_counts(&count(&file.bytes));

        // Without padding, and cut by the interface's snaplen.
        let mut file = Pcapng::new(order);
        file.interface(1, 58, &[]);
        for segment in dialogue().segments {
            let frame = segment.ethernet();
            file.simple_packet(&frame[..frame.len().min(58)], frame.len());
        }
        let counted = count(&file.bytes);
        assert_eq!(counted.phases(), [3, 3, 3]);
        assert_eq!(counted.report().counts.cut, 2);
        assert_eq!(counted.report().counts.needed_snaplen, 60);
    }
}

#[test]
fn statistics_say_until_when_the_capture_ran_and_what_it_lost() {
    let mut file = Pcapng::new(Order::Big);
    file.interface(1, 0, &[]);
    for segment in dialogue().segments {
        let frame = segment.ethernet();
        file.packet(
            0,
            u64::try_from(segment.time / 1000).unwrap(),
            &frame,
            frame.len(),
        );
    }
    file.statistics(u64::try_from(START / 1000).unwrap() + 5_000_000, 7);
    let notes = count(&file.bytes).notes;
    assert_eq!((notes.end, notes.dropped), (Some(START + 5_000_000_000), 7));
}

#[test]
fn a_cut_last_record_is_noted_and_what_precedes_it_counts() {
    let file = dialogue().pcap();
    for cut in [1, 54, 60, 69] {
        let counted = count(&file[..file.len() - cut]);
        assert!(counted.notes.cut, "{cut}");
        assert_eq!(counted.phases(), [3, 3, 2]);
    }
    assert!(!count(&file).notes.cut);

    let mut file = Pcapng::new(Order::Little);
    file.interface(1, 0, &[]);
    for segment in dialogue().segments {
        let frame = segment.ethernet();
        file.packet(
            0,
            u64::try_from(segment.time / 1000).unwrap(),
            &frame,
            frame.len(),
        );
    }
    let counted = count(&file.bytes[..file.bytes.len() - 2]);
    assert!(counted.notes.cut);
    assert_eq!(counted.phases(), [3, 3, 2]);
}

#[test]
fn what_is_no_capture_says_so() {
    for (bytes, why) in [
        (&b""[..], "less than 4 bytes"),
        (b"abc", "less than 4 bytes"),
        (b"hello, world", "neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "its header is cut"),
    ] {
        let error = Reader::new(bytes).err().expect("an error");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_damaged_file_is_an_error_after_what_precedes() {
    let mut file = dialogue().pcap();
    file.extend([0xff; 64]);
    let mut reader = Reader::new(&file[..]).unwrap();
    for _ in 0..9 {
        assert!(reader.next().unwrap().is_some());
    }
    assert_eq!(reader.next().unwrap_err().kind(), ErrorKind::InvalidData);

    let mut file = Pcapng::new(Order::Little);
    file.packet(0, 0, b"", 0);
    let error = Reader::new(&file.bytes[..]).unwrap().next().unwrap_err();
    assert!(error.to_string().contains("a packet"), "{error}");
}
