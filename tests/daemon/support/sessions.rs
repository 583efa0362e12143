//! Clients that connect at a steady rate while servers are replaced.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::deadline::DEADLINE;

const LINE: &[u8] = b"a complete line\n";

/// How a client's session went.
#[derive(Debug)]
#[expect(dead_code, reason = "errors are for the message of a failed test")]
pub enum Session {
    /// So long after the first SYN.
    Echoed(Duration),
    Refused(io::Error),
    /// The line was sent, and its echo did not come.
    Lost(io::Result<()>),
}

impl Session {
    pub fn is_echoed(&self) -> bool {
        matches!(self, Session::Echoed(_))
    }

    /// Whether the echo took longer than `limit`.
    pub fn took_longer_than(&self, limit: Duration) -> bool {
        matches!(self, Session::Echoed(took) if *took > limit)
    }
}

/// Connects, sends a line after `pause`, and expects it back.
fn session(addr: SocketAddr, pause: Duration) -> Session {
    let start = Instant::now();
    let mut client = match TcpStream::connect(addr) {
        Ok(client) => client,
        Err(e) => return Session::Refused(e),
    };
    thread::sleep(pause);
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut echoed = [0; LINE.len()];
    let result = client
        .write_all(LINE)
        .and_then(|()| client.read_exact(&mut echoed));
    match result {
        Ok(()) if echoed == LINE => Session::Echoed(start.elapsed()),
        result => Session::Lost(result),
    }
}

/// Runs sessions at a steady rate, each in a thread, until `stop` is set. Every second
/// one pauses before its line.
pub fn sessions_until(
    stop: &AtomicBool,
    addr: SocketAddr,
    per_second: u32,
    pause: Duration,
) -> Vec<Session> {
    let mut threads: Vec<JoinHandle<Session>> = Vec::new();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let count = u32::try_from(threads.len()).unwrap();
        let due = Duration::from_secs(1) / per_second * count;
        thread::sleep(due.saturating_sub(start.elapsed()));
        let pause = pause * (count % 2);
        threads.push(thread::spawn(move || session(addr, pause)));
    }
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}
