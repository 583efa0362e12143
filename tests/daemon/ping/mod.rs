//! `echoline ping` against the daemon, and against servers with known faults.

mod bounds;
mod bursts;
mod capture;
mod connections;
mod echo;
mod errors;
mod faulty_server;
mod json;
mod prefixes;
pub mod program;
mod proxy_header;
mod signals;
mod text;
mod wrong_closes;
mod wrong_lines;
mod wrong_times;

use std::net::SocketAddr;

use program::{Finished, Ping};

const PACKET_PER_LINE: &[&str] = &["--packet-per-line"];

/// Runs `echoline ping` against `addr` until it exits. Spaces separate the options.
fn ping(addr: SocketAddr, options: &str) -> Finished {
    Ping::spawn(addr, options).wait_for_exit()
}
