//! Ping's packet counts are those of a capture.

use std::net::SocketAddr;

use serde_json::Value;

use super::faulty_server::FaultyServer;
use super::program::Finished;
use super::{PACKET_PER_LINE, ping};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_for;
use crate::support::namespace::in_private_network;
use crate::support::pcap::{FIN, Segment};
use crate::support::tcpdump::Tcpdump;

/// Packets in the two directions, as ping sees them.
#[derive(Debug, PartialEq)]
struct Counts {
    out: u64,
    data_out: u64,
    received: u64,
    data_in: u64,
}

impl Counts {
    /// The counts in ping's summary object.
    fn printed(finished: &Finished) -> Counts {
        let summary: Value = serde_json::from_str(&finished.stdout).unwrap();
        let count = |name| summary["packets"][name].as_u64().unwrap();
        Counts {
            out: count("out"),
            data_out: count("data_out"),
            received: count("in"),
            data_in: count("data_in"),
        }
    }

    /// The counts of a capture of a connection to `server`.
    fn captured(segments: &[Segment], server: SocketAddr) -> Counts {
        let count = |out: bool, min_len: usize| {
            let is_counted = |s: &&Segment| (s.to == server) == out && s.len >= min_len;
            segments.iter().filter(is_counted).count() as u64
        };
        Counts {
            out: count(true, 0),
            data_out: count(true, 1),
            received: count(false, 0),
            data_in: count(false, 1),
        }
    }
}

fn start_tcpdump(server: SocketAddr) -> Tcpdump {
    Tcpdump::start("lo", &format!("tcp port {}", server.port()))
}

/// Waits until the capture has both FINs and their ACKs.
fn wait_for_close(tcpdump: &Tcpdump, server: SocketAddr) -> Vec<Segment> {
    wait_for("the end of the connection", || {
        let segments = tcpdump.segments();
        let closed = [true, false].map(|out| is_fin_acked(&segments, server, out));
        (closed == [true, true]).then_some(segments)
    })
}

/// Whether the FIN of ping (`out`) or of the server is acknowledged.
fn is_fin_acked(segments: &[Segment], server: SocketAddr, out: bool) -> bool {
    let is_fin = |s: &&Segment| (s.to == server) == out && s.has(FIN);
    segments.iter().find(is_fin).is_some_and(|fin| {
        let end = fin.seq.wrapping_add(u32::try_from(fin.len).unwrap() + 1);
        segments.iter().any(|s| s.from == fin.to && s.ack == end)
    })
}

/// Asserts that ping's counts are all those of the capture: the kernel acknowledges the
/// server's FIN before ping can read it and ask for the counts.
fn assert_counts_agree(args: &[&str], options: &str, data_packets: (u64, u64)) {
    let daemon = Daemon::start_with(args);
    let tcpdump = start_tcpdump(daemon.addr);
    let options = format!("{options} -q --json");
    let printed = Counts::printed(&ping(daemon.addr, &options).assert_exits(0));
    let segments = wait_for_close(&tcpdump, daemon.addr);
    println!("{options}: {printed:?}");
    let captured = Counts::captured(&segments, daemon.addr);
    assert_eq!(printed, captured, "{segments:?}");
    assert_eq!((printed.data_out, printed.data_in), data_packets);
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn the_packets_of_ping_are_those_of_a_capture() {
    in_private_network(|| {
        for args in [&[][..], PACKET_PER_LINE] {
            assert_counts_agree(args, "-c 100 -i 0", (100, 100));
            assert_counts_agree(args, "-c 1 --half-close", (1, 1));
        }
        assert_counts_agree(&[], "-c 30 -i 0 --burst 10", (3, 3));
        assert_counts_agree(PACKET_PER_LINE, "-c 30 -i 0 --burst 10", (3, 30));
    });
}

/// If the server's FIN comes first, ping's own FIN leaves when the socket is closed, after
/// the last look at the counts. They lack it, its ACK, and an ACK of the server's FIN that
/// the kernel had delayed.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn after_an_early_close_the_fin_of_ping_is_not_counted() {
    in_private_network(|| {
        let server = FaultyServer::start(|mut peer| {
            let line = peer.line();
            peer.send_with_fin(&line);
        });
        let (addr, tcpdump) = (server.addr, start_tcpdump(server.addr));
        let printed = Counts::printed(&server.ping("-c 1 -q --json").assert_exits(0));
        let segments = wait_for_close(&tcpdump, addr);
        let captured = Counts::captured(&segments, addr);
        let data = |counts: &Counts| (counts.data_out, counts.data_in);
        assert_eq!(data(&printed), data(&captured), "{segments:?}");
        assert_eq!(printed.received + 1, captured.received, "{segments:?}");
        let missing = captured.out - printed.out;
        assert!((1..=2).contains(&missing), "{printed:?} {segments:?}");
    });
}
