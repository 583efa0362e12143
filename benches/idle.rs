//! What an idle connection costs in memory, and how many can be held.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::process::{Resource, getrlimit};

use crate::load::STALL;
use crate::process::Process;

const LINE: &[u8] = b"hello\n";

/// Descriptors that are for something else.
const SPARE: usize = 100;

/// What a server with so many connections, each of which has echoed a line,
/// takes of memory.
pub struct Held {
    pub connections: usize,
    /// Resident memory per connection, in bytes, the first left out.
    pub per_connection: f64,
    /// Resident memory in all, in bytes.
    pub rss: u64,
}

/// Holds so many connections, or what the limit on descriptors allows, and tells
/// `note` what that takes; then has a line from every one of them again, and
/// sees every one of them closed.
///
/// # Errors
///
/// When a connection does not come about, does not echo or does not end.
pub fn hold(server: &Process, wanted: usize, note: impl FnOnce(&Held)) -> io::Result<()> {
    let no_figure = || io::Error::other("no figure: the memory is its children's");
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX) - SPARE);
    let mut clients = vec![connect(server)?];
    let before = server.rss().ok_or_else(no_figure)?;
    while clients.len() < connections {
        clients.push(connect(server)?);
    }
    let rss = server.rss().ok_or_else(no_figure)?;
    note(&Held {
        connections,
        per_connection: rss.saturating_sub(before) as f64 / (connections - 1) as f64,
        rss,
    });
    for client in &clients {
        echo(client)?;
    }
    for client in &clients {
        client.shutdown(Shutdown::Write)?;
    }
    for mut client in &clients {
        match client.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(io::Error::other("more than was sent")),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::other("does not close"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn connect(server: &Process) -> io::Result<TcpStream> {
    let client = TcpStream::connect(server.addr)?;
    client.set_read_timeout(Some(STALL))?;
    echo(&client)?;
    Ok(client)
}

fn echo(mut client: &TcpStream) -> io::Result<()> {
    let mut back = [0; LINE.len()];
    client.write_all(LINE)?;
    client.read_exact(&mut back)?;
    if back != LINE {
        return Err(io::Error::other("not what was sent"));
    }
    Ok(())
}
