//! Limits on connections, addresses and file descriptors.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::support::clients::{connect, connect_from, echo, read_exactly, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::process::without_inherited_settings;

fn warnings(log: &[String]) -> usize {
    log.iter().filter(|line| line.contains(" WARN ")).count()
}

/// Each client closes after its echo; the other clients wait in the backlog.
#[test]
fn with_64_descriptors_200_clients_are_all_served_in_the_end() {
    let daemon = Daemon::start_with_fd_limit(64, "");
    let mut clients = daemon.connect_many(200);
    for client in &mut clients {
        client.write_all(b"hello\n").unwrap();
    }
    daemon.wait_for_record("accept paused: ");
    for client in clients {
        assert_eq!(read_exactly(&client, 6), b"hello\n");
    }
    daemon.wait_for_record("accept resumed");
    assert_eq!(warnings(&daemon.stop()), 1);
}

#[test]
fn six_hundred_connects_during_an_accept_pause_are_all_served() {
    let daemon = Daemon::start_with(&["--max-connections", "3"]);
    let first = daemon.connect_many(3);
    daemon.wait_for_record("(3 open)");
    let waiting = daemon.connect_many(600);
    daemon.wait_for_record("accept paused: connection limit 3 reached");
    drop(first);
    for client in waiting {
        echo(&client, b"hello\n");
    }
    let log = daemon.stop();
    assert_eq!(warnings(&log), 1);
    assert!(log.iter().all(|line| !line.contains("(4 open)")));
}

#[test]
fn an_accept_pause_with_an_empty_backlog_is_not_logged() {
    let daemon = Daemon::start_with(&["--max-connections", "1"]);
    for closed in 1..=20 {
        echo(&daemon.connect(), b"hello\n");
        daemon.wait_for_closed(closed);
    }
    assert_eq!(warnings(&daemon.stop()), 0);
}

#[test]
fn at_the_connection_limit_the_listeners_take_turns() {
    let args = ["--listen", "127.0.0.2:0", "--max-connections", "20"];
    let daemon = Daemon::start_with(&args);
    let second = daemon.listen_addr("127.0.0.2:");
    let mut on_first = daemon.connect_many(60);
    daemon.wait_for_record("accept paused");
    let on_second = connect(second);
    let local = on_second.local_addr().unwrap();
    // Each close lets one connection in. One of the four is the second listener's turn.
    for closed in 1..=4 {
        drop(on_first.remove(0));
        daemon.wait_for_closed(closed);
    }
    daemon.wait_for_record(&format!("{local} connected"));
    echo(&on_second, b"hello\n");
}

/// The 600 listeners take descriptors too. (The records of 1,000 would not fit the log's
/// pipe while its reader is slow.)
#[test]
fn a_warning_names_the_connections_that_the_descriptors_allow() {
    let listen = "-l 127.0.0.1:0 ".repeat(599);
    let daemon = Daemon::start_with_fd_limit(700, &format!("{listen} --max-connections 668"));
    let warning = daemon.wait_for_record("max-connections lowered from 668 to ");
    let (_, allowed) = warning.split_once(" to ").unwrap();
    let allowed: usize = allowed.split_once(':').unwrap().0.parse().unwrap();
    assert!((70..=90).contains(&allowed), "{warning}");
    let clients = daemon.connect_many(allowed + 20);
    daemon.wait_for_record(&format!(
        "accept paused: connection limit {allowed} reached"
    ));
    for client in &clients[..allowed] {
        echo(client, b"hello\n");
    }
}

/// The first line that a child writes to stdout with `part`; `None` if it ends without.
fn stdout_line(child: &mut Child, part: &str) -> Option<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = stdout.lines().map_while(Result::ok);
    lines.find(|line| line.contains(part))
}

/// Starts the daemon under a limit. Returns whether it serves; if not, asserts that it has
/// ended with a reason.
fn serves_with_fd_limit(limit: usize, args: &str) -> bool {
    let script = format!("ulimit -n {limit}; exec \"$0\" -l 127.0.0.1:0 {args}");
    let mut command = Command::new("sh");
    without_inherited_settings(command.args(["-c", &script, BINARY]));
    let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.stdin(Stdio::null()).spawn().unwrap();
    if let Some(record) = stdout_line(&mut child, "listening on") {
        let addr = record.rsplit(' ').next().unwrap().parse().unwrap();
        echo(&connect(addr), b"hello\n");
        child.kill().unwrap();
        child.wait().unwrap();
        return true;
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{limit}: {output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let why = ": Too many open files (os error 24)\n";
    assert!(stderr.starts_with("echoline: cannot "), "{limit}: {stderr}");
    assert!(stderr.ends_with(why), "{limit}: {stderr}");
    false
}

#[test]
fn a_daemon_without_a_descriptor_for_a_connection_does_not_start() {
    for args in ["", "--metrics 127.0.0.1:0"] {
        let serves: Vec<_> = (5..15).map(|n| serves_with_fd_limit(n, args)).collect();
        assert!(!serves[0] && serves[9], "{serves:?}");
        assert!(serves.is_sorted(), "{serves:?}");
    }
}

#[test]
fn the_soft_limit_on_descriptors_is_raised_to_the_hard_limit() {
    let script = "ulimit -S -n 40; exec \"$0\" --listen 127.0.0.1:0";
    let daemon = Daemon::spawn(Command::new("sh").args(["-c", script, BINARY]));
    let _clients = daemon.connect_many(100);
    daemon.wait_for_record("(100 open)");
}

#[test]
fn an_address_gets_no_more_connections_than_its_limit() {
    let daemon = Daemon::start_with(&["--max-per-ip", "2"]);
    let (first, second) = (daemon.connect(), daemon.connect());
    echo(&first, b"first\n");
    echo(&second, b"second\n");
    for _ in 0..50 {
        assert_eq!(read_to_end(&daemon.connect()), b"", "closed at once");
    }
    let elsewhere = connect_from([127, 0, 0, 2], daemon.addr);
    echo(&elsewhere, b"from elsewhere\n");
    drop(second);
    daemon.wait_for_record("closed by peer");
    let third = daemon.connect();
    echo(&third, b"third\n");
    drop((first, third, elsewhere));
    assert_refusals_are_logged_and_counted(&daemon.stop(), 50);
}

fn assert_refusals_are_logged_and_counted(log: &[String], count: usize) {
    let is_refusal = |line: &&String| line.contains("refused: address limit 2 reached");
    let records = log.iter().filter(is_refusal).count();
    assert!(
        (1..count).contains(&records),
        "{records} records of {count} refusals"
    );
    let totals = log.iter().find(|line| line.contains("totals: ")).unwrap();
    assert!(totals.contains("totals: 4 connections"), "{totals}");
    assert!(totals.contains(&format!("; {count} refused")), "{totals}");
}

/// The last connection of the backlog takes the last free place.
#[test]
fn accept_resumed_is_logged_at_the_limit_when_the_backlog_is_empty() {
    let daemon = Daemon::start_with(&["--max-connections", "1"]);
    let first = daemon.connect_accepted();
    let second = daemon.connect();
    daemon.wait_for_record("accept paused: connection limit 1 reached");
    drop(first);
    echo(&second, b"hello\n");
    daemon.wait_for_record("accept resumed");
}
