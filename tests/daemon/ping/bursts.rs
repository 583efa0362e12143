//! Pipelined lines: whether the server keeps one line per packet.

use super::faulty_server::FaultyServer;
use super::{PACKET_PER_LINE, ping};
use crate::support::daemon::Daemon;
use crate::support::retransmission::despite_retransmissions;

#[test]
fn with_packet_per_line_a_burst_has_a_packet_per_line() {
    despite_retransmissions(|| {
        let daemon = Daemon::start_with(PACKET_PER_LINE);
        let finished = ping(daemon.addr, "-c 30 -i 0 --burst 10 --expect-packets 1")
            .assert_exits(0)
            .assert_prints("; 1.00 data packets per line received; ");
        let bursts = finished.count_lines("burst of 10 lines: packets=10");
        assert_eq!(bursts, 3, "{finished:?}");
    });
}

/// The lines of a burst arrive in one segment, and their echoes leave in one.
#[test]
fn by_default_a_burst_comes_back_in_one_packet() {
    despite_retransmissions(|| {
        let daemon = Daemon::start();
        let finished = ping(daemon.addr, "-c 30 -i 0 --burst 10 --expect-packets 1")
            .assert_exits(1)
            .assert_prints("30 lines sent, 30 echoed, 0 wrong, 0 lost\n")
            .assert_prints("unexpected number of data packets 3 times\n")
            .assert_prints("; 0.10 data packets per line received; ");
        let bursts = finished.count_lines("burst of 10 lines: packets=1");
        assert_eq!(bursts, 3, "{finished:?}");
    });
}

#[test]
fn the_last_burst_has_only_the_lines_that_are_left() {
    despite_retransmissions(|| {
        let daemon = Daemon::start_with(PACKET_PER_LINE);
        let finished = ping(daemon.addr, "-c 12 -i 0 --burst 10 --expect-packets 1")
            .assert_exits(0)
            .assert_prints("12 lines sent, 12 echoed, 0 wrong, 0 lost\n");
        let bursts: Vec<_> = finished.stdout.lines().collect();
        assert!(
            bursts.contains(&"burst of 10 lines: packets=10"),
            "{finished:?}"
        );
        assert!(
            bursts.contains(&"burst of 2 lines: packets=2"),
            "{finished:?}"
        );
    });
}

/// More than the socket buffers hold: ping has to read while it writes.
#[test]
fn a_burst_of_many_mib_comes_back() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 500 --burst 500 -s 65536 -W 60 -q")
        .assert_exits(0)
        .assert_prints("500 lines sent, 500 echoed, 0 wrong, 0 lost\n");
}

/// In the first burst each line has a segment, as while a client's kernel acknowledges each
/// at once; in later ones all lines share one.
#[test]
fn the_first_burst_is_counted_apart() {
    let server = FaultyServer::start(|mut peer| {
        for _ in 0..10 {
            let line = peer.line();
            peer.send(&line);
        }
        for _ in 0..3 {
            let lines: Vec<_> = (0..10).map(|_| peer.line()).collect();
            peer.send(&lines.concat());
        }
        peer.expect_fin();
    });
    server
        .ping("-c 40 -i 0 --burst 10 -q")
        .assert_exits(0)
        .assert_prints("\npackets per burst: first 1 x 10, then 3 x 1\n");
}

/// The client's FIN is in the segment of the last line, so no echo can be sent before the
/// server has it.
#[test]
fn the_fin_leaves_with_the_last_line() {
    let server = FaultyServer::start(|mut peer| {
        let lines: Vec<_> = (0..3).map(|_| peer.line()).collect();
        assert!(peer.has_fin(), "the FIN comes with the line");
        peer.send(&lines.concat());
    });
    server.ping("-c 3 --burst 3 --half-close").assert_exits(0);
}
