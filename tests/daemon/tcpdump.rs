//! A capture by the real tcpdump.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::pcap::{Segment, segments};
use crate::support::send_signal;

/// A running tcpdump; it ends, and its file goes, when the test drops it.
pub struct Tcpdump {
    child: Child,
    file: String,
}

impl Tcpdump {
    /// Captures what `filter` selects on `interface`, from now on.
    pub fn start(interface: &str, filter: &str) -> Tcpdump {
        let file = format!(
            "{}/{}.pcap",
            env!("CARGO_TARGET_TMPDIR"),
            std::process::id()
        );
        let mut child = Command::new("tcpdump")
            .args(["-i", interface, "--immediate-mode", "-U"])
            .args(["-s", "128", "-B", "65536", "-w", &file, filter])
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = stderr.any(|line| line.unwrap().contains("listening on "));
        assert!(listens, "tcpdump ended");
        Tcpdump { child, file }
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
