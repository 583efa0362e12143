//! The memory of idle connections.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};

use crate::load::STALL_TIMEOUT;
use crate::ping::ping;
use crate::process::Process;
use crate::sockets;

const LINE: &[u8; 6] = b"hello\n";

/// A server's memory with open connections, each of which has echoed a line.
pub struct IdleMemory {
    pub connections: usize,
    /// Resident memory per connection, in bytes, without the first connection.
    pub per_connection: f64,
    /// Resident memory in all, in bytes.
    pub rss: u64,
}

/// Opens `wanted` connections, or as many as descriptors allow, and passes the
/// server's memory to `report`. Then checks that every connection still echoes
/// and is closed after a half-close.
///
/// # Errors
///
/// If a connection fails, does not echo, or is not closed.
pub fn measure(
    server: &Process,
    wanted: usize,
    report: impl FnOnce(&IdleMemory),
) -> io::Result<()> {
    let mut clients = vec![connect(server, 0)?];
    let before = rss(server)?;
    let connections = wanted.min(sockets::max_connections());
    while clients.len() < connections {
        clients.push(connect(server, clients.len())?);
    }
    let rss = rss(server)?;
    report(&IdleMemory {
        connections,
        per_connection: rss.saturating_sub(before) as f64 / (connections - 1) as f64,
        rss,
    });
    for client in &clients {
        ping(client, LINE)?;
    }
    for client in &clients {
        client.shutdown(Shutdown::Write)?;
    }
    clients.iter().try_for_each(expect_fin)
}

fn rss(server: &Process) -> io::Result<u64> {
    let unknown = || io::Error::other("the memory of its processes is not measured");
    server.rss().ok_or_else(unknown)
}

fn connect(server: &Process, number: usize) -> io::Result<TcpStream> {
    let client = sockets::connect(server.addr, number, STALL_TIMEOUT)?;
    client.set_read_timeout(Some(STALL_TIMEOUT))?;
    ping(&client, LINE)?;
    Ok(client)
}

fn expect_fin(mut client: &TcpStream) -> io::Result<()> {
    match client.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(io::Error::other("more bytes than were sent")),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Err(io::Error::other("does not close")),
        Err(e) => Err(e),
    }
}
