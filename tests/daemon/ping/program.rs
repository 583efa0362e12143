//! `echoline ping` as a child process.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;

use crate::support::daemon::BINARY;
use crate::support::deadline::{wait_for, wait_until};
use crate::support::process::{send_signal, status_field, without_inherited_settings};

/// A running `echoline ping`. It is killed on drop.
pub struct Ping {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// The exit status and the output of an `echoline ping` that has exited.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// What a pipe has delivered so far, collected by a thread.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    collector: Option<JoinHandle<()>>,
}

impl Ping {
    /// Starts the program. Spaces separate the options.
    pub fn spawn(addr: SocketAddr, options: &str) -> Ping {
        Ping::spawn_at(&addr.to_string(), options)
    }

    /// The same with an address as text.
    pub fn spawn_at(addr: &str, options: &str) -> Ping {
        let mut command = Command::new(BINARY);
        command
            .args(["ping", addr])
            .args(options.split_whitespace());
        Ping::spawn_command(&mut command)
    }

    /// Starts `command`, which runs the program.
    pub fn spawn_command(command: &mut Command) -> Ping {
        let mut child = without_inherited_settings(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ping starts");
        Ping {
            stdout: Output::collect(child.stdout.take().unwrap()),
            stderr: Output::collect(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits until ping has printed `part`.
    pub fn wait_for_output(&self, part: &str) {
        wait_until(&format!("ping to print {part:?}"), || {
            self.stdout.text().contains(part)
        });
    }

    pub fn has_printed(&self, part: &str) -> bool {
        self.stdout.text().contains(part)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program has a handler for SIGINT (`proc_pid_status(5)`).
    pub fn catches_interrupts(&self) -> bool {
        let caught = u64::from_str_radix(&status_field(self.id(), "SigCgt"), 16).unwrap();
        caught >> (Signal::INT.as_raw() - 1) & 1 == 1
    }

    pub fn interrupt(&self) {
        send_signal(self.child.id(), Signal::INT);
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn wait_for_exit(mut self) -> Finished {
        let status = wait_for("ping to exit", || self.child.try_wait().unwrap());
        Finished {
            status: status.code(),
            stdout: self.stdout.complete_text(),
            stderr: self.stderr.complete_text(),
        }
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "ping's output:\n{}{}",
                self.stdout.text(),
                self.stderr.text()
            );
        }
    }
}

impl Finished {
    /// Asserts the exit status, and that stderr is empty.
    #[track_caller]
    pub fn assert_exits(self, status: i32) -> Finished {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        self
    }

    /// Asserts that stdout contains `part`.
    #[track_caller]
    pub fn assert_prints(self, part: &str) -> Finished {
        assert!(self.stdout.contains(part), "no {part:?} in {self:?}");
        self
    }

    /// Lines of stdout that start with `start`.
    pub fn count_lines(&self, start: &str) -> usize {
        let lines = self.stdout.lines();
        lines.filter(|line| line.starts_with(start)).count()
    }
}

impl Output {
    fn collect(mut pipe: impl Read + Send + 'static) -> Output {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let collector = thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut piece) {
                collected.lock().unwrap().extend_from_slice(&piece[..n]);
            }
        });
        Output {
            bytes,
            collector: Some(collector),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).expect("UTF-8")
    }

    /// Waits for the end of the pipe.
    fn complete_text(&mut self) -> String {
        let collector = self.collector.take().unwrap();
        wait_until("the end of the output", || collector.is_finished());
        collector.join().unwrap();
        self.text()
    }
}
