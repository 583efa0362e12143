//! Who is compared: ourselves, the baseline, and what people would use instead.

mod baseline;
mod threads;
mod tokio_lines;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// A server that can be started.
#[derive(Debug, Clone)]
pub struct Server {
    pub name: &'static str,
    pub command: Vec<OsString>,
    /// A process per connection: its own figures tell nothing of the others'.
    pub forks: bool,
    /// Not of this package: not always there, and measured in fewer rounds.
    pub is_foreign: bool,
    /// Its log goes to a file rather than nowhere.
    pub logs: bool,
}

/// Where a port goes in a command.
const PORT: &str = "{port}";

impl Server {
    fn new(name: &'static str, command: &[&str]) -> Server {
        Server {
            name,
            command: command.iter().map(Into::into).collect(),
            forks: false,
            is_foreign: true,
            logs: false,
        }
    }

    fn ours(name: &'static str, options: &[&str]) -> Server {
        let command = [env!("CARGO_BIN_EXE_echoline"), "-l", "127.0.0.1:{port}"];
        Server {
            is_foreign: false,
            ..Server::new(name, &[&command, options].concat())
        }
    }

    /// One of those that [`serve`] knows, in a process of its own.
    fn inner(name: &'static str) -> Server {
        let program = std::env::current_exe().expect("this program has a path");
        let program = program.to_str().expect("cargo's names are text");
        Server {
            is_foreign: false,
            ..Server::new(name, &[program, "--serve", name, PORT])
        }
    }

    /// The command that serves on `port`, after others that wrap it.
    pub fn command(&self, port: u16, wrapper: &[&str]) -> Command {
        let port = port.to_string();
        let with_port = |word: &OsString| match word.to_str() {
            Some(word) => word.replace(PORT, &port).into(),
            None => word.clone(),
        };
        let mut words = wrapper.iter().map(Into::into);
        let mut words = words.by_ref().chain(self.command.iter().map(with_port));
        let mut command = Command::new(words.next().expect("a command has a word"));
        command.args(words);
        command
    }
}

/// Ourselves as we come, but for the log.
pub fn echoline() -> Server {
    Server::ours("echoline", &["-q"])
}

pub fn echoline_per_line() -> Server {
    Server::ours("echoline --packet-per-line", &["-q", "--packet-per-line"])
}

pub fn echoline_busy() -> Server {
    Server::ours("echoline --busy-poll 200", &["-q", "--busy-poll", "200"])
}

/// Ourselves at the default log level.
pub fn echoline_logging() -> Server {
    Server {
        logs: true,
        ..Server::ours("echoline, logging", &[])
    }
}

pub fn baseline() -> Server {
    Server::inner("baseline")
}

pub fn baseline_records() -> Server {
    Server::inner("baseline-records")
}

/// The other servers of this package.
pub fn inner() -> Vec<Server> {
    ["baseline-lines", "tokio", "threads"]
        .map(Server::inner)
        .to_vec()
}

/// Serves as one of the inner servers.
pub fn serve(name: &str, port: u16) -> io::Result<()> {
    match name {
        "baseline" => baseline::serve(port, baseline::Echo::Bytes),
        "baseline-lines" => baseline::serve(port, baseline::Echo::Lines),
        "baseline-records" => baseline::serve(port, baseline::Echo::Records),
        "tokio" => tokio_lines::serve(port),
        "threads" => threads::serve(port),
        _ => Err(io::Error::other(format!("there is no server {name}"))),
    }
}

/// The servers that are not of this package, as far as they can be had here; the
/// others by name, and why.
pub fn foreign() -> (Vec<Server>, Vec<(&'static str, String)>) {
    const SOCAT: &str = "TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=4096";
    let mut there = Vec::new();
    let mut missing = Vec::new();
    let mut add = |name, server: Result<Server, String>| match server {
        Ok(server) => there.push(server),
        Err(why) => missing.push((name, why)),
    };
    add(
        "libevent",
        build(
            "libevent",
            "libevent.c",
            &["cc", "-O2", "-o", OUT, SRC, "-levent"],
        ),
    );
    add(
        "go",
        build("go", "lines.go", &["go", "build", "-o", OUT, SRC]),
    );
    add(
        "crystal",
        build(
            "crystal",
            "original.cr",
            &["crystal", "build", "--release", "-o", OUT, SRC],
        ),
    );
    let script = source("lines.js");
    add(
        "node",
        installed("node", &["node", "--version"], &["node", &script, PORT]),
    );
    let forking = |server: Server| Server {
        forks: true,
        ..server
    };
    add(
        "socat",
        installed("socat", &["socat", "-V"], &["socat", SOCAT, "PIPE"]).map(forking),
    );
    let ncat = [
        "ncat",
        "-l",
        "-k",
        "-m",
        "1000",
        "-e",
        "/bin/cat",
        "127.0.0.1",
        PORT,
    ];
    add(
        "ncat",
        installed("ncat", &["ncat", "--version"], &ncat).map(forking),
    );
    (there, missing)
}

const OUT: &str = "{out}";
const SRC: &str = "{src}";

fn source(file: &str) -> String {
    format!("{}/benches/servers/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The server `name`, if `probe` runs.
fn installed(name: &'static str, probe: &[&str], command: &[&str]) -> Result<Server, String> {
    run(probe)?;
    Ok(Server::new(name, command))
}

/// The server `name`, built by `compiler` unless that was done before.
fn build(name: &'static str, file: &str, compiler: &[&str]) -> Result<Server, String> {
    let (source, out) = (
        source(file),
        format!("{}/{name}", env!("CARGO_TARGET_TMPDIR")),
    );
    if !is_newer(out.as_ref(), source.as_ref()) {
        let words: Vec<String> = compiler
            .iter()
            .map(|word| word.replace(OUT, &out).replace(SRC, &source))
            .collect();
        run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(Server::new(name, &[&out, PORT]))
}

fn is_newer(built: &Path, source: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|data| data.modified());
    matches!((time(built), time(source)), (Ok(built), Ok(source)) if built > source)
}

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
