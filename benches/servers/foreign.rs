//! Servers from other projects, which may be missing on this machine.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{PORT, Server};

/// A server that cannot run here.
pub struct Skipped {
    pub name: &'static str,
    pub reason: String,
}

/// Returns the servers that run on this machine, and the others with a reason.
pub fn find() -> (Vec<Server>, Vec<Skipped>) {
    let candidates = [
        ("libevent", libevent()),
        ("go", go()),
        ("crystal", crystal()),
        ("node", node()),
        ("socat", socat()),
        ("ncat", ncat()),
    ];
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for (name, result) in candidates {
        match result {
            Ok(server) => found.push(server),
            Err(reason) => skipped.push(Skipped { name, reason }),
        }
    }
    (found, skipped)
}

fn libevent() -> Result<Server, String> {
    let compiler = ["cc", "-O2", "-o", BINARY, SOURCE, "-levent"];
    build("libevent", "libevent.c", &compiler)
}

fn go() -> Result<Server, String> {
    build("go", "lines.go", &["go", "build", "-o", BINARY, SOURCE])
}

fn crystal() -> Result<Server, String> {
    let compiler = ["crystal", "build", "--release", "-o", BINARY, SOURCE];
    build("crystal", "../../docs/tour/original.cr", &compiler)
}

fn node() -> Result<Server, String> {
    run(&["node", "--version"])?;
    Ok(Server::new("node", &["node", &source("lines.js"), PORT]))
}

fn socat() -> Result<Server, String> {
    const LISTEN: &str = "TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=4096";
    run(&["socat", "-V"])?;
    Ok(forking("socat", &["socat", LISTEN, "PIPE"]))
}

fn ncat() -> Result<Server, String> {
    run(&["ncat", "--version"])?;
    let options = ["-l", "-k", "-m", "1000", "-e", "/bin/cat"];
    let command = [&["ncat"], &options[..], &["127.0.0.1", PORT]].concat();
    Ok(forking("ncat", &command))
}

fn forking(name: &'static str, command: &[&str]) -> Server {
    Server {
        forks: true,
        ..Server::new(name, command)
    }
}

/// Placeholders for paths in a compiler's command.
const BINARY: &str = "{binary}";
const SOURCE: &str = "{source}";

fn source(file: &str) -> String {
    format!("{}/servers/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// Compiles `file` unless its binary is newer.
fn build(name: &'static str, file: &str, compiler: &[&str]) -> Result<Server, String> {
    let source = source(file);
    let binary = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    if !is_newer(binary.as_ref(), source.as_ref()) {
        let words: Vec<String> = compiler
            .iter()
            .map(|word| word.replace(BINARY, &binary).replace(SOURCE, &source))
            .collect();
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(Server::new(name, &[&binary, PORT]))
}

fn is_newer(binary: &Path, source: &Path) -> bool {
    let modified = |path| fs::metadata(path).and_then(|data| data.modified());
    matches!((modified(binary), modified(source)), (Ok(binary), Ok(source)) if binary > source)
}

/// Runs a command without input or output; any exit status but 0 is an error.
fn run(command: &[&str]) -> Result<(), String> {
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| format!("{}: {e}", command[0]))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", command.join(" ")))
    }
}
