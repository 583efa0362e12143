//! The capture by hand, while the server of the page's first step runs.

use super::page::{blocks, console_commands, first_steps};
use super::terminal::{Paste, Terminal};
use crate::support::deadline::wait_until;

/// Lines that contain this are packets.
const PACKET: &str = " IP 127.0.0.1.";

#[test]
#[ignore = "needs tmux, tcpdump, nc, unshare(1) and user namespaces"]
fn tcpdump_by_hand_prints_the_packets_of_the_page() {
    let page = blocks();
    let terminal = Terminal::open();
    for command in first_steps(&page) {
        assert_eq!(terminal.run(command, Paste::Typed), "", "{command}");
    }
    let commands = console_commands(&page, "tcpdump -i lo");
    let [tcpdump, client] = commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(terminal.run("serve echoline", Paste::Typed), "");
    terminal.start(tcpdump, Paste::Typed);
    wait_until("tcpdump to listen", || {
        let lines = terminal.lines();
        lines.iter().any(|line| line.contains("listening on lo"))
    });
    terminal.start(client, Paste::Typed);
    wait_for_packets(&terminal, 3);
    terminal.start("1", Paste::Typed);
    wait_for_packets(&terminal, 6);
    terminal.press("C-d");
    wait_for_packets(&terminal, 9);
    for command in console_commands(&page, "kill") {
        terminal.start(command, Paste::Typed);
    }

    let (_, expected) = page
        .iter()
        .find(|(kind, _)| kind == "text by hand")
        .unwrap();
    assert_eq!(packets(&terminal), packets_among(expected.lines()));
}

fn wait_for_packets(terminal: &Terminal, count: usize) {
    wait_until("tcpdump to print packets", || {
        packets(terminal).len() >= count
    });
}

fn packets(terminal: &Terminal) -> Vec<String> {
    packets_among(terminal.lines().iter().map(String::as_str))
}

/// The packets among `lines`, without what differs from run to run.
fn packets_among<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let packets = lines.filter(|line| line.contains(PACKET));
    packets.map(without_large_numbers).collect()
}

/// The packet in `line`, without the time and the prompt that the end of nc may have put
/// before it, and with an `N` in the place of each number of five and more digits: ports,
/// absolute sequence numbers, timestamps.
fn without_large_numbers(line: &str) -> String {
    let packet = &line[line.find(PACKET).unwrap() + 1..];
    let mut result = String::new();
    let mut number = String::new();
    for c in packet.chars().chain([' ']) {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        result += if number.len() < 5 { &number } else { "N" };
        number.clear();
        result.push(c);
    }
    result
}
