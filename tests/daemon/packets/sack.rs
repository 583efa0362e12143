//! Long lines while received data has holes, for which the server sends SACK blocks.

use std::net::SocketAddr;

use crate::support::clients::{line_of, send_and_read_to_end};
use crate::support::deadline::wait_for;
use crate::support::link::Family::{self, V4, V6};
use crate::support::link::Host::Server;
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::pcap::{FIN, SYN, Segment};
use crate::support::tcpdump::Tcpdump;

/// TCP options take at most 40 bytes of a segment. The MSS allows for the 12 of the
/// timestamps; SACK blocks take up to 28 more.
#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn a_line_of_28_bytes_less_than_the_mss_is_never_cut_for_sack_blocks() {
    in_private_network(|| {
        let mut numbers = 1..;
        for (family, mss) in [(V4, 1448), (V6, 1428)] {
            let mut count = |len| count_cut_segments(numbers.next().unwrap(), family, len);
            assert_eq!(count(mss - 28), 0);
            // A line of one byte more is cut if there are three SACK blocks. That is not
            // certain, so the count is only printed.
            count(mss - 27);
            assert_ne!(count(mss), 0, "the same loss cuts longer lines");
        }
    });
}

/// Has 2,000 lines of `len` bytes echoed with `--packet-per-line`; returns how many of the
/// server's data segments are not exactly one line.
fn count_cut_segments(number: u8, family: Family, len: usize) -> usize {
    let link = Link::new(number, 1500);
    lose_data_at_the_server(&link);
    let _daemon = start_daemon(&["--packet-per-line"]);
    let tcpdump = Tcpdump::start(&link.interface, "tcp");
    let client = link.connect(family);
    let lines = line_of(len).repeat(2000);
    let echoed = send_and_read_to_end(&client, &lines);
    assert!(echoed == lines, "the echo differs");
    let (server, local) = (link.address(Server, family), client.local_addr().unwrap());
    let sent = captured_until_fin(&tcpdump, server, local);
    let (whole, cut) = partition_by_line(&sent, len);
    println!(
        "{family:?}, lines of {len} bytes: {} segments of a line, {} others",
        whole.len(),
        cut.len()
    );
    let bytes: usize = whole.iter().chain(&cut).map(|segment| segment.len).sum();
    assert!(bytes >= lines.len(), "the capture is not complete");
    cut.len()
}

/// Drops four of each 100 data segments of the client, every other one: the server has up
/// to three holes in received data. ACKs are not dropped, as window probes would follow.
fn lose_data_at_the_server(link: &Link) {
    let loss = "meta length > 500 numgen inc mod 100 { 0, 2, 4, 6 } drop";
    link.on_arrival_at(Server, loss);
}

/// The segments from `from` to `to`, once a FIN is among them.
fn captured_until_fin(tcpdump: &Tcpdump, from: SocketAddr, to: SocketAddr) -> Vec<Segment> {
    wait_for("the FIN", || {
        let mut segments = tcpdump.segments();
        segments.retain(|segment| segment.from == from && segment.to == to);
        segments.iter().any(|s| s.has(FIN)).then_some(segments)
    })
}

/// Divides the data segments of one direction into those that are exactly one line of
/// `len` bytes and the others.
fn partition_by_line(segments: &[Segment], len: usize) -> (Vec<&Segment>, Vec<&Segment>) {
    let syn = segments.iter().find(|segment| segment.has(SYN)).unwrap();
    let first = syn.seq.wrapping_add(1);
    let data = segments.iter().filter(|segment| segment.len > 0);
    data.partition(|segment| {
        let offset = segment.seq.wrapping_sub(first) as usize;
        segment.len == len && offset.is_multiple_of(len)
    })
}
