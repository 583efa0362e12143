//! Counts a server's user-space instructions with callgrind.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use echoline::client::{Client, Options};

use crate::process::{Process, TIMEOUT};
use crate::servers::Server;

/// Instructions per ping-pong line of 16 bytes: the difference between 11,000
/// and 1,000 lines, so that start and stop do not count.
pub fn instructions_per_line(server: &Server) -> io::Result<f64> {
    let (few, many) = (count(server, 1_000)?, count(server, 11_000)?);
    Ok((many - few) as f64 / 10_000.0)
}

/// Instructions of a whole run with so many lines.
fn count(server: &Server, lines: u64) -> io::Result<u64> {
    let profile = format!("{}/callgrind.{}", env!("CARGO_TARGET_TMPDIR"), server.name);
    let out = format!("--callgrind-out-file={profile}");
    let wrapper = ["valgrind", "--tool=callgrind", &out];
    let mut process = Process::start_under(&wrapper, server)?;
    ping_pong(process.addr, lines)?;
    process.stop()?;
    let text = fs::read_to_string(&profile)?;
    fs::remove_file(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("no total in the output of callgrind"))
}

/// Sends so many lines of 16 bytes, one after the other.
fn ping_pong(addr: SocketAddr, lines: u64) -> io::Result<()> {
    let mut options = Options::default();
    options.line_len = 16;
    options.count = Some(lines);
    options.interval = Duration::ZERO;
    options.timeout = TIMEOUT;
    options.count_segments = false;
    let statistics = Client::new(&[addr], options)?.run(|_| {})?;
    if statistics.is_perfect() {
        Ok(())
    } else {
        Err(io::Error::other("an echo is wrong or lost"))
    }
}
