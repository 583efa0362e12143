//! Programs that read a capture, and what a run takes.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::generate::Contents;
use crate::program;

/// A program that reads a capture.
pub struct Reader {
    pub name: &'static str,
    command: &'static [&'static str],
}

/// What a run takes.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time, of user and kernel.
    pub seconds: f64,
    /// The most memory, in bytes.
    pub peak: u64,
}

const READERS: [Reader; 2] = [
    Reader {
        name: "tcptrace",
        command: &["tcptrace", "-n", "-b"],
    },
    Reader {
        name: "tshark",
        command: &["tshark", "-n", "-q", "-z", "conv,tcp", "-r"],
    },
];

/// echoline, and those of `names` that are installed.
pub fn all(names: &[&str]) -> Vec<Reader> {
    let echoline = Reader {
        name: "echoline packets",
        command: &["packets", "-q"],
    };
    let is_wanted = |reader: &Reader| names.contains(&reader.name) && is_installed(reader);
    let others = READERS.into_iter().filter(is_wanted);
    [echoline].into_iter().chain(others).collect()
}

fn is_installed(reader: &Reader) -> bool {
    let mut command = Command::new(reader.command[0]);
    let probe = command
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let found = probe.status().is_ok();
    if !found {
        println!("skipped: {} (not installed)", reader.name);
    }
    found
}

impl Reader {
    /// Reads the capture.
    ///
    /// # Errors
    ///
    /// If the program fails, or if echoline counts other packets or lines than there are.
    pub fn run(&self, path: &Path, contents: &Contents) -> io::Result<Usage> {
        let mut words = self.command;
        let mut command = if self.name.starts_with("echoline") {
            Command::new(program::path())
        } else {
            let name = words[0];
            words = &words[1..];
            Command::new(name)
        };
        command.args(words).arg(path);
        let before = processor_seconds()?;
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (output, peak) = watch(child)?;
        self.check(&output, contents)?;
        let seconds = processor_seconds()? - before;
        Ok(Usage { seconds, peak })
    }

    fn check(&self, output: &str, contents: &Contents) -> io::Result<()> {
        let lines = format!("{} lines", contents.lines);
        if self.name.starts_with("echoline") && !output.contains(&lines) {
            let text = format!("not {lines} in: {output}");
            return Err(io::Error::other(text));
        }
        Ok(())
    }
}

/// Waits for the end of a program. Returns its output and its peak memory.
fn watch(mut child: Child) -> io::Result<(String, u64)> {
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let reader = thread::spawn(move || {
        let mut output = String::new();
        stdout.read_to_string(&mut output).map(|_| output)
    });
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let status = fs::read_to_string(&status_file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        peak = kilobytes.map_or(peak, |n| n << 10);
        thread::sleep(Duration::from_millis(2));
    };
    let output = reader.join().expect("the reader does not panic")?;
    if status.success() {
        Ok((output, peak))
    } else {
        Err(io::Error::other(format!("{status}: {output}")))
    }
}

/// Of all processes that have ended.
fn processor_seconds() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// The run with the median time.
pub fn median(mut usages: Vec<Usage>) -> Usage {
    usages.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    usages[usages.len() / 2]
}
