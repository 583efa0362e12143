//! The shape of the log.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::support::{BINARY, Daemon, echo, read_to_end, send_and_read_to_end, spawn_on_free_port};

/// What a record says after its timestamp, which is checked for its form.
fn text(record: &str) -> &str {
    let (timestamp, text) = record.split_once(' ').expect("a timestamp");
    let form: String = timestamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{record}");
    text
}

/// The record with each time replaced by `T` and each count of packets by `N`.
fn figureless(record: &str) -> String {
    let (before, packets) = record.split_once("; packets ").expect("a clause");
    let (before, after) = before.split_once(" s;").unwrap_or((before, ""));
    let (before, seconds) = before.trim_end_matches(" s").rsplit_once(' ').unwrap();
    let after = after
        .strip_prefix(' ')
        .map_or(String::new(), |clause| format!("; {clause}"));
    assert!(seconds.parse::<f64>().is_ok(), "{record}");
    assert_eq!(seconds.split_once('.').unwrap().1.len(), 2, "{record}");
    let words = packets.split(' ').map(|word| {
        let count = word.trim_matches(|c: char| !c.is_ascii_digit());
        count
            .parse::<u64>()
            .map_or(word.to_owned(), |_| word.replace(count, "N"))
    });
    let packets: Vec<String> = words.collect();
    format!("{before} T s{after}; packets {}", packets.join(" "))
}

#[test]
fn a_session_is_recorded_as_documented() {
    let daemon = Daemon::start_with(&["-v"]);
    let addr = daemon.addr;
    let client = daemon.connect();
    let peer = client.local_addr().unwrap();
    assert_eq!(
        send_and_read_to_end(&client, b"hello\nlast"),
        b"hello\nlast\n"
    );
    daemon.closing_record(peer);
    let log = daemon.stop();
    let texts: Vec<&str> = log.iter().map(|record| text(record)).collect();
    assert_eq!(
        texts[..4],
        [
            format!("INFO  [echoline] listening on {addr}"),
            format!("INFO  [echoline] {peer} connected (1 open)"),
            format!(r#"DEBUG [echoline] {peer} message: "hello""#),
            format!(r#"DEBUG [echoline] {peer} message: "last""#),
        ]
    );
    assert_eq!(
        figureless(texts[4]),
        format!(
            "INFO  [echoline] {peer} closed by peer: 2 lines, 10 bytes in, 11 bytes out, T s; packets in N (N data), out N (N data), N retransmitted"
        )
    );
    assert_eq!(texts[5], "INFO  [echoline] SIGTERM: stopping (0 open)");
    assert_eq!(
        figureless(texts[6]),
        "INFO  [echoline] totals: 1 connection, 0 open, 2 lines, 10 bytes in, 11 bytes out, up T s; closed 1 by peer; packets in N (N data), out N (N data), N retransmitted"
    );
    assert_eq!(texts.len(), 7);
}

#[test]
fn client_data_is_escaped_and_cut() {
    let daemon = Daemon::start_with(&["-v"]);
    let client = daemon.connect();
    echo(&client, b"\x1b[31m\"fake\"\rrecord\xff\0\n");
    daemon.wait_for_record(r#"message: "\x1b[31m\"fake\"\rrecord\xff\x00""#);
    echo(&client, &[&[b'a'; 1000][..], b"\n"].concat());
    let record = daemon.wait_for_record("and 744 more bytes");
    let shown = format!("\"{}\" and 744 more bytes", "a".repeat(256));
    assert!(record.ends_with(&shown), "{record}");
}

#[test]
fn each_message_is_logged_only_when_asked_for_and_each_event_with_vv() {
    for (args, message, event) in [
        (vec![], false, false),
        (vec!["-v"], true, false),
        (vec!["-vv"], true, true),
        (vec!["-v", "-v"], true, true),
    ] {
        let daemon = Daemon::start_with(&args);
        send_and_read_to_end(&daemon.connect(), b"hello\n");
        let log = daemon.stop();
        let has = |part| log.iter().any(|line| line.contains(part));
        assert_eq!(has("DEBUG [echoline] 127.0.0.1:"), message, "{args:?}");
        assert_eq!(has("TRACE [echoline] 127.0.0.1:"), event, "{args:?}");
    }
}

/// Ends the daemon; returns all that it wrote to its stdout, a pipe.
fn log_of(mut child: Child) -> String {
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut log).unwrap();
    log
}

#[test]
fn quiet_logs_warnings_only() {
    let mut command = Command::new(BINARY);
    command
        .args(["-q", "--max-line", "5"])
        .stdout(Stdio::piped());
    let (child, addr) = spawn_on_free_port(command.env_remove("RUST_LOG"));
    let mut client = crate::support::connect(addr);
    client.write_all(b"too long\n").unwrap();
    assert_eq!(read_to_end(&client), b"");
    let log = log_of(child);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(" WARN  [echoline] 127.0.0.1:"), "{log}");
}

/// What the log says of a connection without a byte and of one with a line.
fn records_of_a_probe_and_a_session(args: &[&str]) -> (Vec<String>, Vec<String>, String) {
    let daemon = Daemon::start_with(args);
    let probe = daemon.connect();
    let of_probe = probe.local_addr().unwrap();
    drop(probe);
    let client = daemon.connect();
    let of_client = client.local_addr().unwrap();
    echo(&client, b"hello\n");
    echo(&client, b"hello\n");
    drop(client);
    daemon.closing_record(of_client);
    let log = daemon.stop();
    let records_of = |addr: std::net::SocketAddr| {
        let addr = format!("] {addr} ");
        let records = log.iter().filter(|line| line.contains(&addr));
        records.map(|line| text(line).to_owned()).collect()
    };
    let totals = log.last().unwrap().clone();
    (records_of(of_probe), records_of(of_client), totals)
}

#[test]
fn empty_connections_are_not_logged_if_that_is_asked_for_and_always_counted() {
    let (probe, session, totals) = records_of_a_probe_and_a_session(&["--no-log-empty"]);
    assert_eq!(probe, [""; 0]);
    assert_eq!(session.len(), 2, "{session:?}");
    assert!(session[0].ends_with(" connected (1 open)"), "{session:?}");
    assert!(
        session[1].contains(" closed by peer: 2 lines"),
        "{session:?}"
    );
    assert!(totals.contains("; closed 2 by peer; 1 empty; "), "{totals}");

    let (probe, session, _) = records_of_a_probe_and_a_session(&["--no-log-empty", "-v"]);
    assert!(probe[0].starts_with("DEBUG "), "{probe:?}");
    assert!(probe[0].contains(" closed by peer: 0 lines, 0 bytes in"));
    assert_eq!(probe.len(), 1, "{probe:?}");
    assert!(session[0].ends_with(" connected (1 open)"), "{session:?}");
    assert!(session[1].contains(" message: "), "{session:?}");

    let (probe, _, totals) = records_of_a_probe_and_a_session(&[]);
    assert_eq!(probe.len(), 2, "{probe:?}");
    assert!(totals.contains("; closed 2 by peer; 1 empty; "), "{totals}");
}

#[test]
fn rust_log_overrides_the_level() {
    let mut command = Command::new(BINARY);
    command
        .arg("-vv")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped());
    let (child, addr) = spawn_on_free_port(&mut command);
    send_and_read_to_end(&crate::support::connect(addr), b"hello\n");
    let log = log_of(child);
    assert_eq!(log, "");
}

#[test]
fn records_have_no_timestamp_where_the_journal_adds_one() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let meta = std::fs::File::from(theirs.try_clone().unwrap())
        .metadata()
        .unwrap();
    let mut command = Command::new(BINARY);
    command
        .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
        .env_remove("RUST_LOG")
        .stdout(theirs);
    let (mut child, addr) = spawn_on_free_port(&mut command);
    drop(command);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = String::new();
    (&ours).read_to_string(&mut log).unwrap();
    let first = format!("INFO  [echoline] listening on {addr}\n");
    assert!(log.starts_with(&first), "{log}");
}
