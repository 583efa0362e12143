//! Handshakes whose first SYN-ACKs are lost.

use std::net::SocketAddr;

use echoline::SegmentCounts;

use super::logged_counts;
use crate::support::clients::echo;
use crate::support::deadline::wait_for;
use crate::support::link::Family::{V4, V6};
use crate::support::link::Host::Client;
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::pcap::{FIN, SYN, Segment};
use crate::support::tcpdump::Tcpdump;

/// The connection takes over the count of its request
/// (`tcp_create_openreq_child` in Linux, `net/ipv4/tcp_minisocks.c`).
#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn repeated_syn_acks_are_retransmitted_in_the_record_and_in_no_other_count() {
    in_private_network(|| {
        for (number, family) in [(1, V4), (2, V6)] {
            let link = Link::new(number, 1500);
            let the_first_two = "numgen inc mod 1000000 < 2";
            let syn_ack = "tcp flags & (syn|ack) == syn|ack";
            link.on_arrival_at(Client, &format!("{syn_ack} {the_first_two} drop"));
            let daemon = start_daemon(&[]);
            let tcpdump = Tcpdump::start(&link.interface, "tcp");
            let client = link.connect(family);
            let local = client.local_addr().unwrap();
            echo(&client, b"hello\n");
            drop(client);
            let logged = logged_counts(&daemon.closing_record(local));
            let (received, sent) = captured_until_fins(&tcpdump, local);

            let syn_acks = sent.iter().filter(|segment| segment.has(SYN)).count();
            assert!(syn_acks >= 3, "two of {syn_acks} SYN-ACKs were dropped");
            // Of the client's SYNs only the first counts.
            let without_syns = received.iter().filter(|segment| !segment.has(SYN));
            let mut expected = SegmentCounts::default();
            expected.segs_in = 1 + without_syns.count() as u64;
            (expected.segs_out, expected.data_segs_out) = (1, 1);
            expected.data_segs_in = 1;
            expected.retransmitted = syn_acks as u64 - 1;
            assert_eq!(logged, expected, "{received:#?} {sent:#?}");
        }
    });
}

/// The segments from and to the client, each up to the FIN.
fn captured_until_fins(tcpdump: &Tcpdump, client: SocketAddr) -> (Vec<Segment>, Vec<Segment>) {
    wait_for("both FINs", || {
        let segments = tcpdump.segments();
        let (received, sent): (Vec<_>, Vec<_>) =
            segments.into_iter().partition(|s| s.from == client);
        Some((until_fin(received)?, until_fin(sent)?))
    })
}

fn until_fin(mut segments: Vec<Segment>) -> Option<Vec<Segment>> {
    let fin = segments.iter().position(|segment| segment.has(FIN))?;
    segments.truncate(fin + 1);
    Some(segments)
}
