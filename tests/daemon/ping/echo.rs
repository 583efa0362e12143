//! Single lines against the daemon: every one comes back right, in one packet.

use std::time::{Duration, Instant};

use super::program::Finished;
use super::{PACKET_PER_LINE, ping};
use crate::support::daemon::Daemon;

/// Runs ping against the daemon in both modes and expects exit status 0.
fn in_both_modes(options: &str, check: impl Fn(&Finished)) {
    for args in [&[][..], PACKET_PER_LINE] {
        let daemon = Daemon::start_with(args);
        check(&ping(daemon.addr, options).assert_exits(0));
    }
}

#[test]
fn a_thousand_lines_take_one_data_packet_each() {
    in_both_modes("-c 1000 -i 0 -q --expect-packets 1", |finished| {
        let expected = "1000 lines sent, 1000 echoed, 0 wrong, 0 lost\n";
        assert!(finished.stdout.contains(expected), "{finished:?}");
        let expected = "; 1.00 data packets per line received; ";
        assert!(finished.stdout.contains(expected), "{finished:?}");
        assert_eq!(finished.stdout.lines().count(), 7, "{finished:?}");
    });
}

#[test]
fn lines_of_every_size_come_back_whole() {
    for size in [1, 2, 64, 65536] {
        in_both_modes(&format!("-c 5 -i 0 -s {size}"), |finished| {
            let s = if size == 1 { "" } else { "s" };
            let start = format!("{size} byte{s} from 127.0.0.1:");
            assert_eq!(finished.count_lines(&start), 5, "{finished:?}");
            let expected = "5 lines sent, 5 echoed, 0 wrong, 0 lost\n";
            assert!(finished.stdout.contains(expected), "{finished:?}");
        });
    }
}

/// The daemon's limit is 65536 bytes.
#[test]
fn a_line_above_the_line_limit_of_the_server_is_lost() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 1 -s 65537 -W 30")
        .assert_exits(1)
        .assert_prints("1 line sent, 0 echoed, 0 wrong, 1 lost\n");
}

#[test]
fn an_interval_is_kept_between_lines() {
    let daemon = Daemon::start();
    let start = Instant::now();
    ping(daemon.addr, "-c 3 -i 0.1").assert_exits(0);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_half_closing_ping_gets_every_echo_and_the_fin() {
    for options in [
        "-c 3 -i 0 --half-close",
        "-c 100 --burst 100 --half-close -q",
    ] {
        in_both_modes(options, |finished| {
            assert!(
                finished.stdout.contains(" 0 wrong, 0 lost\n"),
                "{finished:?}"
            );
            let expected = "closed cleanly by the server in ";
            assert!(finished.stdout.contains(expected), "{finished:?}");
        });
    }
}

#[test]
fn an_echo_in_fewer_packets_than_expected_fails() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 3 -i 0 --expect-packets 2")
        .assert_exits(1)
        .assert_prints("3 lines sent, 3 echoed, 0 wrong, 0 lost\n")
        .assert_prints("unexpected number of data packets 3 times\n");
}

#[test]
fn a_quiet_ping_counts_packets_too_if_they_are_expected() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 3 -i 0 -q --expect-packets 2")
        .assert_exits(1)
        .assert_prints("unexpected number of data packets 3 times\n");
}

#[test]
fn a_deadline_ends_a_ping_without_a_count() {
    let daemon = Daemon::start();
    for options in ["-w 0.3 -i 0.01", "-w 0.3 -i 0 -q", "-w 0.3 -i 100"] {
        let finished = ping(daemon.addr, options).assert_exits(0);
        assert!(
            finished.stdout.contains(" 0 wrong, 0 lost\n"),
            "{finished:?}"
        );
        let expected = "closed cleanly by the server in ";
        assert!(finished.stdout.contains(expected), "{finished:?}");
    }
}
