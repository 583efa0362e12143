//! Running other programs.

use std::process::Command;

/// Runs `command`, which must succeed; returns what it prints to stdout.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout
}

/// Runs a command line with the arguments `$1`, `$2`, … in a shell.
#[track_caller]
pub fn shell(script: &str, args: &[&str]) -> String {
    run(Command::new("sh").args(["-euc", script, "sh"]).args(args))
}
