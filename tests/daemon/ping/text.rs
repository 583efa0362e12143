//! The printed text, with the figures that differ from run to run replaced.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::faulty_server::FaultyServer;
use super::ping;
use super::program::{Finished, Ping};
use crate::support::daemon::Daemon;

/// Replaces the server's address, times, and packet totals, which depend on ACKs.
fn without_figures(finished: &Finished, addr: &str) -> String {
    let text = finished.stdout.replace(addr, "ADDR");
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let replaced = (0..words.len()).map(|i| {
            let before = if i == 0 { "" } else { words[i - 1] };
            without_figure(before, words[i], words.get(i + 1).copied())
        });
        replaced.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

/// A word, unless it is a time or a total number of packets.
fn without_figure(before: &str, word: &str, after: Option<&str>) -> String {
    let is_total = matches!(after, Some("out" | "in")) && before != "closed";
    match (word.split_once('='), after) {
        (Some(("time", _)), _) => "time=T".into(),
        (None, Some("ms")) if word.contains('/') => "T/T/T/T/T".into(),
        (None, Some("ms")) => "T".into(),
        _ if is_total && word.parse::<u64>().is_ok() => "N".into(),
        _ => word.into(),
    }
}

#[test]
fn each_echo_and_the_statistics_are_printed_as_documented() {
    let daemon = Daemon::start();
    let finished = ping(daemon.addr, "-c 2 -i 0").assert_exits(0);
    let expected = "\
PING ADDR (ADDR): lines of 64 bytes
64 bytes from ADDR: line=1 time=T ms packets=1
64 bytes from ADDR: line=2 time=T ms packets=1
--- ADDR echo statistics ---
2 lines sent, 2 echoed, 0 wrong, 0 lost
rtt min/avg/p50/p99/max = T/T/T/T/T ms
packets: N out (2 data), N in (2 data); 1.00 data packets per line received; 0 retransmitted
packets per line: 2 x 1
closed cleanly by the server in T ms
";
    assert_eq!(
        without_figures(&finished, &daemon.addr.to_string()),
        expected
    );
}

#[test]
fn a_burst_is_printed_after_its_echoes() {
    let daemon = Daemon::start();
    let finished = ping(daemon.addr, "-c 2 --burst 2").assert_exits(0);
    let expected = "\
PING ADDR (ADDR): lines of 64 bytes
64 bytes from ADDR: line=1 time=T ms
64 bytes from ADDR: line=2 time=T ms
burst of 2 lines: packets=1
--- ADDR echo statistics ---
2 lines sent, 2 echoed, 0 wrong, 0 lost
rtt min/avg/p50/p99/max = T/T/T/T/T ms
packets: N out (1 data), N in (1 data); 0.50 data packets per line received; 0 retransmitted
packets per burst: first 1 x 1
closed cleanly by the server in T ms
";
    assert_eq!(
        without_figures(&finished, &daemon.addr.to_string()),
        expected
    );
}

#[test]
fn a_burst_of_one_line_is_one_line() {
    let daemon = Daemon::start();
    ping(daemon.addr, "-c 3 -i 0 --burst 2")
        .assert_exits(0)
        .assert_prints("\nburst of 2 lines: packets=1\n")
        .assert_prints("\nburst of 1 line: packets=1\n");
}

#[test]
fn a_lost_line_is_printed_as_documented() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|_, _| ());
        peer.hold();
    });
    let addr = server.addr.to_string();
    let finished = server.ping("-c 1 -W 0.2").assert_exits(1);
    let expected = "\
PING ADDR (ADDR): lines of 64 bytes
no echo from ADDR: line=1
--- ADDR echo statistics ---
1 line sent, 0 echoed, 0 wrong, 1 lost
packets: N out (1 data), N in (0 data); 0 retransmitted
not closed by the server within 0.2 s: its socket is probably in CLOSE_WAIT
";
    assert_eq!(without_figures(&finished, &addr), expected);
}

/// The name is that of the command line; the address is the one that accepted.
#[test]
fn a_family_can_be_chosen_for_localhost() {
    let daemon = Daemon::start_with(&["--listen", "[::1]:0"]);
    let v6 = daemon.listen_addr("[::1]");
    for (option, addr) in [("-4", daemon.addr), ("-6", v6)] {
        let name = format!("localhost:{}", addr.port());
        let options = format!("{option} -c 1");
        let finished = Ping::spawn_at(&name, &options).wait_for_exit();
        finished
            .assert_exits(0)
            .assert_prints(&format!("PING {name} ({addr}): lines of 64 bytes\n"))
            .assert_prints(&format!("64 bytes from {addr}: line=1 time="))
            .assert_prints(&format!("--- {name} echo statistics ---\n"));
    }
}

#[test]
fn a_histogram_counts_every_echo() {
    let daemon = Daemon::start();
    let finished = ping(daemon.addr, "-c 100 -i 0 -q --histogram").assert_exits(0);
    let (mut total, mut longest) = (0, 0);
    for bucket in finished.stdout.lines().filter_map(|l| l.strip_prefix("< ")) {
        let (_bound, rest) = bucket.split_once(" ms ").expect("an upper bound");
        let rest = rest.trim_start();
        let (count, bar) = rest.split_once(' ').unwrap_or((rest, ""));
        total += count.parse::<u64>().unwrap();
        assert!(bar.chars().all(|c| c == '#'), "{bucket}");
        longest = longest.max(bar.len());
    }
    assert_eq!((total, longest), (100, 50), "{finished:?}");
}

/// As iputils' ping prints it.
#[test]
fn each_line_can_have_the_time() {
    let daemon = Daemon::start();
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    };
    let before = now();
    let finished = ping(daemon.addr, "-c 2 -i 0 -D").assert_exits(0);
    let text = ping(daemon.addr, "-c 2 -i 0 -D --json").assert_exits(0);
    let after = now();
    let times = finished.stdout.lines().filter_map(|line| {
        let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
        assert!(rest.starts_with("64 bytes from "), "{line}");
        Some(time.parse::<f64>().unwrap())
    });
    let objects = text.stdout.lines();
    let objects = objects.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let times: Vec<_> = times
        .chain(objects.filter_map(|o| o["time"].as_f64()))
        .collect();
    // Two lines; two echoes and the close.
    assert_eq!(times.len(), 5, "{finished:?} {text:?}");
    // The text has whole microseconds.
    assert!(
        times
            .iter()
            .all(|time| (before - 1e-6..=after).contains(time)),
        "{times:?}"
    );
}
