//! Data segments as the client's kernel counts them (`TCP_INFO`). This needs no tools.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use echoline::SegmentCounts;
use rustix::process::Signal;
use socket2::SockRef;

use super::scenarios::{self, Scenario};
use super::{PACKET_PER_LINE, logged_counts};
use crate::support::clients::{
    connect_with_small_window, echo, line_of, read_exactly, read_repeated, read_to_end,
    send_and_half_close, send_and_read_to_end,
};
use crate::support::daemon::Daemon;

pub fn counts(client: &TcpStream) -> SegmentCounts {
    SegmentCounts::of(client).expect("the kernel counts")
}

/// Closes the client and asserts that the closing record has the data segments and
/// retransmissions that the client has counted. Returns the data segments that the server
/// sent, without retransmissions.
pub fn close_and_compare(daemon: &Daemon, client: TcpStream) -> u64 {
    let local = client.local_addr().unwrap();
    let seen = counts(&client);
    drop(client);
    let logged = logged_counts(&daemon.closing_record(local));
    assert_eq!(logged.data_segs_in, seen.data_segs_out, "from the client");
    // The client does not count a retransmission of data that it has already.
    let sent_once = logged.data_segs_out - logged.retransmitted;
    let received = sent_once..=logged.data_segs_out;
    assert!(received.contains(&seen.data_segs_in), "{seen:?}");
    sent_once
}

/// Runs a scenario with `args` and checks the data segments; returns the client's counts.
fn run(scenario: &Scenario, args: &[&str], data_segs_out: u64) -> SegmentCounts {
    let daemon = Daemon::start_with(args);
    let client = daemon.connect_accepted();
    run_on(&daemon, client, scenario, data_segs_out)
}

/// The same on a connection that the server has accepted.
pub fn run_on(
    daemon: &Daemon,
    client: TcpStream,
    scenario: &Scenario,
    data_segs_out: u64,
) -> SegmentCounts {
    (scenario.exchange)(&client);
    let seen = counts(&client);
    if let Some(data_segs_in) = scenario.data_segs_in {
        assert_eq!(seen.data_segs_out, data_segs_in, "{seen:?}");
        assert_eq!(seen.data_segs_in, data_segs_out, "{seen:?}");
    }
    assert_eq!(close_and_compare(daemon, client), data_segs_out);
    seen
}

fn run_in_all_modes(scenario: &Scenario) {
    for (args, data_segs_out) in scenario.modes() {
        run(scenario, args, data_segs_out);
    }
}

/// Asserts that before the client's close the server sends its SYN-ACK, its data and
/// `acks` pure ACKs, and nothing else, in one of a few sessions. (If the machine is busy
/// for 40 ms, a timer sends one more ACK. Captures exclude such sessions.)
fn run_in_all_modes_with_acks(scenario: &Scenario, acks: u64) {
    for (args, data_segs_out) in scenario.modes() {
        let minimum = 1 + data_segs_out + acks;
        let is_minimal = |_| run(scenario, args, data_segs_out).segs_in <= minimum;
        assert!(
            (0..10).any(is_minimal),
            "more than {minimum} segments in each of 10 sessions"
        );
    }
}

#[test]
fn one_line_is_one_data_segment_each_way() {
    run_in_all_modes(&scenarios::ONE_LINE);
}

#[test]
fn a_hundred_ping_pong_lines_are_a_hundred_data_segments_each_way() {
    run_in_all_modes(&scenarios::PING_PONG);
}

#[test]
fn four_lines_in_one_segment_come_back_in_one_or_in_four() {
    run_in_all_modes(&scenarios::FOUR_LINES_IN_ONE_SEGMENT);
}

#[test]
fn a_last_line_without_newline_comes_back_in_one_segment_with_the_fin() {
    run_in_all_modes_with_acks(&scenarios::UNTERMINATED_LINE, 1);
}

#[test]
fn lines_with_a_fin_come_back_with_the_fin_on_the_last_segment() {
    run_in_all_modes_with_acks(&scenarios::LINE_WITH_FIN, 0);
    run_in_all_modes_with_acks(&scenarios::LINES_WITH_FIN, 0);
}

#[test]
fn a_burst_of_10000_lines_comes_back_in_10000_segments_per_line() {
    run_in_all_modes(&scenarios::BURST);
}

#[test]
fn a_slow_reader_gets_100000_lines_in_100000_segments_per_line() {
    let daemon = Daemon::start_with(PACKET_PER_LINE);
    let client = daemon.connect();
    let line = b"fifteen bytes..\n";
    let sender = send_and_half_close(&client, line.repeat(100_000));
    read_repeated(&client, line, 100_000 * line.len(), 1000);
    sender.join().unwrap();
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(close_and_compare(&daemon, client), 100_000);
}

#[test]
fn lines_with_a_prefix_come_back_in_one_segment_or_in_one_each() {
    for (options, segments) in [("", 1), ("--packet-per-line", 4)] {
        let mut args = vec!["--prefix", "a: "];
        args.extend(options.split_whitespace());
        let daemon = Daemon::start_with(&args);
        let mut client = daemon.connect_accepted();
        client.write_all(b"one\ntwo\n\nfour\n").unwrap();
        let echoes = b"a: one\na: two\na: \na: four\n";
        assert_eq!(read_exactly(&client, echoes.len()), echoes);
        for round in 1..=100 {
            client.write_all(b"ping\n").unwrap();
            assert_eq!(read_exactly(&client, 8), b"a: ping\n");
            assert_eq!(counts(&client).data_segs_in, segments + round);
        }
        assert_eq!(close_and_compare(&daemon, client), segments + 100);
    }
}

#[test]
fn a_slow_reader_gets_100000_lines_with_prefixes_in_100000_segments_per_line() {
    let daemon = Daemon::start_with(&["--packet-per-line", "--prefix", "8bytes: "]);
    let client = daemon.connect();
    let (line, echo) = (b"fifteen bytes..\n", b"8bytes: fifteen bytes..\n");
    let sender = send_and_half_close(&client, line.repeat(100_000));
    read_repeated(&client, echo, 100_000 * echo.len(), 1000);
    sender.join().unwrap();
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(close_and_compare(&daemon, client), 100_000);
}

/// The socket buffer is full in the middle of a long line. The rest of that line does not
/// share a segment with the next line.
#[test]
fn lines_longer_than_a_segment_stay_apart_under_backpressure() {
    let daemon = Daemon::start_with(&["--packet-per-line", "--max-line", "300000"]);
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(30_000).unwrap();
    let long_and_short = |i: u8| [&vec![b'a' + i % 26; 200_000][..], b"\nshort\n"].concat();
    let lines: Vec<u8> = (0..40).flat_map(long_and_short).collect();
    assert_eq!(send_and_read_to_end(&client, &lines), lines);
    assert!(close_and_compare(&daemon, client) >= 80);
}

/// The kernel cuts what is longer than half the largest window that the peer has offered.
#[test]
fn a_line_is_cut_only_where_the_peers_window_requires_it() {
    for (len, segments) in [(1000, 20), (2500, 40)] {
        let daemon = Daemon::start_with(PACKET_PER_LINE);
        let client = connect_with_small_window(daemon.addr);
        let line = line_of(len);
        (0..20).for_each(|_| echo(&client, &line));
        let sent = close_and_compare(&daemon, client);
        assert_eq!(sent, segments, "lines of {len} bytes");
    }
}

#[test]
fn whole_lines_come_back_in_no_more_segments_than_they_arrived_in() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let mut sent = 0;
    for round in 0..200 {
        // Each write is a segment (TCP_NODELAY).
        let bytes = b"some lines\nand more\n".repeat(1 + round % 50);
        client.write_all(&bytes).unwrap();
        sent += bytes.len();
    }
    assert_eq!(read_exactly(&client, sent).len(), sent);
    let seen = counts(&client);
    assert!(seen.data_segs_in <= seen.data_segs_out, "{seen:?}");
    assert!(close_and_compare(&daemon, client) <= seen.data_segs_out);
}

/// The rest that a read keeps makes the output of a later read longer.
#[test]
fn a_read_that_ends_inside_a_line_may_cost_one_segment_and_no_more() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let [b, c] = [b'b', b'c'].map(|byte| vec![byte; 30_000]);
    client.write_all(&[b"a\n", &b[..]].concat()).unwrap();
    assert_eq!(read_exactly(&client, 2), b"a\n");
    client.write_all(&[b"\n", &c[..], b"\n"].concat()).unwrap();
    assert_eq!(read_exactly(&client, 60_002).len(), 60_002);
    assert_eq!(counts(&client).data_segs_out, 2);
    assert!((2..=3).contains(&close_and_compare(&daemon, client)));
}

#[test]
fn a_last_line_without_newline_may_cost_one_segment_and_no_more() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.write_all(b"line\nlast").unwrap();
    assert_eq!(read_exactly(&client, 5), b"line\n");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"last\n");
    assert_eq!(counts(&client).data_segs_out, 1);
    assert_eq!(close_and_compare(&daemon, client), 2);
}

#[test]
fn partial_lines_cost_no_segment_where_their_rest_leaves_room() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let mut sent = 0;
    for round in 0..200 {
        // Lines and partial lines. Each write is a segment (TCP_NODELAY).
        let bytes = b"some lines\nand a bit of".repeat(1 + round % 50);
        client.write_all(&bytes).unwrap();
        client.write_all(b" more\n").unwrap();
        sent += bytes.len() + 6;
    }
    assert_eq!(read_exactly(&client, sent).len(), sent);
    let seen = counts(&client);
    assert!(seen.data_segs_in <= seen.data_segs_out, "{seen:?}");
    assert!(close_and_compare(&daemon, client) <= seen.data_segs_out);
}

#[test]
fn totals_add_up_the_packets_of_closed_connections() {
    let daemon = Daemon::start();
    let mut sum = SegmentCounts::default();
    for lines in 1..5 {
        let client = daemon.connect();
        (0..lines).for_each(|_| echo(&client, b"line\n"));
        let local = client.local_addr().unwrap();
        drop(client);
        let logged = logged_counts(&daemon.closing_record(local));
        sum.segs_in += logged.segs_in;
        sum.data_segs_in += logged.data_segs_in;
        sum.segs_out += logged.segs_out;
        sum.data_segs_out += logged.data_segs_out;
        sum.retransmitted += logged.retransmitted;
    }
    let open = daemon.connect();
    echo(&open, b"not counted yet\n");
    daemon.signal(Signal::USR1);
    assert_eq!(logged_counts(&daemon.wait_for_record("totals: ")), sum);
}

/// Lines and partial lines in full read buffers.
#[test]
fn bulk_lines_come_back_in_no_more_segments_than_they_arrived_in() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let lines = line_of(1000).repeat(20_000);
    assert!(send_and_read_to_end(&client, &lines) == lines);
    let seen = counts(&client);
    let sent = close_and_compare(&daemon, client);
    assert!(sent <= seen.data_segs_out, "{sent} {seen:?}");
}
