//! The form of the records.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::clients::{echo, send_and_read_to_end};
use crate::support::daemon::{BINARY, Daemon, spawn_on_reserved_port};
use crate::support::deadline::{DEADLINE, wait_until};

/// The text of a record after its timestamp. Asserts the form of the timestamp.
fn text(record: &str) -> &str {
    let (timestamp, text) = record.split_once(' ').expect("a timestamp");
    let form: String = timestamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{record}");
    text
}

/// Replaces the duration, which has two decimals, by `T`, and the packet counts by `N`.
fn mask_figures(record: &str) -> String {
    let (before, after) = record.split_once(" bytes, ").expect("byte counts");
    let is_seconds = |word: &str| {
        let decimals = word.split_once('.').map(|(_, decimals)| decimals.len());
        decimals == Some(2) && word.parse::<f64>().is_ok()
    };
    let words = after.split(' ').map(|word| match word {
        _ if is_seconds(word) => "T".to_owned(),
        _ if word.contains('/') => word.replace(|c: char| c.is_ascii_digit(), "N"),
        _ => word.to_owned(),
    });
    let words: Vec<String> = words.collect();
    format!("{before} bytes, {}", words.join(" "))
}

#[test]
fn a_session_is_logged_as_documented() {
    let daemon = Daemon::start_with(&["-v"]);
    let addr = daemon.addr;
    let client = daemon.connect();
    let peer = client.local_addr().unwrap();
    let echoed = send_and_read_to_end(&client, b"hello\nlast");
    assert_eq!(echoed, b"hello\nlast\n");
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
        mask_figures(texts[4]),
        format!(
            "INFO  [echoline] {peer} closed by peer: 2 lines, 10/11 bytes, N/N packets (N/N data), T s"
        )
    );
    assert_eq!(texts[5], "INFO  [echoline] SIGTERM: stopping (0 open)");
    assert_eq!(
        mask_figures(texts[6]),
        "INFO  [echoline] totals: 1 connection, 0 open, 2 lines, 10/11 bytes, N/N packets (N/N data), up T s; closed 1 by peer"
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
fn records_for_the_journal_have_a_priority_and_no_timestamp() {
    let (reader, stdout) = UnixStream::pair().unwrap();
    let stdout = OwnedFd::from(stdout);
    let meta = File::from(stdout.try_clone().unwrap()).metadata().unwrap();
    let mut command = Command::new(BINARY);
    command
        .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()))
        .env_remove("RUST_LOG")
        .stdout(stdout);
    let (mut child, addr) = spawn_on_reserved_port(&mut command);
    drop(command);
    // It listens, and takes connections, before it writes the record.
    reader.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut first = String::new();
    BufReader::new(&reader).read_line(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(first, format!("<6>INFO  [echoline] listening on {addr}\n"));
}

/// The records of an empty connection and of one with two lines, and the totals.
struct EmptyAndSession {
    empty: Vec<String>,
    session: Vec<String>,
    totals: String,
}

fn log_empty_and_session(args: &[&str]) -> EmptyAndSession {
    let daemon = Daemon::start_with(args);
    let empty = daemon.connect();
    let empty_addr = empty.local_addr().unwrap();
    drop(empty);
    wait_until("the close", || daemon.close_wait_sockets() == 0);
    let client = daemon.connect();
    let client_addr = client.local_addr().unwrap();
    echo(&client, b"hello\n");
    echo(&client, b"hello\n");
    drop(client);
    daemon.closing_record(client_addr);
    let log = daemon.stop();
    let records_of = |addr: SocketAddr| {
        let addr = format!("] {addr} ");
        let records = log.iter().filter(|line| line.contains(&addr));
        records.map(|line| text(line).to_owned()).collect()
    };
    EmptyAndSession {
        empty: records_of(empty_addr),
        session: records_of(client_addr),
        totals: log.last().unwrap().clone(),
    }
}

#[test]
fn no_log_empty_hides_empty_connections_but_counts_them() {
    let log = log_empty_and_session(&["--no-log-empty"]);
    assert_eq!(log.empty, [""; 0]);
    let [connected, closed] = &log.session[..] else {
        panic!("two records: {:?}", log.session);
    };
    assert!(connected.ends_with(" connected (1 open)"), "{connected}");
    assert!(closed.contains(" closed by peer: 2 lines"), "{closed}");
    assert!(
        log.totals.contains("; closed 2 by peer; 1 empty"),
        "{}",
        log.totals
    );
}

#[test]
fn no_log_empty_logs_empty_connections_at_level_debug() {
    let log = log_empty_and_session(&["--no-log-empty", "-v"]);
    let [closed] = &log.empty[..] else {
        panic!("one record: {:?}", log.empty);
    };
    assert!(closed.starts_with("DEBUG "), "{closed}");
    assert!(
        closed.contains(" closed by peer: 0 lines, 0/0 bytes"),
        "{closed}"
    );
    let session = log.session;
    assert!(session[0].ends_with(" connected (1 open)"), "{session:?}");
    assert!(session[1].contains(" message: "), "{session:?}");
}

#[test]
fn empty_connections_are_logged_and_counted_by_default() {
    let log = log_empty_and_session(&[]);
    assert_eq!(log.empty.len(), 2, "{:?}", log.empty);
    assert!(
        log.totals.contains("; closed 2 by peer; 1 empty"),
        "{}",
        log.totals
    );
}
