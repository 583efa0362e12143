//! A capture by tcpdump.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::pcap::{Segment, segments};
use super::process::send_signal;

/// A running tcpdump. It is stopped, and its file removed, on drop.
pub struct Tcpdump {
    child: Child,
    file: String,
}

impl Tcpdump {
    /// Starts a capture of the packets on `interface` that match `filter`; returns when
    /// tcpdump listens.
    pub fn start(interface: &str, filter: &str) -> Tcpdump {
        Tcpdump::start_with(128, interface, filter)
    }

    /// As [`Tcpdump::start`], with another snaplen than is enough for headers.
    pub fn start_with(snaplen: usize, interface: &str, filter: &str) -> Tcpdump {
        let file = format!(
            "{}/{}.pcap",
            env!("CARGO_TARGET_TMPDIR"),
            std::process::id()
        );
        let mut child = Command::new("tcpdump")
            .args(["-i", interface, "--immediate-mode", "-U"])
            .args(["-s", &snaplen.to_string(), "-B", "65536"])
            .args(["-w", &file, filter])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = stderr.any(|line| line.unwrap().contains("listening on "));
        assert!(listens, "tcpdump exited");
        Tcpdump { child, file }
    }

    /// The file that it writes.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The TCP segments captured so far.
    pub fn segments(&self) -> Vec<Segment> {
        segments(&fs::read(&self.file).unwrap())
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        send_signal(self.child.id(), Signal::INT);
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}
