//! Keepalive probes: when the first one is sent, what they add, and when a vanished peer
//! ends with them.

use std::process::Command;
use std::time::Duration;

use echoline::SegmentCounts;

use crate::support::clients::echo;
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::{wait_until, wait_until_within};
use crate::support::link::Family::V4;
use crate::support::link::Host::{Client, Server};
use crate::support::link::{Link, start_daemon};
use crate::support::namespace::in_private_network;
use crate::support::sockets::{ESTABLISHED, tcp_sockets};

/// The warning that nothing will find a quiet peer that has vanished.
const WARNING: &str = " WARN  [echoline] without keepalive and an idle timeout, a quiet peer that vanishes stays for ever";

/// The timer of the server's one established socket, and the seconds that are left of it:
/// 0 none, 2 keepalive.
fn timer(daemon: &Daemon) -> (u64, u64) {
    const HZ: u64 = 100; // USER_HZ
    let port = daemon.addr.port();
    let mut sockets = tcp_sockets().into_iter();
    let socket = sockets.find(|s| s.local_port == port && s.state == ESTABLISHED);
    let (kind, ticks) = socket.expect("a connection").timer;
    (kind, ticks / HZ)
}

/// The idle time before the first probe, as the kernel's timer has it; 0 without probes.
fn idle_time(args: &[&str]) -> u64 {
    let daemon = Daemon::start_with(args);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    // The ACK of the echo stops the timer of retransmissions.
    wait_until("the ACK", || [0, 2].contains(&timer(&daemon).0));
    match timer(&daemon) {
        (0, _) => 0,
        (_, left) => left,
    }
}

#[test]
fn the_first_probe_comes_after_the_time_given() {
    // The kernel's timers are up to an eighth late (`kernel/time/timer.c`).
    for (args, expected) in [
        (&[][..], 50..=70),
        (&["--keepalive", "32767"], 32_000..=37_000),
        (&["--keepalive", "0"], 0..=0),
    ] {
        let idle = idle_time(args);
        assert!(expected.contains(&idle), "{args:?}: {idle} s");
    }
}

#[test]
fn a_probe_is_a_packet_without_data() {
    let daemon = Daemon::start_with(&["--keepalive", "1"]);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    let counts = || SegmentCounts::of(&client).unwrap();
    let before = counts();
    wait_until("a probe and its answer", || {
        let now = counts();
        now.segs_in > before.segs_in && now.segs_out > before.segs_out
    });
    assert_eq!(counts().data_segs_in, 1);
    echo(&client, b"still here\n");
}

#[test]
fn no_probes_and_no_idle_timeout_are_a_warning() {
    for (args, warns) in [
        (&["--keepalive", "0"][..], true),
        (&["--keepalive", "0", "--idle-timeout", "9"], false),
        (&[], false),
    ] {
        let log = Daemon::start_with(args).stop();
        let has_warning = log.iter().any(|line| line.ends_with(WARNING));
        assert_eq!(has_warning, warns, "{log:?}");
    }
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("ECHOLINE_KEEPALIVE", "0");
    Daemon::spawn(&mut command).wait_for_record(WARNING);
}

/// The first probe leaves 5 s after the last packet, and the others each 10 s. The
/// connection ends when the next one is due and `--send-timeout` has passed, or without a
/// send timeout after six. The record counts echo, probes and RST.
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces; takes 110 s"]
fn a_vanished_peer_ends_after_the_probes_that_send_timeout_allows() {
    in_private_network(|| {
        let cases = [("1", 1), ("20", 2), ("0", 6)];
        for (number, (send_timeout, probes)) in (1..).zip(cases) {
            let args = ["--keepalive", "5", "--send-timeout", send_timeout];
            let daemon = start_daemon(&args);
            let link = Link::new(number, 1500);
            let client = link.connect(V4);
            echo(&client, b"hello\n");
            link.on_arrival_at(Client, "drop");
            wait_until_within(Duration::from_mins(2), "the end", || {
                daemon.closed_count() == 1
            });
            let record = daemon.closing_record(client.local_addr().unwrap());
            let packets = format!("send timeout: 1 line, 6/6 bytes, 4/{} packets", 2 + probes);
            assert!(record.contains(&packets), "{send_timeout}: {record}");
            daemon.stop();
        }
    });
}

/// A firewall that forgets a connection after 4 quiet seconds loses its next line. Probes
/// keep its entry, so with them its limit does not show.
#[test]
#[ignore = "needs ip, nft, ethtool, unshare(1) and user namespaces"]
fn probes_hide_the_idle_limit_of_a_firewall() {
    in_private_network(|| {
        let link = Link::new(1, 1500);
        for rule in [
            "add set inet link known { type inet_service ; flags dynamic,timeout ; timeout 4s ; }",
            "add rule inet link input tcp flags syn update @known { tcp sport }",
            "add rule inet link input tcp sport @known update @known { tcp sport } accept",
            "add rule inet link input meta l4proto tcp drop",
        ] {
            link.run(Server, &format!("nft {rule}"));
        }
        for (keepalive, hidden) in [("3", true), ("0", false)] {
            let daemon = start_daemon(&["--keepalive", keepalive, "--idle-timeout", "1000"]);
            let addr = link.address(Server, V4).to_string();
            let output = link.output(Client, &format!("{BINARY} ping -c 2 -i 5.5 {addr}"));
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.success(), hidden, "{keepalive}: {stdout}");
            daemon.stop();
        }
    });
}
