//! The transcripts of README.md.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::daemon::{BINARY, Daemon};
use crate::support::namespace::in_private_network;
use crate::support::terminal::open_terminal;

/// The output that README.md shows below the command `prompt`.
fn shown_below(prompt: &str) -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, block) = readme
        .split_once(&format!("```console\n$ {prompt}\n"))
        .expect("the command is in README.md");
    block.split_once("```").unwrap().0.to_owned()
}

/// Replaces what differs from run to run: times, ports, and the packets without data.
fn masked(output: &str) -> String {
    let mut masked = String::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        for (i, word) in words.iter().enumerate() {
            let counts_packets = words.get(i + 1) == Some(&"packets");
            let varies = word.contains('.') && !word.contains(":3000") || counts_packets;
            masked.push_str(if varies { "…" } else { word });
            masked.push(' ');
        }
        masked.push('\n');
    }
    masked
}

/// Types into `nc`'s terminal what README.md shows, each line after the echo before.
fn type_into_nc() -> String {
    let (controller, terminal) = open_terminal();
    let mut controller = File::from(controller);
    let mut nc = Command::new("nc")
        .args(["-N", "127.0.0.1", "3000"])
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal)
        .spawn()
        .expect("nc is installed");
    let mut screen = Vec::new();
    // A terminal shows what is typed, and Ctrl-D (byte 4) sends an unfinished line.
    for (typed, shown) in [
        ("hello\n", "hello\r\nhello\r\n"),
        ("no newline\x04\x04", "no newlineno newline\r\n"),
    ] {
        controller.write_all(typed.as_bytes()).unwrap();
        let mut piece = vec![0; shown.len()];
        controller.read_exact(&mut piece).unwrap();
        screen.extend(piece);
    }
    assert!(nc.wait().unwrap().success());
    String::from_utf8(screen).unwrap().replace('\r', "")
}

#[test]
#[ignore = "needs nc (netcat-openbsd), unshare(1) and user namespaces"]
fn the_first_transcripts_are_what_the_commands_print() {
    in_private_network(|| {
        let daemon = Daemon::spawn(Command::new(BINARY).arg("-v"));
        assert_eq!(type_into_nc(), shown_below("nc -N 127.0.0.1 3000"));
        daemon.wait_for_record(" closed by peer: ");
        let log = daemon.stop().join("\n");
        let expected = masked(&shown_below("echoline -v"));
        assert!(masked(&log).starts_with(&expected), "{log}");
    });
}

#[test]
#[ignore = "needs unshare(1) and user namespaces"]
fn the_ping_transcript_is_what_the_command_prints() {
    in_private_network(|| {
        let _daemon = Daemon::spawn(&mut Command::new(BINARY));
        let ping = Command::new(BINARY)
            .args(["ping", "-q", "-c", "2", "localhost:3000"])
            .output()
            .unwrap();
        let printed = String::from_utf8(ping.stdout).unwrap();
        let expected = shown_below("echoline ping -q -c 2 localhost:3000");
        assert_eq!(masked(&printed), masked(&expected));
    });
}

#[test]
fn the_counted_capture_is_what_the_command_prints() {
    let file = "docs/captures/echoline.pcap";
    let output = Command::new(BINARY)
        .args(["packets", file])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected = shown_below(&format!("echoline packets {file}"));
    assert_eq!(printed, expected);
}

/// Ctrl-C goes to tcpdump and to echoline.
#[test]
#[ignore = "needs tcpdump, nc (netcat-openbsd), unshare(1) and user namespaces"]
fn the_command_that_counts_from_a_pipe_counts_until_ctrl_c() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut lines = readme.lines();
    let command = lines.find_map(|line| line.strip_prefix("sudo tcpdump "));
    let pipeline = format!("tcpdump {}", command.expect("the command is in README.md"));
    in_private_network(|| {
        let _daemon = Daemon::spawn(&mut Command::new(BINARY));
        let path = env::var("PATH").unwrap();
        let binaries = Path::new(BINARY).parent().unwrap().display();
        let mut shell = Command::new("bash")
            .args(["-c", &pipeline])
            .env("PATH", format!("{binaries}:{path}"))
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash is installed");
        let mut messages = BufReader::new(shell.stderr.take().unwrap()).lines();
        assert!(messages.any(|line| line.unwrap().contains("listening on lo")));
        type_into_nc();
        let mut rows = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert!(rows.any(|row| row.unwrap().ends_with(" client ACK of the FIN")));
        let group = Pid::from_child(&shell);
        kill_process_group(group, Signal::INT).unwrap();
        let sums: Vec<String> = rows.map(Result::unwrap).collect();
        let counted = "  2 lines: 2 in one packet; ACK on the echo ";
        assert!(sums.iter().any(|row| row.starts_with(counted)), "{sums:?}");
        shell.wait().unwrap();
    });
}

#[test]
fn docs_usage_shows_the_options_of_the_help() {
    let usage = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/usage.md");
    let usage = fs::read_to_string(usage).unwrap();
    let (_, shown) = usage.split_once("```text\n").unwrap();
    let shown = shown.split_once("```").unwrap().0;
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, options) = help.split_once("Options:\n").unwrap();
    let options = options.split_once("\n\n").unwrap().0;
    let options: Vec<&str> = options.lines().map(|line| &line[2..]).collect();
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown, options);
}
