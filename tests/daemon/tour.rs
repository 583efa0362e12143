//! Runs the commands of `docs/packets.md` and compares their output with the page.

use std::fmt::Write;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::{env, fs};

use crate::support::daemon::BINARY;
use crate::support::namespace::in_private_network;

/// A fenced block of the page: its info string and its text.
type Block<'a> = (&'a str, String);

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                blocks.push((kind, String::new()));
                inside = true;
            }
            None if inside => writeln!(blocks.last_mut().unwrap().1, "{line}").unwrap(),
            None => {}
        }
    }
    blocks
}

/// Runs the page's `sh` blocks in one shell; returns the output of each.
fn run(page: &[Block<'_>]) -> Vec<String> {
    const MARK: &str = "=== end of block ===\n";
    let mut script = String::from("set -u\n");
    for (_, commands) in page.iter().filter(|(kind, _)| *kind == "sh") {
        writeln!(script, "{commands}echo '{}'", MARK.trim_end()).unwrap();
    }
    script.push_str("kill \"$server\"; wait \"$server\"\n");

    let dir = format!("{}/tour.{}", env!("CARGO_TARGET_TMPDIR"), process::id());
    fs::create_dir_all(&dir).unwrap();
    let path = env::var("PATH").unwrap();
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&dir)
        .env("PATH", format!("{binaries}:{path}"))
        .env_remove("RUST_LOG")
        .stderr(Stdio::inherit())
        .output()
        .expect("bash is installed");
    fs::remove_dir_all(&dir).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split_terminator(MARK).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs tcpdump, nc, ss, python3, unshare(1) and user namespaces"]
fn the_page_about_packets_shows_what_its_commands_print() {
    in_private_network(|| {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/packets.md");
        let page = fs::read_to_string(page).unwrap();
        let page = blocks(&page);
        // If the machine is busy for 40 ms, a timer sends an ACK: up to three attempts.
        let failures: Vec<String> = (0..3)
            .map_while(|_| differences(&page, &run(&page)))
            .collect();
        assert!(failures.len() < 3, "{}", failures.join("\n---\n"));
    });
}

/// The differences between the page and the output; `None` if they agree. The text of a
/// block marked `varies` differs from run to run, but its last word has to agree.
fn differences(page: &[Block<'_>], printed: &[String]) -> Option<String> {
    let mut printed = printed.iter();
    let mut last = "";
    let mut differences = String::new();
    for (kind, expected) in page {
        let agree = match *kind {
            "sh" => {
                last = printed.next().map_or("", String::as_str);
                continue;
            }
            "text" => last == expected,
            "text varies" => last.split(' ').next_back() == expected.split(' ').next_back(),
            _ => continue,
        };
        if !agree {
            write!(differences, "the page:\n{expected}the output:\n{last}").unwrap();
        }
    }
    (!differences.is_empty()).then_some(differences)
}
