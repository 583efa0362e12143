//! A pipe that is written while packets pass: rows come at once, the clock is the end of the
//! capture, and the first SIGINT does not end it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::dialogue::{Client, Dialogue, START, Server};

struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Live {
    fn start(options: &[&str]) -> Live {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echoline"))
            .arg("packets")
            .args(options)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Live { child, stdin }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).unwrap();
    }
}

/// A client that closes and a server that does not, captured now.
fn unclosed() -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let mut dialogue = Dialogue::open().exchange(b"1\n").fin(Client).ack(Server);
    for segment in &mut dialogue.segments {
        segment.time += i64::try_from(now).unwrap() - START;
    }
    dialogue.pcap()
}

#[test]
fn each_row_is_printed_when_its_packet_has_come() {
    let file = unclosed();
    let mut live = Live::start(&[]);
    let mut rows = BufReader::new(live.child.stdout.take().unwrap()).lines();
    // Up to the first record's last byte.
    let first = 24 + 16 + 58;
    live.write(&file[..first]);
    assert_eq!(
        rows.next().unwrap().unwrap(),
        "   1     1 +0.000000 client SYN"
    );
    live.write(&file[first..]);
    assert!(rows.next().unwrap().unwrap().contains("server SYN, ACK"));
    live.stdin = None;
    assert!(rows.count() > 7);
    assert!(live.child.wait().unwrap().success());
}

#[test]
fn the_first_interrupt_is_ignored_and_the_second_ends_the_program() {
    let file = unclosed();
    let mut live = Live::start(&[]);
    let mut rows = BufReader::new(live.child.stdout.take().unwrap()).lines();
    live.write(&file[..98]);
    assert!(rows.next().unwrap().unwrap().contains("SYN"));
    live.interrupt();
    live.write(&file[98..]);
    assert!(rows.next().unwrap().unwrap().contains("SYN, ACK"));
    live.interrupt();
    assert_eq!(live.child.wait().unwrap().code(), Some(130));
}

/// The pipe stays open for more than 2 s after the client's FIN.
#[test]
fn the_clock_is_the_end_of_a_live_capture() {
    let mut live = Live::start(&["--expect-close", "-q"]);
    live.write(&unclosed());
    let written = Instant::now();
    while written.elapsed() < Duration::from_millis(2200) {
        std::thread::sleep(Duration::from_millis(50));
    }
    live.stdin = None;
    assert_eq!(live.child.wait().unwrap().code(), Some(1));
    // Without that time it cannot tell.
    let mut live = Live::start(&["--expect-close", "-q"]);
    live.write(&unclosed());
    live.stdin = None;
    assert_eq!(live.child.wait().unwrap().code(), Some(4));
}
