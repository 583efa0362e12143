//! A quiet client beside a flooding one: what the flood costs the others.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Exchange, Load};
use crate::process::{DEADLINE, Process};

/// 256 KiB in flight all the time: the server always finds more to read.
const FLOOD: Exchange = Exchange {
    connections: 1,
    lines: 512,
    line_len: 512,
};

/// The quiet one's time between lines.
const PAUSE: Duration = Duration::from_micros(500);

/// How long each line of the quiet client took.
///
/// # Errors
///
/// Those of either client.
pub fn beside_a_flood(server: &Process, duration: Duration) -> io::Result<Vec<Duration>> {
    let mut flood = Load::connect(server.addr, FLOOD)?;
    let client = TcpStream::connect(server.addr)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(DEADLINE))?;
    let flooding = thread::spawn(move || flood.run(duration, false, || {}));
    let mut latencies = Vec::new();
    let mut quiet = Ok(());
    while !flooding.is_finished() && quiet.is_ok() {
        quiet = ping(&client).map(|latency| latencies.push(latency));
        thread::sleep(PAUSE);
    }
    flooding.join().expect("the load does not panic")?;
    quiet.map(|()| latencies)
}

fn ping(mut client: &TcpStream) -> io::Result<Duration> {
    const LINE: &[u8; 16] = b"is anybody here\n";
    let mut back = [0; LINE.len()];
    let asked = Instant::now();
    client.write_all(LINE)?;
    client.read_exact(&mut back)?;
    if back != *LINE {
        return Err(io::Error::other("not what was sent"));
    }
    Ok(asked.elapsed())
}
