//! The servers that are compared: echoline, the baseline and common alternatives.

mod baseline;
pub mod foreign;
mod threads;
mod tokio_lines;

use std::io;
use std::process::Command;

use crate::program;

/// A server that the bench can start.
#[derive(Debug, Clone)]
pub struct Server {
    pub name: &'static str,
    /// Program and arguments, with [`PORT`] for the port.
    command: Vec<String>,
    /// A process per connection. CPU time and memory of the first process
    /// leave the others out, so they are not measured.
    pub forks: bool,
    /// Not part of this package: may be missing, and runs in fewer rounds.
    pub is_foreign: bool,
    /// So many processes share the port, on processors of their own as far as the load
    /// leaves some.
    pub processes: usize,
    /// Standard output goes to a file instead of `/dev/null`.
    pub logs: bool,
    /// What the server puts before each line.
    pub prefix: &'static str,
}

/// Placeholder for the port in a command.
const PORT: &str = "{port}";

impl Server {
    fn new(name: &'static str, command: &[&str]) -> Server {
        Server {
            name,
            command: command.iter().map(ToString::to_string).collect(),
            forks: false,
            is_foreign: true,
            processes: 1,
            logs: false,
            prefix: "",
        }
    }

    fn echoline(name: &'static str, options: &[&str]) -> Server {
        let command = [program::path(), "-l", "127.0.0.1:{port}"];
        Server {
            is_foreign: false,
            ..Server::new(name, &[&command, options].concat())
        }
    }

    /// A server that [`serve`] runs in a child process of the bench program.
    fn built_in(name: &'static str) -> Server {
        let program = std::env::current_exe().expect("the program has a path");
        let program = program.to_str().expect("the path is UTF-8");
        Server {
            is_foreign: false,
            ..Server::new(name, &[program, "--serve", name, PORT])
        }
    }

    /// The command that serves on `port`, run by `wrapper` unless that is empty.
    pub fn command(&self, port: u16, wrapper: &[&str]) -> Command {
        let port = port.to_string();
        let own = self.command.iter().map(|word| word.replace(PORT, &port));
        let mut words = wrapper.iter().map(ToString::to_string).chain(own);
        let mut command = Command::new(words.next().expect("a command has a program"));
        command.args(words);
        command
    }
}

/// echoline with its defaults, except that it logs warnings and errors only.
pub fn echoline() -> Server {
    Server::echoline("echoline", &["-q"])
}

pub fn echoline_packet_per_line() -> Server {
    Server::echoline("echoline --packet-per-line", &["-q", "--packet-per-line"])
}

pub fn echoline_prefix() -> Server {
    let prefix = "8 bytes:";
    Server {
        prefix,
        ..Server::echoline("echoline --prefix", &["-q", "--prefix", prefix])
    }
}

pub fn echoline_busy_poll() -> Server {
    Server::echoline("echoline --busy-poll 200", &["-q", "--busy-poll", "200"])
}

/// One process, and two that share its port.
pub fn echoline_reuse_port() -> [Server; 2] {
    let names = ["echoline --reuse-port", "2 × echoline --reuse-port"];
    [1, 2].map(|processes| Server {
        processes,
        ..Server::echoline(names[processes - 1], &["-q", "--reuse-port"])
    })
}

/// echoline at the default log level.
pub fn echoline_logging() -> Server {
    Server {
        logs: true,
        ..Server::echoline("echoline, logging", &[])
    }
}

pub fn baseline() -> Server {
    Server::built_in("baseline")
}

pub fn baseline_records() -> Server {
    Server::built_in("baseline-records")
}

pub fn tokio() -> Server {
    Server::built_in("tokio")
}

/// The built-in servers that split the input into lines.
pub fn built_in_line_servers() -> [Server; 3] {
    ["baseline-lines", "tokio", "threads"].map(Server::built_in)
}

/// What the server `name` is, for the legend of a chart.
pub fn description(name: &str) -> &'static str {
    match name {
        "baseline" => "minimal epoll loop: one read, one write of the same bytes; no lines",
        "baseline-lines" => "the baseline with a write per line",
        "baseline-records" => "the baseline with a write and a segment per line (MSG_EOR)",
        "echoline" => "one write for all lines of a read; no log",
        "echoline --packet-per-line" => "a write and a segment per line",
        "echoline --busy-poll 200" => "polls for 200 µs before it sleeps",
        "echoline --reuse-port" => "one process of those that may share a port",
        "2 × echoline --reuse-port" => {
            "two processes share the port; with two processors, the load has one"
        }
        "echoline, logging" => "default log level, to a file; the others write no log",
        "tokio" => "BufReader::read_until and write_all for each line, one thread",
        "threads" => "the same calls of the standard library, a thread per connection",
        "libevent" => "C, bufferevents and evbuffer_readln",
        "go" => "a goroutine per connection, ReadBytes and Write for each line",
        "crystal" => "the original Crystal server: writes line and newline apart, never closes",
        "node" => "Node.js, readline and a write per line",
        "socat" | "ncat" => "a process per connection, raw bytes",
        _ => "",
    }
}

/// Runs the built-in server `name` until the process is killed.
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
