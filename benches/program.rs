//! The program that is measured: the release build of the package beside this one. cargo
//! builds programs for the benches of their own package only.

use std::io;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

static PATH: OnceLock<String> = OnceLock::new();

/// Builds echoline as its users do, with the features of its default.
pub fn build() -> io::Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--bin", "echoline"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("echoline cannot be built"));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages.lines().find_map(executable);
    let path = path.ok_or_else(|| io::Error::other("cargo names no program"))?;
    PATH.get_or_init(|| path);
    Ok(())
}

/// The program that a message of cargo names.
fn executable(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message["executable"].as_str()?.to_owned())
}

/// The program's path, after [`build`].
pub fn path() -> &'static str {
    PATH.get().expect("echoline is built first")
}
