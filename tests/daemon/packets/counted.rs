//! `echoline packets` beside the kernel's counts at both ends, with loss.

use std::process::Command;

use serde_json::Value;

use super::{PACKET_PER_LINE, logged_counts};
use crate::support::deadline::wait_for;
use crate::support::link::Family::{self, V4, V6};
use crate::support::link::Host::{Client, Server};
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::tcpdump::Tcpdump;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echoline");
const LINES: u64 = 2000;

#[test]
#[ignore = "needs ip, nft, ethtool, tcpdump, unshare(1) and user namespaces"]
fn a_capture_has_the_packets_that_both_kernels_count() {
    in_private_network(|| {
        let mut numbers = 40..;
        for loss in [0, 3, 10] {
            for family in [V4, V6] {
                compare(numbers.next().unwrap(), 1500, family, loss);
            }
        }
    });
}

/// Sends 2,000 lines in bursts that the snaplen does not cut. Packets are lost behind the
/// capture point.
fn compare(number: u8, mtu: usize, family: Family, loss: u8) {
    let link = Link::new(number, mtu);
    if loss > 0 {
        let loss = format!("numgen random mod 100 < {loss} drop");
        link.on_arrival_at(Server, &loss);
        link.on_arrival_at(Client, &loss);
    }
    let daemon = start_daemon(PACKET_PER_LINE);
    let tcpdump = Tcpdump::start(&link.interface, "tcp");
    let server = link.address(Server, family);
    let ping = format!("{PROGRAM} ping -q -c {LINES} --burst 2 -s 8 -i 0 -W 60 --json {server}");
    let ping: Value = serde_json::from_str(&link.output_of(Client, &ping)).unwrap();
    let record = logged_counts(&daemon.wait_for_record(" closed by "));
    let capture = wait_for("the close in the capture", || {
        Some(count(tcpdump.file())).filter(|events| connection(events)["closed"]["how"] == "both")
    });
    let (connection, ping) = (connection(&capture), &ping["packets"]);
    println!("MTU {mtu}, {family:?}, {loss} %: {connection}");
    assert_eq!(connection["not_captured"], 0);
    assert_eq!(connection["right"], LINES);
    assert_eq!(
        connection["packets_per_line"],
        serde_json::json!({ "1": LINES })
    );
    // Until ping's count, and the record's.
    let (out, data_out) = sent(&capture, "client");
    assert!(out >= ping["out"].as_u64().unwrap());
    assert_eq!(data_out, ping["data_out"]);
    let (_, data) = sent(&capture, "server");
    assert_eq!(data, record.data_segs_out);
    let again = ping["retransmitted"].as_u64().unwrap() + record.retransmitted;
    assert!(connection["again"].as_u64().unwrap() >= again);
    if loss == 0 {
        // The last ACK follows ping's count, FIN and the ACK of it the record's.
        assert_eq!(out, ping["out"].as_u64().unwrap());
        assert_eq!(connection["again"], 0);
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

/// Packets of a side, and those with data that are no probes.
fn sent(events: &[Value], side: &str) -> (u64, u64) {
    let packets = events
        .iter()
        .filter(|event| event["event"] == "packet" && event["from"] == side);
    let (all, data): (Vec<_>, Vec<_>) = packets
        .map(|packet| (1, u64::from(packet["len"] != 0)))
        .unzip();
    (all.iter().sum(), data.iter().sum())
}
