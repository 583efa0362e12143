//! Peers that vanish without a FIN: the send timeout closes their connections, and the
//! record names the soft error that is pending then.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use echoline::SegmentCounts;
use rustix::process::Signal;

use crate::support::clients::echo;
use crate::support::daemon::Daemon;
use crate::support::deadline::{wait_until, wait_until_within};
use crate::support::link::Family::{V4, V6};
use crate::support::link::Host::{Client, Server};
use crate::support::link::{Family, Link, start_daemon};
use crate::support::namespace::in_private_network;

/// A soft error at IPv4 and at IPv6; `None` where the kernel reports a plain timeout.
type SoftErrors = [Option<&'static str>; 2];

/// A way for the client's host to vanish, and the soft errors when the kernel gives up.
struct Outage {
    start: fn(&Link),
    /// While an echo is not acknowledged.
    unacked: SoftErrors,
    /// While the connection is idle. The kernel ignores ICMP messages about a keepalive
    /// probe, as its sequence number is not one in flight (`tcp_v4_err` in
    /// `net/ipv4/tcp_ipv4.c`); errors of the route lookup remain.
    idle: SoftErrors,
}

const NO_ROUTE: Option<&str> = Some("No route to host");
const NET_UNREACHABLE: Option<&str> = Some("Network is unreachable");
const REFUSED: Option<&str> = Some("Connection refused");
const DENIED: Option<&str> = Some("Permission denied");
const INVALID: Option<&str> = Some("Invalid argument");

const OUTAGES: [Outage; 7] = [
    Outage {
        start: |link| link.on_arrival_at(Client, "drop"),
        unacked: [None, None],
        idle: [None, None],
    },
    // The client's host is off: address resolution fails.
    Outage {
        start: |link| {
            link.run(Client, &format!("ip link set {} down", link.interface));
            link.run(Server, &format!("ip neigh flush dev {}", link.interface));
        },
        unacked: [NO_ROUTE, NO_ROUTE],
        idle: [None, None],
    },
    Outage {
        start: |link| link.on_arrival_at(Client, "reject with icmpx type admin-prohibited"),
        unacked: [NO_ROUTE, DENIED],
        idle: [None, None],
    },
    Outage {
        start: |link| link.on_arrival_at(Client, "reject with icmpx type port-unreachable"),
        unacked: [REFUSED, REFUSED],
        idle: [None, None],
    },
    Outage {
        start: |link| link.on_arrival_at(Client, "reject with icmpx type no-route"),
        unacked: [NET_UNREACHABLE, NET_UNREACHABLE],
        idle: [None, None],
    },
    // The server's own interface is down.
    Outage {
        start: |link| link.run(Server, &format!("ip link set {} down", link.interface)),
        unacked: [None, NET_UNREACHABLE],
        idle: [None, NET_UNREACHABLE],
    },
    // fail2ban can ban a client with such a route.
    Outage {
        start: |link| {
            for (option, family) in [("-4", V4), ("-6", V6)] {
                let client = link.address(Client, family).ip();
                link.run(Server, &format!("ip {option} route add blackhole {client}"));
            }
        },
        unacked: [None, INVALID],
        idle: [None, INVALID],
    },
];

/// A client behind a link that is going to fail.
struct Peer {
    outage: &'static Outage,
    family: Family,
    link: Link,
    client: TcpStream,
}

impl Peer {
    /// Connects one client for each outage and family, on a link of its own.
    fn connect_all() -> Vec<Peer> {
        let cases = OUTAGES.iter().flat_map(|o| [(o, V4), (o, V6)]);
        let connect = |(number, (outage, family))| {
            let link = Link::new(number, 1500);
            let client = link.connect(family);
            echo(&client, b"hello\n");
            Peer {
                outage,
                family,
                link,
                client,
            }
        };
        (1..).zip(cases).map(connect).collect()
    }

    fn vanish(&self) {
        (self.outage.start)(&self.link);
    }

    /// Asserts that the closing record says send timeout and names the soft error.
    fn assert_send_timeout(&self, daemon: &Daemon, soft_errors: SoftErrors) {
        let record = daemon.closing_record(self.client.local_addr().unwrap());
        println!("{record}");
        let soft_error = soft_errors[usize::from(self.family == V6)];
        let reason = match soft_error {
            None => " closed by send timeout: ".to_string(),
            Some(text) => format!(" closed by send timeout ({text}): "),
        };
        assert!(record.contains(&reason), "not{reason}but {record}");
    }
}

fn assert_14_send_timeouts(daemon: Daemon) {
    let totals = daemon.stop().pop().unwrap();
    assert!(totals.contains("; closed 14 by send timeout"), "{totals}");
}

#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn a_peer_that_vanishes_before_its_ack_is_closed_by_send_timeout() {
    in_private_network(|| {
        // Longer than the 3 s after which address resolution fails.
        let daemon = start_daemon(&["--send-timeout", "5"]);
        let peers = Peer::connect_all();
        daemon.signal(Signal::STOP);
        for peer in &peers {
            send_and_wait_for_ack(&peer.client, b"are you there?\n");
            peer.vanish();
        }
        daemon.signal(Signal::CONT);
        for peer in &peers {
            peer.assert_send_timeout(&daemon, peer.outage.unacked);
        }
        assert_14_send_timeouts(daemon);
    });
}

/// Sends a line and waits until the server's kernel has acknowledged it.
fn send_and_wait_for_ack(mut client: &TcpStream, line: &[u8]) {
    let segs_in = || SegmentCounts::of(client).unwrap().segs_in;
    let before = segs_in();
    client.write_all(line).unwrap();
    wait_until("the ACK", || segs_in() > before);
}

/// Keepalive probes begin after 60 s. At the second, 10 s later, the send timeout has
/// passed since the first.
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces; takes 70 s"]
fn an_idle_peer_that_vanishes_is_closed_by_send_timeout() {
    in_private_network(|| {
        let daemon = start_daemon(&["--send-timeout", "1"]);
        let peers = Peer::connect_all();
        let vanished_at = Instant::now();
        peers.iter().for_each(Peer::vanish);
        wait_until_within(Duration::from_mins(2), "the closing records", || {
            daemon.closed_count() == peers.len()
        });
        assert!(vanished_at.elapsed() > Duration::from_mins(1));
        for peer in &peers {
            peer.assert_send_timeout(&daemon, peer.outage.idle);
        }
        assert_14_send_timeouts(daemon);
    });
}

#[test]
#[ignore = "needs ip, unshare(1) and user namespaces"]
fn a_peer_behind_a_downed_loopback_is_closed_by_send_timeout() {
    in_private_network(|| {
        let daemon = Daemon::start_with(&["--send-timeout", "1"]);
        let mut client = daemon.connect();
        let local = client.local_addr().unwrap();
        echo(&client, b"hello\n");
        daemon.signal(Signal::STOP);
        client.write_all(b"are you there?\n").unwrap();
        let mut down = Command::new("ip");
        let down = down.args(["link", "set", "lo", "down"]).status();
        assert!(down.unwrap().success());
        daemon.signal(Signal::CONT);
        let record = daemon.closing_record(local);
        assert!(
            record.contains(" closed by send timeout: 2 lines"),
            "{record}"
        );
    });
}
