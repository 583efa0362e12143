//! Instructions that a program executes, by valgrind's callgrind.

use std::fs;
use std::process::Command;

use super::daemon::BINARY;

/// The profile of one run.
pub struct Profile(String);

impl Profile {
    /// A profile with a name that no other has at the same time.
    pub fn new(name: &str) -> Profile {
        let dir = env!("CARGO_TARGET_TMPDIR");
        Profile(format!("{dir}/callgrind.{name}.{}", std::process::id()))
    }

    /// The program under callgrind, without arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new("valgrind");
        command
            .args(["-q", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", self.0))
            .arg(BINARY);
        command
    }

    /// Instructions from the start to the exit of the program, which has ended.
    pub fn instructions(self) -> u64 {
        let profile = fs::read_to_string(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
        let total = profile.lines().find_map(|l| l.strip_prefix("totals: "));
        total.unwrap().trim().parse().unwrap()
    }
}

/// Counts of a debug build say nothing.
pub fn require_release_build() {
    let release = !cfg!(debug_assertions);
    assert!(release, "run with --release");
}
