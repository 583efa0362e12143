//! Fairness: the latency of one client while another floods the server.

use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::exchange::Exchange;
use crate::load::Load;
use crate::ping::ping;
use crate::process::{Process, TIMEOUT};

/// Pause between two lines of the measured client.
const PAUSE: Duration = Duration::from_micros(500);

const LINE: &[u8; 16] = b"15 bytes and LF\n";

/// Floods the server for `duration` with an exchange and returns the round-trip times
/// of another client.
///
/// # Errors
///
/// Any error of either client.
pub fn latencies_during_flood(
    server: &Process,
    flood: Exchange,
    duration: Duration,
) -> io::Result<Vec<Duration>> {
    let mut flood = Load::connect(server.addr, flood)?;
    let client = TcpStream::connect(server.addr)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(TIMEOUT))?;
    let flooding = thread::spawn(move || flood.run(duration, false));
    let mut latencies = Vec::new();
    let mut result = Ok(());
    while !flooding.is_finished() && result.is_ok() {
        let sent_at = Instant::now();
        result = ping(&client, LINE).map(|()| latencies.push(sent_at.elapsed()));
        thread::sleep(PAUSE);
    }
    flooding.join().expect("the flood does not panic")?;
    result.map(|()| latencies)
}
