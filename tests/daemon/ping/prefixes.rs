//! `--prefix` and `--count-prefixes`.

use serde_json::{Value, json};

use super::faulty_server::FaultyServer;
use super::ping;
use crate::support::daemon::Daemon;

/// A server that puts the prefixes before its lines in turn.
fn with_prefixes(prefixes: &'static [&'static [u8]]) -> FaultyServer {
    FaultyServer::start(move |mut peer| {
        let mut prefixes = prefixes.iter().cycle();
        peer.answer_lines(|peer, line| {
            let prefix = *prefixes.next().unwrap();
            peer.send(&[prefix, &line].concat());
        });
    })
}

#[test]
fn the_prefix_of_the_daemon_is_expected_or_counted() {
    let daemon = Daemon::start_with(&["--prefix", "replica-1:"]);
    ping(
        daemon.addr,
        "-c 3 -i 0 --prefix replica-1: --expect-packets 1",
    )
    .assert_exits(0)
    .assert_prints("74 bytes from ")
    .assert_prints("3 lines sent, 3 echoed, 0 wrong, 0 lost\nrtt ");
    ping(daemon.addr, "-c 3 -i 0 --count-prefixes --expect-packets 1")
        .assert_exits(0)
        .assert_prints("74 bytes from ")
        .assert_prints("3 echoed, 0 wrong, 0 lost\nprefix \"replica-1:\": 3 lines\nrtt ");
    ping(daemon.addr, "-c 3 -i 0")
        .assert_exits(1)
        .assert_prints("differs at byte 0\n");
}

#[test]
fn without_a_prefix_the_empty_one_is_counted() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 1 --count-prefixes")
        .assert_exits(0)
        .assert_prints("64 bytes from ")
        .assert_prints("\nprefix \"\": 1 line\n");
}

#[test]
fn prefixes_are_counted_escaped_and_sorted() {
    with_prefixes(&[b"b: ", b"a: ", b"\x1b\"\xff"])
        .ping("-c 5 -i 0 --count-prefixes")
        .assert_exits(0)
        .assert_prints(
            "5 lines sent, 5 echoed, 0 wrong, 0 lost\n\
             prefix \"\\x1b\\\"\\xff\": 1 line\n\
             prefix \"a: \": 2 lines\n\
             prefix \"b: \": 2 lines\n",
        );
}

#[test]
fn the_json_summary_has_the_prefixes_if_they_are_counted() {
    let summary = |options| {
        let server = with_prefixes(&[b"b: ", b"a: "]);
        let finished = server.ping(options);
        serde_json::from_str::<Value>(&finished.stdout).expect("a JSON object")
    };
    let counted = summary("-c 5 -i 0 -q --json --count-prefixes");
    assert_eq!(counted["prefixes"], json!({"a: ": 2, "b: ": 3}));
    assert_eq!(counted["other_prefixes"], 0);
    let not_counted = summary("-c 5 -i 0 -q --json");
    assert_eq!(not_counted["prefixes"], Value::Null);
}

#[test]
fn a_wrong_line_behind_a_prefix_is_not_counted() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, mut line| {
            line[10] ^= 1;
            peer.send(&[b"a: ", &line[..]].concat());
        });
    });
    let finished = server.ping("-c 1 --count-prefixes").assert_exits(1);
    assert_eq!(finished.count_lines("prefix "), 0, "{finished:?}");
    finished.assert_prints("line=1 differs at byte 13\n");
}

/// Each connection has another number in the lines.
#[test]
fn the_prefixes_of_several_connections_are_added_up() {
    let daemon = Daemon::start_with(&["--prefix", "a: "]);
    for options in ["--connections 10 -i 0.001", "--connections 10 -c 1 -i 0"] {
        ping(daemon.addr, &format!("{options} --count-prefixes -q"))
            .assert_exits(0)
            .assert_prints("\nprefix \"a: \": 10 lines\n");
    }
}
