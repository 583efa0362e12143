//! The captures in `docs/captures`, and the page that shows them, `docs/wireshark.md`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, fs};

use crate::support::daemon::BINARY;
use crate::support::pcap::{Segment, segments};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The captures of a directory, by the names of their files: a line for each packet.
type Captures = BTreeMap<String, Vec<String>>;

fn captures(dir: &Path) -> Captures {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|it| it == "pcap"));
    let capture = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, packets(&segments(&fs::read(&path).unwrap())))
    };
    files.map(capture).collect()
}

fn shipped_captures() -> Captures {
    captures(&Path::new(REPOSITORY).join("docs/captures"))
}

/// What is the same in every capture of one exchange: sender, flags, relative sequence
/// numbers, and the bytes of data.
fn packets(segments: &[Segment]) -> Vec<String> {
    let mut initial = HashMap::new();
    let packet = |segment: &Segment| {
        let (from, to) = (segment.from, segment.to);
        let first = *initial.entry((from, to)).or_insert(segment.seq);
        let seq = segment.seq.wrapping_sub(first);
        let peer = initial.get(&(to, from));
        let ack = peer.map_or(0, |first| segment.ack.wrapping_sub(*first));
        let is_server = segment.from.port() == 3000;
        let sender = if is_server { "server" } else { "client" };
        let (flags, len) = (segment.flags, segment.len);
        format!("{sender} flags {flags:#04x}, seq {seq}, ack {ack}, length {len}")
    };
    segments.iter().map(packet).collect()
}

/// Runs the script that makes the captures; `Err` with its error messages if it fails.
fn make_captures() -> Result<Captures, String> {
    let dir = format!("{}/captures.{}", env!("CARGO_TARGET_TMPDIR"), process::id());
    fs::create_dir_all(&dir).unwrap();
    let path = env::var("PATH").unwrap();
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let output = Command::new(format!("{REPOSITORY}/docs/captures/make.sh"))
        .arg(&dir)
        .env("PATH", format!("{binaries}:{path}"))
        .env_remove("RUST_LOG")
        .output()
        .expect("bash is installed");
    let made = captures(dir.as_ref());
    fs::remove_dir_all(&dir).unwrap();
    if output.status.success() {
        Ok(made)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
#[ignore = "needs tcpdump, ip, ss, python3, unshare(1) and user namespaces"]
fn captures_made_anew_have_the_same_packets_as_those_in_docs() {
    let shipped = shipped_captures();
    // If the machine is busy for 40 ms, a timer sends an ACK: up to three attempts.
    let failures: Vec<String> = (0..3)
        .map_while(|_| match make_captures() {
            Ok(made) => (made != shipped).then(|| format!("{made:#?}")),
            Err(message) => Some(message),
        })
        .collect();
    let made = failures.join("\n---\n");
    assert!(failures.len() < 3, "docs: {shipped:#?}, anew: {made}");
}

/// The commands in the `console` blocks of a page, each with the output that follows it.
fn commands(page: &str) -> Vec<(&str, String)> {
    let mut commands = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            is_inside = kind == "console";
        } else if is_inside && let Some(command) = line.strip_prefix("$ ") {
            commands.push((command, String::new()));
        } else if is_inside {
            let (_, output) = commands.last_mut().expect("a command before its output");
            writeln!(output, "{line}").unwrap();
        }
    }
    commands
}

/// Runs the commands in one shell; returns the output of each.
fn run(commands: &[&str]) -> Vec<String> {
    const MARK: &str = "=== end of output ===\n";
    let mut script = String::from("set -eu; shopt -s expand_aliases\n");
    for command in commands {
        writeln!(script, "{command}\nprintf %s '{MARK}'").unwrap();
    }
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let path = env::var("PATH").unwrap();
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(REPOSITORY)
        .env("PATH", format!("{binaries}:{path}"))
        // Not the user's settings.
        .env("WIRESHARK_CONFIG_DIR", "/no/such/directory")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("bash is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let outputs = printed.split_terminator(MARK);
    outputs.map(str::to_owned).collect()
}

#[test]
#[ignore = "needs tshark"]
fn the_page_about_wireshark_shows_what_tshark_prints() {
    let page = fs::read_to_string(format!("{REPOSITORY}/docs/wireshark.md")).unwrap();
    let (commands, expected): (Vec<&str>, Vec<String>) = commands(&page).into_iter().unzip();
    for capture in shipped_captures().keys() {
        let is_shown = commands.iter().any(|command| command.contains(capture));
        assert!(is_shown, "no command reads {capture}");
    }
    let printed = run(&commands);
    assert_eq!(printed.len(), commands.len());
    for ((command, expected), printed) in commands.iter().zip(expected).zip(printed) {
        assert_eq!(printed, expected, "{command}");
    }
}
