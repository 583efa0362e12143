//! Link types, IP versions, and packets that are no TCP.

use echoline::capture::{Other, Undecided, Verdict};

use crate::support::dialogue::{Dialogue, START};
use crate::support::file::{Pcap, pcap};
use crate::support::frame::{Segment, ethernet, ipv4, ipv6};
use crate::support::{Counted, count, count_with, one_packet};

fn dialogue(ipv6: bool) -> Dialogue {
    let addrs = if ipv6 {
        ["[fd00::2]:40000", "[fd00::1]:3000"]
    } else {
        ["10.0.0.2:40000", "10.0.0.1:3000"]
    };
    Dialogue::between(addrs, [1, 2])
        .handshake()
        .exchange(b"hello\n")
        .close()
}

fn file(link_type: u32, ipv6: bool, frame: impl Fn(&Segment) -> Vec<u8>) -> Vec<u8> {
    let segments = dialogue(ipv6).segments;
    let frames: Vec<_> = segments
        .iter()
        .map(|segment| (segment.time, frame(segment)))
        .collect();
    pcap(link_type, &frames)
}

fn assert_counts(counted: &Counted) {
    assert_eq!(counted.phases(), [3, 3, 3]);
    assert_eq!(counted.packets_per_line(), [(1, 1)]);
    assert_eq!(counted.report().tally.ack_on_echo, 1);
}

#[test]
fn each_link_type_is_read_with_both_ip_versions() {
    for ipv6 in [false, true] {
        for tags in [
            &[][..],
            &[0x8100],
            &[0x88a8, 0x8100],
            &[0x9100, 0x9100, 0x8100],
        ] {
            assert_counts(&count(&file(1, ipv6, |segment| segment.tagged(tags))));
        }
        assert_counts(&count(&file(113, ipv6, |segment| segment.sll(0))));
        assert_counts(&count(&file(276, ipv6, |segment| segment.sll2(3, 4))));
        for raw in [12, 14, 101, if ipv6 { 229 } else { 228 }] {
            assert_counts(&count(&file(raw, ipv6, Segment::ip)));
        }
        let families: &[u32] = if ipv6 {
            &[24, 28, 30, 10, 23, 26]
        } else {
            &[2]
        };
        for family in families {
            for header in [family.to_be_bytes(), family.to_le_bytes()] {
                let frame = |segment: &Segment| [header.to_vec(), segment.ip()].concat();
                assert_counts(&count(&file(0, ipv6, frame)));
            }
            let frame = |segment: &Segment| [family.to_be_bytes().to_vec(), segment.ip()].concat();
            assert_counts(&count(&file(108, ipv6, frame)));
        }
        let protocol: [u8; 2] = if ipv6 { [0, 0x57] } else { [0, 0x21] };
        let frame = |segment: &Segment| pppoe(protocol, &segment.ip());
        assert_counts(&count(&file(1, ipv6, frame)));
    }
}

/// A frame of a session of `PPPoE`; its length is that of what PPP carries.
fn pppoe(protocol: [u8; 2], ip: &[u8]) -> Vec<u8> {
    let len = u16::try_from(2 + ip.len()).unwrap().to_be_bytes();
    let header = [&[0x11, 0, 0, 7][..], &len, &protocol].concat();
    ethernet(0x8864, &[&header, ip].concat())
}

/// Seen in a capture of zeek's tests (`pppoe-over-qinq`): the IP length counts 6 bytes that
/// stand behind the session's end.
#[test]
fn no_data_lie_behind_the_end_of_a_ppp_session() {
    for ipv6 in [false, true] {
        let protocol: [u8; 2] = if ipv6 { [0, 0x57] } else { [0, 0x21] };
        let frame = |segment: &Segment| {
            let mut ip = segment.ip();
            let at = if ipv6 { 4 } else { 2 };
            let len = u16::from_be_bytes([ip[at], ip[at + 1]]) + 6;
            let mut frame = pppoe(protocol, &ip);
            let header = frame.len() - ip.len();
            ip[at..at + 2].copy_from_slice(&len.to_be_bytes());
            frame[header..].copy_from_slice(&ip);
            frame.extend([b'\n'; 6]);
            frame
        };
        assert_counts(&count(&file(1, ipv6, frame)));
    }
}

/// Ethernet pads to 60 bytes; an ACK over IPv4 has 54.
#[test]
fn padding_is_no_data() {
    let frame = |segment: &Segment| {
        let mut frame = segment.ethernet();
        frame.resize(frame.len().max(60), b'\n');
        frame
    };
    assert_counts(&count(&file(1, false, frame)));
}

/// `-s 54`: the TCP options are cut.
#[test]
fn without_options_and_data_the_lengths_are_known() {
    let counted = count(&dialogue(false).pcap_cut(54));
    assert_eq!(counted.phases(), [3, 3, 3]);
    assert_eq!(counted.report().echo_packets, 1);
    assert_eq!(counted.verdict(), Verdict::Met);
    let counted = count_with(&dialogue(false).pcap_cut(54), one_packet());
    counted.cannot_tell(Undecided::Snaplen);
    assert_eq!(counted.report().counts.needed_snaplen, 60);
}

#[test]
fn a_cut_tcp_header_is_counted_and_undecides() {
    let counted = count_with(&dialogue(false).pcap_cut(50), one_packet());
    let other: Vec<_> = counted.summary.other.iter().collect();
    assert_eq!(other, [(Other::CutTcp, 9)]);
    assert_eq!(counted.verdict(), Verdict::NoEcho);
    let mut file = Pcap::new(1);
    for (at, segment) in dialogue(false).segments.iter().enumerate() {
        let frame = segment.ethernet();
        let cut = if at == 8 { 50 } else { frame.len() };
        file.record(segment.time, &frame[..cut], frame.len());
    }
    count_with(&file.bytes, one_packet()).cannot_tell(Undecided::Unreadable);
}

/// Segmentation offload, BIG TCP (`net.ipv4.tcp` with IPv4 length 0; a jumbogram).
#[test]
fn an_ip_length_of_zero_is_that_of_the_frame() {
    for ipv6 in [false, true] {
        let frame = |segment: &Segment| {
            let mut ip = segment.ip();
            let at = if ipv6 { 4 } else { 2 };
            ip[at..at + 2].fill(0);
            ip
        };
        assert_counts(&count(&file(101, ipv6, frame)));
    }
    let with_option = |segment: &Segment| {
        let mut ip = segment.ip();
        let len = u32::try_from(ip.len() - 40 + 8).unwrap();
        ip[4..6].fill(0);
        ip[6] = 0;
        let option = [&[6, 0, 0xc2, 4][..], &len.to_be_bytes()].concat();
        ip.splice(40..40, option);
        ip
    };
    assert_counts(&count(&file(101, true, with_option)));
}

#[test]
fn extension_headers_of_ipv6_are_passed_over() {
    let frame = |segment: &Segment| {
        let mut ip = segment.ip();
        // Hop-by-hop, destination options, AH (in words of 4 bytes), a fragment that is whole.
        let mut headers = vec![60, 0, 1, 4, 0, 0, 0, 0];
        headers.extend([51, 0, 1, 4, 0, 0, 0, 0]);
        headers.extend([44, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
        headers.extend([6, 0, 0, 0, 0, 0, 0, 9]);
        ip[6] = 0;
        let len = u16::from_be_bytes([ip[4], ip[5]]) + u16::try_from(headers.len()).unwrap();
        ip[4..6].copy_from_slice(&len.to_be_bytes());
        ip.splice(40..40, headers);
        ip
    };
    assert_counts(&count(&file(101, true, frame)));
}

/// A fragment's rest is in no connection, so that its bytes are missing.
#[test]
fn fragments_are_counted_and_undecide() {
    let dialogue = dialogue(false);
    let mut frames: Vec<_> = dialogue.segments.iter().map(|s| (s.time, s.ip())).collect();
    // The echo is packet 5: 20 bytes of TCP header and 6 of data, of which 4 come first.
    let (time, echo) = frames[4].clone();
    let addrs = [[10, 0, 0, 1], [10, 0, 0, 2]];
    frames[4].1 = ipv4(6, 7, 0x2000, addrs, &echo[20..44]);
    frames.insert(5, (time, ipv4(6, 7, 3, addrs, &echo[44..])));
    let counted = count_with(&pcap(101, &frames), one_packet());
    assert_eq!(
        counted.summary.other.iter().collect::<Vec<_>>(),
        [(Other::TcpFragment, 1)]
    );
    counted.cannot_tell(Undecided::Fragments);
    counted.cannot_tell(Undecided::NotCaptured);
    assert_eq!(counted.report().not_captured, 2);
}

/// It quotes the header of the packet that it is about.
#[test]
fn an_icmp_error_is_no_packet_of_the_connection() {
    let dialogue = dialogue(false);
    let quoted = dialogue.segments[3].ip();
    let icmp = [&[3, 1, 0, 0, 0, 0, 0, 0], &quoted[..28]].concat();
    let error = ipv4(1, 0, 0, [[10, 0, 0, 9], [10, 0, 0, 2]], &icmp);
    let mut frames: Vec<_> = dialogue.segments.iter().map(|s| (s.time, s.ip())).collect();
    frames.insert(4, (START, error));
    let counted = count(&pcap(101, &frames));
    assert_counts(&counted);
    assert_eq!(
        counted.summary.other.iter().collect::<Vec<_>>(),
        [(Other::IpProtocol(1), 1)]
    );
}

#[test]
fn what_is_no_tcp_is_named_and_counted() {
    let udp = ipv6(17, [[0; 16]; 2], &[0; 8]);
    let frames = [
        (START, ethernet(0x0806, &[0; 28])),
        (START, ethernet(0x86dd, &udp)),
        (START, ethernet(0x86dd, &ipv6(58, [[0; 16]; 2], &[0; 8]))),
        (
            START,
            ethernet(0x0800, &ipv4(1, 0, 0, [[0; 4]; 2], &[0; 8])),
        ),
        (START, ethernet(0x0026, &[0; 38])),
        (START, ethernet(0x0800, &[0x95; 40])),
        (START, vec![0; 13]),
    ];
    let counted = count(&pcap(1, &frames));
    let names: Vec<_> = counted
        .summary
        .other
        .iter()
        .map(|(other, n)| format!("{n} {other}"))
        .collect();
    assert_eq!(
        names,
        [
            "1 cut before the end of the headers",
            "1 malformed",
            "1 EtherType 0x0026",
            "1 ARP",
            "1 ICMP",
            "1 UDP",
            "1 ICMPv6"
        ]
    );
    let counted = count(&pcap(105, &frames));
    let names: Vec<_> = counted
        .summary
        .other
        .iter()
        .map(|(other, n)| format!("{n} {other}"))
        .collect();
    assert_eq!(names, ["7 link type 105, which is not read"]);
}
