//! `--json`: one object per line of output.

use serde_json::{Value, json};

use super::faulty_server::FaultyServer;
use super::program::Finished;
use super::{PACKET_PER_LINE, ping};
use crate::support::daemon::Daemon;

/// The objects; the last is the summary.
fn objects(finished: &Finished) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).expect("a JSON object");
    let objects: Vec<Value> = finished.stdout.lines().map(parse).collect();
    assert!(objects.iter().all(Value::is_object), "{finished:?}");
    assert_eq!(objects.last().unwrap()["event"], "summary");
    objects
}

/// The objects of one kind.
fn of_kind<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["event"] == event)
        .collect()
}

#[test]
fn each_echo_is_an_object() {
    let daemon = Daemon::start();
    let objects = objects(&ping(daemon.addr, "-c 3 -i 0 --json").assert_exits(0));
    assert_eq!(objects.len(), 5);
    for (i, echo) in objects[..3].iter().enumerate() {
        assert_eq!(echo["event"], "echo");
        assert_eq!(
            (&echo["connection"], &echo["line"]),
            (&json!(1), &json!(i + 1))
        );
        assert_eq!((&echo["bytes"], &echo["packets"]), (&json!(64), &json!(1)));
        assert!(echo["rtt_ms"].as_f64().unwrap() > 0.0);
    }
    let closed = json!({
        "event": "closed", "connection": 1, "close": "clean", "error": null,
        "last_line": 3, "outstanding": 0,
    });
    assert_eq!(objects[3], closed);
}

#[test]
fn the_bytes_of_an_echo_include_the_prefix() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| peer.send(&[b"echo:".to_vec(), line].concat()));
    });
    let finished = server.ping("-c 1 --json --prefix echo:").assert_exits(0);
    assert_eq!(objects(&finished)[0]["bytes"], 69);
}

#[test]
fn the_summary_object_has_the_numbers() {
    let daemon = Daemon::start();
    let objects = objects(&ping(daemon.addr, "-c 3 -i 0 --json -q").assert_exits(0));
    let [summary] = &objects[..] else {
        panic!("more than the summary: {objects:?}");
    };
    for (name, value) in [
        ("connections", 1),
        ("sent", 3),
        ("echoed", 3),
        ("wrong", 0),
        ("lost", 0),
        ("late", 0),
        ("extra", 0),
    ] {
        assert_eq!(summary[name], value, "{name}");
    }
    // Without an expectation none can be missed.
    assert_eq!(summary["unexpected_packets"], Value::Null);
    let first = [1, 2, 3].map(|line| json!({"connection": 1, "line": line}));
    let distribution = json!([{"packets": 1, "times": 3, "first": first}]);
    assert_eq!(summary["distribution"], distribution);
    let packets = &summary["packets"];
    assert_eq!(
        (&packets["data_out"], &packets["data_in"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(packets["data_in_per_line"], 1.0);
    assert_eq!(packets["retransmitted"], 0);
    let closes = json!({"clean": 1, "early": 0, "missing": 0, "failed": 0, "failures": {}});
    assert_eq!(summary["closes"], closes);
}

#[test]
fn the_times_of_the_summary_are_in_order() {
    let daemon = Daemon::start();
    let objects = objects(&ping(daemon.addr, "-c 50 -i 0 --json -q").assert_exits(0));
    let times = ["min", "p50", "p99", "max"].map(|name| objects[0]["rtt_ms"][name].as_f64());
    assert!(times[0] > Some(0.0) && times.is_sorted(), "{objects:?}");
    let avg = objects[0]["rtt_ms"]["avg"].as_f64();
    assert!(times[0] <= avg && avg <= times[3], "{objects:?}");
}

#[test]
fn a_burst_is_an_object_with_its_packets() {
    let daemon = Daemon::start_with(PACKET_PER_LINE);
    let options = "-c 20 -i 0 --burst 10 --json";
    let objects = objects(&ping(daemon.addr, options).assert_exits(0));
    assert_eq!(of_kind(&objects, "echo").len(), 20);
    let burst = json!({"event": "burst", "connection": 1, "lines": 10, "packets": 10});
    assert_eq!(of_kind(&objects, "burst"), [&burst, &burst]);
}

#[test]
fn faults_are_objects() {
    let server = FaultyServer::start(|mut peer| {
        let mut changed = peer.line();
        changed[10] ^= 1;
        let _dropped = peer.line();
        peer.send(&changed);
    });
    let options = "-c 2 --burst 2 --json -W 30";
    let objects = objects(&server.ping(options).assert_exits(1));
    let wrong = json!({
        "event": "wrong", "connection": 1, "line": 1, "fault": "differs at byte 10",
    });
    assert_eq!(of_kind(&objects, "wrong"), [&wrong]);
    let lost = json!({"event": "lost", "connection": 1, "line": 2});
    assert_eq!(of_kind(&objects, "lost"), [&lost]);
    let closed = json!({
        "event": "closed", "connection": 1, "close": "early", "error": null,
        "last_line": 0, "outstanding": 1,
    });
    assert_eq!(of_kind(&objects, "closed"), [&closed]);
    let summary = objects.last().unwrap();
    assert_eq!(
        (&summary["wrong"], &summary["lost"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(summary["rtt_ms"]["p50"], Value::Null);
}

#[test]
fn a_reset_has_its_reason() {
    let server = FaultyServer::start(|mut peer| {
        peer.line();
        peer.reset();
    });
    let objects = objects(&server.ping("-c 3 -W 30 --json").assert_exits(1));
    let closed = json!({
        "event": "closed", "connection": 1, "close": "failed", "error": "reset",
        "last_line": 0, "outstanding": 1,
    });
    assert_eq!(of_kind(&objects, "closed"), [&closed]);
    let summary = objects.last().unwrap();
    assert_eq!(summary["closes"]["failures"], json!({"reset": 1}));
}

#[test]
fn an_extra_line_is_an_object() {
    let server = FaultyServer::start(|mut peer| {
        peer.send(b"hello\n");
        peer.answer_lines(|peer, line| peer.send(&line));
    });
    let objects = objects(&server.ping("-c 1 --json").assert_exits(1));
    let extra = json!({"event": "extra", "connection": 1, "bytes": 6});
    assert_eq!(of_kind(&objects, "extra"), [&extra]);
    assert_eq!(objects.last().unwrap()["extra"], 1);
}
