//! The program: what it prints, and its exit status.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::dialogue::{Client, Dialogue, SECOND, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_echoline");

/// A file that is removed on drop.
struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> File {
        let name = format!("{}-{name}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, bytes).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(file: &File, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    command.arg("packets").args(options).arg(&file.0);
    strings(command.output().unwrap(), file)
}

/// The file's path is left out of what is printed.
fn strings(output: Output, file: &File) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(file.0.to_str().unwrap(), "FILE")
    };
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn one_line() -> Dialogue {
    Dialogue::open().exchange(b"1\n").close()
}

fn two_writes() -> Dialogue {
    let dialogue = Dialogue::open()
        .data(Client, b"1\n")
        .ack(Server)
        .data(Server, b"1");
    dialogue
        .ack(Client)
        .data(Server, b"\n")
        .ack(Client)
        .fin(Client)
        .ack(Server)
}

/// A file's name on Linux is bytes: `path_resolution(7)`.
#[test]
fn a_capture_may_have_a_name_that_is_no_utf_8() {
    let file = File::new("no-utf-8", &one_line().pcap());
    let renamed = File(file.0.with_file_name(OsStr::from_bytes(b"\xff.pcap")));
    fs::rename(&file.0, &renamed.0).unwrap();
    let mut command = Command::new(PROGRAM);
    let output = command.arg("packets").arg(&renamed.0).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_ladder_and_its_sums_are_printed_for_each_connection() {
    let second = Dialogue::between(["[fd00::2]:5000", "[fd00::1]:3000"], [1, 2]).handshake();
    let second = second.exchange(b"ten\n").close();
    let file = File::new("ladder", &two_writes().wait(3 * SECOND).then(second).pcap());
    let (status, stdout, stderr) = run(&file, &[]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let expected = "\
10.0.0.2:40000 > 10.0.0.1:3000
      1 +0.000000 client SYN
      2 +0.000100 server SYN, ACK
      3 +0.000100 client ACK
      4 +0.000100 client line 1, 2 bytes
      5 +0.000100 server ACK of line 1
      6 +0.000100 server echo 1, byte 1 of 2
      7 +0.000100 client ACK of a part of echo 1
      8 +0.000100 server echo 1, byte 2 of 2: the newline alone
      9 +0.000100 client ACK of echo 1
     10 +0.000100 client FIN
     11 +0.000100 server ACK of the FIN
  handshake 3, exchange 6, close 2; 0 again, 0 late, 0 bytes not captured
  1 line: 1 in two packets (line 1); 2.00 data packets per line; ACK on the echo 0 of 1; 0 stalls
  no FIN from the server in the 3.0 s that follow the client's: its socket is in CLOSE_WAIT
[fd00::2]:5000 > [fd00::1]:3000
     12 +0.000000 client SYN
     13 +0.000100 server SYN, ACK
     14 +0.000100 client ACK
     15 +0.000100 client line 1, 4 bytes
     16 +0.000100 server echo 1, 4 bytes, with the ACK of line 1
     17 +0.000100 client ACK of echo 1
     18 +0.000100 client FIN
     19 +0.000100 server FIN, with the ACK of the FIN
     20 +0.000100 client ACK of the FIN
  handshake 3, exchange 3, close 3; 0 again, 0 late, 0 bytes not captured
  1 line: 1 in one packet; ACK on the echo 1 of 1; 0 stalls
  the client closed first, the server 0.1 ms later
--- FILE: 20 packets, 2 connections ---
handshake 6, exchange 9, close 5; 0 again, 0 late, 0 bytes not captured
2 lines: 1 in one packet, 1 in two packets; 1.50 data packets per line; ACK on the echo 1 of 2; 0 stalls; 0 wrong, 0 not compared
1 closed by both sides, 0 reset
";
    assert_eq!(stdout, expected);
}

#[test]
fn the_exit_status_says_whether_expectations_are_met() {
    let good = File::new("good", &one_line().pcap());
    let strict = ["--expect-packets", "1", "--expect-close", "-q"];
    let (status, stdout, _) = run(&good, &strict);
    assert_eq!(status, Some(0));
    assert!(stdout.ends_with("as expected\n"), "{stdout}");
    let bad = File::new("bad", &two_writes().pcap());
    let (status, stdout, _) = run(&bad, &strict);
    assert_eq!(status, Some(1));
    assert!(
        stdout.contains("not as expected: 1 in another number of packets"),
        "{stdout}"
    );
    let (status, stdout, _) = run(&bad, &["--expect-close"]);
    assert_eq!(status, Some(4));
    assert!(
        stdout.contains("cannot tell: the capture ends less than 2 s"),
        "{stdout}"
    );
    for usage in ["--expect-packets=0", "--port=65536", "--nonsense"] {
        assert_eq!(run(&good, &[usage]).0, Some(2), "{usage}");
    }
    assert_eq!(run(&good, &["--all", "-q"]).0, Some(2));
}

#[test]
fn what_is_unreadable_or_no_echo_is_status_3_and_one_line() {
    let missing = File(PathBuf::from("/nonexistent/file.pcap"));
    for (file, why) in [
        (missing, "FILE: No such file or directory (os error 2)"),
        (File(PathBuf::from("/tmp")), "FILE: is a directory"),
        (
            File::new("text", b"hello, world"),
            "FILE: no capture: neither pcap nor pcapng",
        ),
        (
            File::new("empty", &Dialogue::new().pcap()),
            "FILE: no TCP connection with a line echo in it (no packet)",
        ),
        (
            File::new("no-echo", &Dialogue::open().close().pcap()),
            "FILE: no TCP connection with a line echo in it (1 connection; with --port, any counts)",
        ),
    ] {
        let (status, _, stderr) = run(&file, &["-q"]);
        assert_eq!((status, stderr), (Some(3), format!("echoline: {why}\n")));
    }
}

#[test]
fn a_damaged_file_never_passes_a_check() {
    let mut bytes = one_line().pcap();
    bytes.extend([0xff; 64]);
    let file = File::new("damaged", &bytes);
    let (status, stdout, stderr) = run(&file, &["-q", "--expect-packets=1"]);
    assert_eq!(status, Some(4), "{stdout}");
    assert!(
        stdout.contains("cannot tell: the file is damaged"),
        "{stdout}"
    );
    assert_eq!(
        stderr,
        "echoline: FILE: unreadable after packet 9: a record of over 4 MiB\n"
    );
    assert_eq!(run(&file, &["-q"]).0, Some(3));
    // A cut last record is what a killed tcpdump leaves.
    let bytes = one_line().pcap();
    let file = File::new("cut", &bytes[..bytes.len() - 1]);
    let (status, _, stderr) = run(&file, &["-q", "--expect-packets=1"]);
    assert_eq!(
        (status, stderr.as_str()),
        (Some(0), "echoline: FILE: the last record is cut\n")
    );
}

#[test]
fn json_has_an_object_per_packet_per_connection_and_for_the_summary() {
    let file = File::new("json", &one_line().pcap());
    let (_, stdout, _) = run(&file, &["--json"]);
    let events: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..9], ["packet"; 9]);
    assert_eq!(kinds[9..], ["connection", "summary"]);
    let echo = &events[4];
    assert_eq!(
        (&echo["number"], &echo["from"], &echo["kind"]),
        (&5.into(), &"server".into(), &"data".into())
    );
    assert_eq!(echo["acked"]["lines"], serde_json::json!([1, 1]));
    assert_eq!(echo["lines"]["last_byte"], 2);
    assert_eq!(echo["time_ms"], 0.4);
    let connection = &events[9];
    assert_eq!(
        connection["packets_per_line"],
        serde_json::json!({ "1": 1 })
    );
    assert_eq!(connection["closed"]["how"], "both");
    assert_eq!(events[10]["verdict"], "met");
    // Each field is in the documents.
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/counting.md")).unwrap();
    for event in &events {
        for field in event.as_object().unwrap().keys() {
            assert!(
                page.contains(&format!("`{field}`")),
                "{field} is not in docs/counting.md"
            );
        }
    }
}

#[test]
fn a_long_ladder_is_cut_and_attention_is_not() {
    let mut dialogue = Dialogue::open();
    for number in 0..100 {
        dialogue = dialogue.exchange(b"line\n");
        if number == 80 {
            dialogue = dialogue.again(Server, 5, b"line\n");
        }
    }
    let file = File::new("long", &dialogue.close().pcap());
    let (_, stdout, _) = run(&file, &[]);
    assert!(stdout.contains("        … 206 more (--all)\n"), "{stdout}");
    assert!(stdout.contains("server again: 5 bytes\n"), "{stdout}");
    let rows = stdout.lines().filter(|line| line.contains(" +0.0"));
    assert_eq!(rows.count(), 41, "{stdout}");
    let (_, stdout, _) = run(&file, &["--all"]);
    assert_eq!(
        stdout
            .lines()
            .filter(|line| line.starts_with("   1 "))
            .count(),
        308,
        "{stdout}"
    );
}

#[test]
fn options_may_come_from_the_environment() {
    let file = File::new("environment", &two_writes().pcap());
    let mut command = Command::new(PROGRAM);
    command
        .args(["packets", "-q"])
        .arg(&file.0)
        .env("ECHOLINE_PACKETS_EXPECT_PACKETS", "1");
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

/// A file that is piped has an end, and the time of reading shows nothing.
#[test]
fn a_pipe_prints_rows_in_the_order_of_the_file() {
    let other = Dialogue::between(["10.0.0.9:5000", "10.0.0.1:3000"], [1, 2]).handshake();
    let file = two_writes().then(other.exchange(b"x\n").close()).pcap();
    let mut child = Command::new(PROGRAM)
        .args(["packets", "--expect-close", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&file).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.starts_with("   1     1 +0.000000 client SYN\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("   2    12 +0.000000 client SYN\n"),
        "{stdout}"
    );
    assert_eq!(output.status.code(), Some(4), "{stdout}");
}
