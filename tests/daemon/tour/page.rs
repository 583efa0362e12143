//! Runs the commands of `docs/packets.md` in a script and in a terminal, and compares
//! their output with the page.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::terminal::{Paste, Terminal};
use crate::support::daemon::BINARY;
use crate::support::namespace::in_private_network;

/// A fenced block of the page: its info string and its text.
pub type Block = (String, String);

/// The page's blocks, with the tested build in the place of the release build.
pub fn blocks() -> Vec<Block> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/packets.md");
    let page = fs::read_to_string(page).unwrap();
    let binaries = Path::new(BINARY).parent().unwrap().to_str().unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(kind) => {
                blocks.push((kind.to_owned(), String::new()));
                inside = true;
            }
            None if inside => {
                let line = line.replace("$PWD/target/release", binaries);
                writeln!(blocks.last_mut().unwrap().1, "{line}").unwrap();
            }
            None => {}
        }
    }
    blocks
}

/// The commands of the `console` block that contains `word`.
pub fn console_commands<'a>(page: &'a [Block], word: &str) -> Vec<&'a str> {
    let (_, text) = page
        .iter()
        .find(|(kind, text)| kind == "console" && text.contains(word))
        .expect("a console block with this word");
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
    commands.collect()
}

/// The commands that open the private network and read the helpers.
pub fn first_steps(page: &[Block]) -> Vec<&str> {
    console_commands(page, "docs/tour.sh")
}

fn scripts(page: &[Block]) -> impl Iterator<Item = &str> {
    let blocks = page.iter().filter(|(kind, _)| kind == "sh");
    blocks.map(|(_, commands)| commands.as_str())
}

/// Runs the page's `sh` blocks in one script; returns the output of each.
fn run_in_script(page: &[Block]) -> Vec<String> {
    const MARK: &str = "=== end of block ===\n";
    let mut script = String::from("set -u; exec 2>&1\n");
    for command in &first_steps(page)[1..] {
        writeln!(script, "{command}").unwrap();
    }
    for commands in scripts(page) {
        writeln!(script, "{commands}echo '{}'", MARK.trim_end()).unwrap();
    }
    script.push_str("rm -r \"$tour_dir\"\n");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("RUST_LOG")
        .output()
        .expect("bash is installed");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split_terminator(MARK).map(str::to_owned).collect()
}

/// Pastes the page's first steps and `sh` blocks into bash; returns the output of each
/// `sh` block.
fn run_in_terminal(page: &[Block], paste: Paste) -> Vec<String> {
    let terminal = Terminal::open();
    for command in first_steps(page) {
        assert_eq!(terminal.run(command, paste), "", "{command}");
    }
    let outputs = scripts(page).map(|commands| terminal.run(commands, paste));
    outputs.collect()
}

/// The differences between the page and the output; `None` if they agree. Times and the
/// client's port differ from run to run, and in a block marked `varies` all numbers do. Commands without a block print nothing.
fn differences(page: &[Block], printed: &[String]) -> Option<String> {
    let expected = expected_outputs(page);
    assert_eq!(expected.len(), printed.len(), "{printed:?}");
    let mut differences = String::new();
    for ((kind, expected), printed) in expected.iter().zip(printed) {
        let agree = match *kind {
            "text varies" => without_numbers(printed) == without_numbers(expected),
            _ => without_times(printed) == without_times(expected),
        };
        if !agree {
            write!(differences, "the page:\n{expected}the output:\n{printed}").unwrap();
        }
    }
    (!differences.is_empty()).then_some(differences)
}

/// For each `sh` block, the kind and the text of the block of output that follows.
fn expected_outputs(page: &[Block]) -> Vec<(&str, &str)> {
    let mut outputs = Vec::new();
    for (kind, text) in page {
        match kind.as_str() {
            "sh" => outputs.push(("text", "")),
            "text" | "text varies" => *outputs.last_mut().unwrap() = (kind, text),
            _ => {}
        }
    }
    outputs
}

/// What `echoline packets` has printed, without times and the client's port.
fn without_times(text: &str) -> String {
    let mut result = String::new();
    for line in text.split_inclusive('\n') {
        let words: Vec<&str> = line.split(' ').collect();
        for (i, word) in words.iter().enumerate() {
            let next = words.get(i + 1).unwrap_or(&"");
            let word = match word.rsplit_once(':') {
                Some((address, _)) if *next == ">" => address,
                _ if word.starts_with('+') || next.starts_with("ms") => "…",
                _ => word,
            };
            result.push_str(word);
            result.push(' ');
        }
    }
    result
}

/// `text` with one `0` in the place of each number.
fn without_numbers(text: &str) -> String {
    let mut result = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' if result.ends_with('0') => {}
            '0'..='9' => result.push('0'),
            other => result.push(other),
        }
    }
    result
}

/// Asserts that the page shows what `run` returns. If the machine is busy for 40 ms, a
/// timer sends an ACK: up to three attempts.
fn assert_page_agrees(run: impl Fn(&[Block]) -> Vec<String>) {
    let page = blocks();
    let failures: Vec<String> = (0..3)
        .map_while(|_| differences(&page, &run(&page)))
        .collect();
    assert!(failures.len() < 3, "{}", failures.join("\n---\n"));
}

#[test]
#[ignore = "needs tcpdump, nc, ss, python3, setpriv, unshare(1) and user namespaces"]
fn the_page_about_packets_shows_what_its_commands_print() {
    in_private_network(|| assert_page_agrees(run_in_script));
}

#[test]
#[ignore = "needs tmux, tcpdump, nc, ss, python3, setpriv, unshare(1) and user namespaces"]
fn a_terminal_shows_the_pasted_tour_and_nothing_else() {
    assert_page_agrees(|page| run_in_terminal(page, Paste::Bracketed));
}

#[test]
#[ignore = "needs tmux, tcpdump, nc, ss, python3, setpriv, unshare(1) and user namespaces"]
fn a_terminal_without_bracketed_paste_shows_the_pasted_tour_and_nothing_else() {
    assert_page_agrees(|page| run_in_terminal(page, Paste::Typed));
}
