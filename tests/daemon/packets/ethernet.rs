//! Data segments on an Ethernet link, where a segment has 1,448 bytes (IPv6: 1,428): reads
//! and lines end inside segments.

use std::io::Write;
use std::net::TcpStream;

use rustix::process::Signal;

use super::PACKET_PER_LINE;
use super::scenarios::{self, Scenario};
use super::tcp_info::{close_and_compare, counts, run_on};
use crate::support::clients::{line_of, read_exactly, send_and_read_to_end};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;
use crate::support::link::Family::{self, V4, V6};
use crate::support::link::Host::{Client, Server};
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::sockets::receive_queue;

const SCENARIOS: &[Scenario] = &[
    scenarios::ONE_LINE,
    scenarios::PING_PONG,
    scenarios::FOUR_LINES_IN_ONE_SEGMENT,
    scenarios::UNTERMINATED_LINE,
    scenarios::LINE_WITH_FIN,
    scenarios::LINES_WITH_FIN,
    scenarios::BURST,
];

/// Connects over the link, and waits until the server has accepted.
fn connect_accepted(daemon: &Daemon, link: &Link, family: Family) -> TcpStream {
    let client = link.connect(family);
    let local = client.local_addr().unwrap();
    daemon.wait_for_record(&format!("{local} connected"));
    client
}

#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn every_exchange_takes_the_same_data_segments_as_on_loopback() {
    in_private_network(|| {
        let link = Link::new(1, 1500);
        for scenario in SCENARIOS {
            for (args, data_segs_out) in scenario.modes() {
                let daemon = start_daemon(args);
                for family in [V4, V6] {
                    let client = connect_accepted(&daemon, &link, family);
                    run_on(&daemon, client, scenario, data_segs_out);
                }
            }
        }
    });
}

/// 1,420 and 1,400 bytes fit a segment even beside SACK blocks.
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn lines_of_every_length_come_back_in_a_segment_each() {
    in_private_network(|| {
        let link = Link::new(1, 1500);
        let daemon = start_daemon(PACKET_PER_LINE);
        for (family, longest) in [(V4, 1420), (V6, 1400)] {
            let lines: Vec<u8> = (1..=longest).flat_map(line_of).collect();
            let client = connect_accepted(&daemon, &link, family);
            assert!(send_and_read_to_end(&client, &lines) == lines);
            assert_eq!(close_and_compare(&daemon, client), longest as u64);
        }
    });
}

/// All input waits before the first read, so each read but the last fills its buffer, and
/// ends inside a line and inside a segment. The end of each echo shares a segment with the
/// beginning of the next. (On a busy machine the kernel may send that end as its probe for a
/// loss, `tcp_send_loss_probe` in `net/ipv4/tcp_output.c`, so one of a few sessions counts.)
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn a_backlog_of_lines_comes_back_in_no_more_segments_than_it_arrived_in() {
    in_private_network(|| {
        let link = Link::new(1, 1500);
        // The buffers hold all: minimum, default and maximum (tcp(7)).
        for host in [Server, Client] {
            for buffer in ["tcp_rmem", "tcp_wmem"] {
                link.set(host, buffer, "4096 4000000 4000000");
            }
        }
        let daemon = start_daemon(&[]);
        for family in [V4, V6] {
            for len in [37, 500, 1447, 3001] {
                let costs_no_segment = |_| {
                    let client = connect_accepted(&daemon, &link, family);
                    let (received, sent) = echo_backlog(&daemon, client, len);
                    println!("{family:?}, lines of {len} bytes: {sent} segments for {received}");
                    sent <= received
                };
                assert!((0..5).any(costs_no_segment));
            }
        }
    });
}

/// Has 400,000 bytes of lines of `len` bytes echoed that have arrived before the server reads.
/// Returns the data segments that the server received, and those that it sent.
fn echo_backlog(daemon: &Daemon, mut client: TcpStream, len: usize) -> (u64, u64) {
    let lines = line_of(len).repeat(400_000 / len);
    daemon.signal(Signal::STOP);
    client.write_all(&lines).unwrap();
    let local = client.local_addr().unwrap();
    wait_until("the input to arrive", || {
        receive_queue(local) == lines.len()
    });
    daemon.signal(Signal::CONT);
    assert!(read_exactly(&client, lines.len()) == lines);
    let received = counts(&client).data_segs_out;
    (received, close_and_compare(daemon, client))
}

/// As on loopback: the rest of a line that a read keeps takes a segment more, once.
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn a_read_that_ends_inside_a_line_may_cost_one_segment_and_no_more() {
    in_private_network(|| {
        let link = Link::new(1, 1500);
        let daemon = start_daemon(&[]);
        for (family, mss) in [(V4, 1448), (V6, 1428)] {
            let mut client = connect_accepted(&daemon, &link, family);
            let first = [&line_of(mss - 1000)[..], &[b'b'; 1000]].concat();
            client.write_all(&first).unwrap();
            read_exactly(&client, mss - 1000);
            client
                .write_all(&[b"\n", &line_of(mss - 1)[..]].concat())
                .unwrap();
            read_exactly(&client, mss + 1000);
            assert_eq!(counts(&client).data_segs_out, 2);
            assert_eq!(close_and_compare(&daemon, client), 3);
        }
    });
}
