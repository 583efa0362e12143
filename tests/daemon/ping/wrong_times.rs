//! Servers that answer late, or never.

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
        .assert_prints("not closed by the server within 0.2 s\n");
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
