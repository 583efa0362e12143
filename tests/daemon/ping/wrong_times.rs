//! Servers that answer late, or never.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::faulty_server::FaultyServer;

#[test]
fn lines_without_an_answer_are_lost() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|_, _| ());
        peer.hold();
    });
    let finished = server
        .ping("-c 2 -i 0 -W 0.2")
        .assert_exits(1)
        .assert_prints(": line=1\n")
        .assert_prints(": line=2\n")
        .assert_prints("2 lines sent, 0 echoed, 0 wrong, 2 lost\n")
        .assert_prints(
            "not closed by the server within 0.2 s: its socket is probably in CLOSE_WAIT\n",
        );
    assert_eq!(
        finished.count_lines("no echo from 127.0.0.1:"),
        2,
        "{finished:?}"
    );
    assert!(!finished.stdout.contains("rtt "), "{finished:?}");
}

#[test]
fn a_deadline_ends_a_ping_without_answers() {
    let server = FaultyServer::start(|mut peer| peer.answer_lines(|_, _| ()));
    server
        .ping("-w 0.3 -W 0.1 -i 0 -q")
        .assert_exits(1)
        .assert_prints(" lines sent, 0 echoed, 0 wrong, ");
}

/// Ping sends the second line when it has given up the first: then the first echo is late.
#[test]
fn an_answer_after_the_timeout_is_late() {
    let server = FaultyServer::start(|mut peer| {
        let (first, second) = (peer.line(), peer.line());
        peer.send(&[first, second].concat());
        peer.expect_fin();
    });
    let finished = server
        .ping("-c 2 -i 0 -W 1")
        .assert_exits(1)
        .assert_prints("2 lines sent, 1 echoed, 0 wrong, 1 lost (1 came late)\n")
        .assert_prints(": line=2 time=");
    let late = finished
        .stdout
        .lines()
        .find(|l| l.starts_with("late echo from "));
    assert!(late.unwrap().contains(": line=1 time="), "{finished:?}");
}

/// More lines than were once remembered, all answered when ping has given them up.
#[test]
fn late_echoes_of_any_number_are_late() {
    let server = FaultyServer::start(|mut peer| {
        let mut lines = Vec::new();
        peer.answer_lines(|_, line| lines.push(line));
        peer.send(&lines.concat());
    });
    server
        .ping("-c 200 -i 0 -W 0.1 --burst 10 -q")
        .assert_exits(1)
        .assert_prints("200 lines sent, 0 echoed, 0 wrong, 200 lost (200 came late)\n");
}

/// Each of five lines is sent although the first has no echo yet.
#[test]
fn in_an_open_loop_lines_do_not_wait_for_echoes() {
    let server = FaultyServer::start(|mut peer| {
        let lines: Vec<_> = (0..5).map(|_| peer.line()).collect();
        peer.send(&lines.concat());
        peer.expect_fin();
    });
    let finished = server
        .ping("-c 5 -i 0.1 -W 60 --open-loop --json")
        .assert_exits(0);
    let objects = finished.stdout.lines();
    let rtt = |object: Value| object["rtt_ms"].as_f64();
    let times: Vec<_> = objects
        .filter_map(|line| rtt(serde_json::from_str(line).unwrap()))
        .collect();
    // Each counts from when it was due, which is 100 ms later for the next.
    assert_eq!(times.len(), 5, "{finished:?}");
    assert!(times[0] >= 400.0, "{finished:?}");
    for pair in times.windows(2) {
        assert!((pair[0] - pair[1] - 100.0).abs() < 1.0, "{finished:?}");
    }
}

/// The server holds back the end of each line for as long as a delayed ACK would.
#[test]
fn a_stall_as_long_as_a_delayed_ack_is_named() {
    let stalling = |stall: u64| {
        FaultyServer::start(move |mut peer| {
            peer.answer_lines(|peer, line| {
                thread::sleep(Duration::from_millis(stall));
                peer.send(&line);
            });
        })
    };
    let text = ": probably Nagle's algorithm and a delayed ACK; ";
    stalling(41).ping("-c 3 -i 0 -q").assert_prints(text);
    let quick = stalling(0).ping("-c 3 -i 0 -q").assert_exits(0);
    assert!(!quick.stdout.contains("Nagle"), "{quick:?}");
}
