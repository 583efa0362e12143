//! `echoline packets` beside the kernel's counts at both ends, with loss, reordering and
//! segmentation offload.

use std::process::Command;

use serde_json::{Value, json};

use super::{PACKET_PER_LINE, logged_counts};
use crate::support::deadline::wait_for;
use crate::support::link::Family::{self, V4, V6};
use crate::support::link::Host::{Client, Server};
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::tcpdump::Tcpdump;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echoline");
const LINES: u64 = 2000;
/// All that a segment with several lines has.
const SNAPLEN: usize = 9000;

/// What the link does to the packets of a session.
#[derive(Debug, Clone, Copy)]
struct Path {
    family: Family,
    mtu: usize,
    /// Bytes of a line.
    size: usize,
    /// Lines that are sent together.
    burst: usize,
    /// Percent of the packets of each side that are lost behind the capture point.
    loss: u8,
    /// Each tenth packet of each side waits before the capture point.
    reorders: bool,
    /// The kernel hands over several segments as one packet.
    offload: bool,
}

const PLAIN: Path = Path {
    family: V4,
    mtu: 1500,
    size: 8,
    burst: 10,
    loss: 0,
    reorders: false,
    offload: false,
};

impl Path {
    fn link(self, number: u8) -> Link {
        let link = Link::new(number, self.mtu);
        if self.loss > 0 {
            let drop = format!("numgen random mod 100 < {} drop", self.loss);
            link.on_arrival_at(Server, &drop);
            link.on_arrival_at(Client, &drop);
        }
        for host in [Server, Client] {
            if self.loss > 0 {
                link.retransmit_early(host, self.family);
            }
            if self.reorders {
                link.delay_each_tenth_packet_from(host);
            }
            if self.offload {
                link.offload_segmentation(host);
            }
        }
        link
    }

    /// Packets of a line.
    fn packets(self) -> usize {
        let headers = if self.family == V4 { 52 } else { 72 };
        self.size.div_ceil(self.mtu - headers)
    }
}

/// What the kernels and a capture say of a session of 2,000 lines.
struct Session {
    path: Path,
    /// ping's counts, until it closes.
    ping: Value,
    /// Those of the server's closing record.
    record: echoline::SegmentCounts,
    events: Vec<Value>,
    /// The exit status if each line shall take as many packets as it does, and a close.
    status: Option<i32>,
}

impl Session {
    /// `filter` is that of the capture, at the server's end of the link.
    fn run(number: u8, path: Path, filter: &str) -> Session {
        let link = path.link(number);
        let daemon = start_daemon(PACKET_PER_LINE);
        let tcpdump = Tcpdump::start_with(SNAPLEN, &link.interface, filter);
        let Path { size, burst, .. } = path;
        let server = link.address(Server, path.family);
        let options = format!("-q -c {LINES} --burst {burst} -s {size} -i 0 -W 60 --json");
        let ping = link.output_of(Client, &format!("{PROGRAM} ping {options} {server}"));
        let ping: Value = serde_json::from_str(&ping).unwrap();
        let record = logged_counts(&daemon.wait_for_record(" closed by "));
        // The last packet of the session.
        let events = wait_for("the close in the capture", || {
            let events = count(tcpdump.file());
            (connection(&events)["closed"]["how"] == "both").then_some(events)
        });
        let status = Command::new(PROGRAM)
            .args(["packets", "-q", "--expect-close", tcpdump.file()])
            .args(["--expect-packets", &path.packets().to_string()])
            .output()
            .unwrap()
            .status;
        println!("{path:?}: {status}, {}", connection(&events));
        Session {
            path,
            ping: ping["packets"].clone(),
            record,
            events,
            status: status.code(),
        }
    }

    /// What the capture has of a side.
    fn sent(&self, side: &str) -> Sent {
        let mut sent = Sent::default();
        let events = self.events.iter();
        for packet in events.filter(|event| event["event"] == "packet" && event["from"] == side) {
            let on_the_wire = packet["at_least_packets"].as_u64().unwrap();
            sent.all += on_the_wire;
            if packet["len"] != 0 {
                sent.data += on_the_wire;
            }
            if packet["kind"] == "again" {
                let is_bare_fin = packet["flags"] == json!(["FIN", "ACK"]) && packet["len"] == 0;
                *(if is_bare_fin {
                    &mut sent.fins_again
                } else {
                    &mut sent.again
                }) += on_the_wire;
            }
        }
        sent
    }

    /// Each packet is in the capture, and is what the kernels say that it is.
    fn assert_complete(&self) {
        let connection = connection(&self.events);
        assert_eq!(connection["not_captured"], 0);
        assert_eq!(connection["right"], LINES);
        let ping = |name: &str| self.ping[name].as_u64().unwrap();
        let (client, server) = (self.sent("client"), self.sent("server"));
        // The last ACKs, and FINs that are sent again, may follow ping's count, and the FIN
        // the record's.
        assert!(client.all >= ping("out"), "{client:?} {}", self.ping);
        assert_eq!(client.data, ping("data_out"));
        assert_eq!(server.data, self.record.data_segs_out);
        client.assert_again(ping("retransmitted"));
        server.assert_again(self.record.retransmitted);
        let again = [
            client.again,
            client.fins_again,
            server.again,
            server.fins_again,
        ];
        assert_eq!(connection["again"], again.iter().sum::<u64>());
        if self.path.loss == 0 && !self.path.reorders {
            assert_eq!(client.all, ping("out"));
        }
    }
}

/// Packets on the wire.
#[derive(Debug, Default)]
struct Sent {
    all: u64,
    /// With data.
    data: u64,
    /// Those that were sent again, but for FINs without data.
    again: u64,
    fins_again: u64,
}

impl Sent {
    fn assert_again(&self, retransmitted: u64) {
        let expected = self.again..=self.again + self.fins_again;
        assert!(
            expected.contains(&retransmitted),
            "{retransmitted} {self:?}"
        );
    }
}

fn count(file: &str) -> Vec<Value> {
    let output = Command::new(PROGRAM)
        .args(["packets", "--json", file])
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn connection(events: &[Value]) -> &Value {
    let mut connections = events.iter().filter(|event| event["event"] == "connection");
    connections.next().unwrap_or(&Value::Null)
}

/// Sessions over each path, one after another.
fn sessions(first: u8, paths: &[Path]) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (number, path) in (first..).zip(paths) {
        sessions.push(Session::run(number, *path, "tcp"));
    }
    sessions
}

#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn a_capture_has_the_packets_that_both_kernels_count() {
    let paths = [0, 3, 10].map(|loss| {
        [V4, V6].map(|family| Path {
            family,
            loss,
            ..PLAIN
        })
    });
    in_private_network(|| {
        for session in sessions(40, paths.as_flattened()) {
            session.assert_complete();
            let connection = connection(&session.events);
            assert_eq!(connection["packets_per_line"], json!({ "1": LINES }));
            assert_eq!(session.status, Some(0));
        }
    });
}

/// The smallest MTUs of IPv4 hosts and of IPv6. With lines of 400 bytes most of the client's
/// lines begin or end inside a segment.
#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn small_segments_are_counted_as_both_kernels_count_them() {
    let paths = [(V4, 576), (V6, 1280)].map(|(family, mtu)| {
        [0, 3].map(|loss| Path {
            family,
            mtu,
            size: 400,
            loss,
            ..PLAIN
        })
    });
    in_private_network(|| {
        for session in sessions(50, paths.as_flattened()) {
            session.assert_complete();
            assert_eq!(session.status, Some(0));
        }
    });
}

/// A packet that was overtaken is late where it is seen, and what its receiver then asks for
/// is sent again.
#[test]
#[ignore = "needs ip, tc, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn reordered_packets_are_counted_as_both_kernels_count_them() {
    let paths = [V4, V6].map(|family| Path {
        family,
        burst: 2,
        reorders: true,
        ..PLAIN
    });
    in_private_network(|| {
        for session in sessions(60, &paths) {
            session.assert_complete();
            let connection = connection(&session.events);
            assert_ne!(connection["late"], 0);
            assert_eq!(connection["unexpected_packets"], 0);
            assert_ne!(session.status, Some(1));
        }
    });
}

/// A line of 3,000 bytes is three segments, or more. The capture has one packet, which says
/// so, and no count of lines passes. All that is known here agrees with the kernels'.
#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn segments_that_the_kernel_hands_over_together_are_counted_as_at_least_so_many() {
    let paths = [V4, V6].map(|family| {
        [0, 3].map(|loss| Path {
            family,
            size: 3000,
            loss,
            burst: 2,
            offload: true,
            ..PLAIN
        })
    });
    in_private_network(|| {
        for session in sessions(70, paths.as_flattened()) {
            session.assert_complete();
            let connection = connection(&session.events);
            assert_ne!(connection["merged"], 0);
            assert_eq!(connection["at_least"], true);
            assert_eq!(connection["packets_per_line"], json!({ "3": LINES }));
            assert_eq!(session.status, Some(4));
        }
    });
}

/// The capture lacks the packets with sequence numbers in 256 of each 4,096, but no SYN and no
/// FIN.
#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn a_capture_with_holes_cannot_tell_and_has_no_wrong_count() {
    let paths = [0, 3].map(|loss| {
        [V4, V6].map(|family| Path {
            family,
            loss,
            ..PLAIN
        })
    });
    in_private_network(|| {
        for (number, path) in (80..).zip(paths.as_flattened()) {
            let acks = match path.family {
                V4 => "ip and (tcp[6] & 15 != 3 or tcp[13] & 3 != 0)",
                V6 => "ip6 and (ip6[46] & 15 != 3 or ip6[53] & 3 != 0)",
            };
            let session = Session::run(number, *path, acks);
            let connection = connection(&session.events);
            assert_ne!(connection["not_captured"], 0);
            for none in ["wrong", "unexpected_packets"] {
                assert_eq!(connection[none], 0, "{none}");
            }
            assert!(connection["right"].as_u64().unwrap() < LINES);
            assert_eq!(session.status, Some(4));
        }
    });
}
