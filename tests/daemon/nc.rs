//! The server with the client that most people try first.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::daemon::Daemon;

#[test]
#[ignore = "needs nc (netcat-openbsd)"]
fn nc_prints_every_line_and_exits() {
    let daemon = Daemon::start();
    let port = daemon.addr.port().to_string();
    let mut nc = Command::new("nc")
        .args(["-N", "127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc is installed");
    let mut stdin = nc.stdin.take().unwrap();
    stdin.write_all(b"hello\nlast").unwrap();
    drop(stdin);
    let output = nc.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"hello\nlast\n");
    assert!(output.status.success());
}

/// The rows of the table in `docs/packets.md`: client, whether it ends the session, and
/// what it prints.
fn rows_of_the_page() -> Vec<[String; 3]> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/packets.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| client | ends the session |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .map_while(|row| row.strip_prefix("| `"));
    let cells = rows.map(|row| {
        let (client, cells) = row.split_once("` | ").unwrap();
        let (ends, prints) = cells.trim_end_matches(" |").split_once(" | ").unwrap();
        [client, ends, prints].map(str::to_owned)
    });
    cells.collect()
}

/// Runs a client of the daemon for some seconds at most, with three lines as its input, the
/// last without newline. The status of timeout(1) is 124 if the client did not end.
fn run(client: &str, daemon: &Daemon, seconds: u32) -> Output {
    let addr = daemon.addr;
    let command = match client.strip_suffix("HOST:PORT") {
        Some(client) => format!("{client}{addr}"),
        None => format!("{client} {} {}", addr.ip(), addr.port()),
    };
    let mut client = Command::new("timeout")
        .arg(seconds.to_string())
        .args(command.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("timeout is installed");
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\nlast").unwrap();
    drop(stdin);
    client.wait_with_output().unwrap()
}

#[test]
#[ignore = "needs nc.openbsd, nc.traditional, busybox, ncat and socat"]
fn clients_end_the_session_and_print_as_the_page_says() {
    let daemon = Daemon::start();
    let rows = rows_of_the_page();
    assert_eq!(rows.len(), 9);
    for [client, ends, prints] in rows {
        let ends = ends.starts_with("yes");
        let output = run(&client, &daemon, if ends { 20 } else { 2 });
        let status = if ends { 0 } else { 124 };
        assert_eq!(output.status.code(), Some(status), "{client}: {output:?}");
        let lines: &[u8] = match prints.as_str() {
            "all lines" => b"one\ntwo\nlast\n",
            "the complete lines" => b"one\ntwo\n",
            // The client does not wait for the echo. It prints what came before its end.
            _ => continue,
        };
        assert_eq!(output.stdout, lines, "{client}: {output:?}");
    }
}
