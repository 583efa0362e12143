//! A line echo server inside a program, as in the test of a network client: start it on
//! a free port, use it, stop it, look at the totals. `tests/examples.rs` runs it.
//!
//! `default-features = false` is enough for the server. The feature `client` adds
//! `echoline::client`, which checks any line echo server.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use echoline::{Config, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    // Port 0: the kernel chooses a free port, so tests can run side by side.
    config.listen = vec!["127.0.0.1:0".parse()?];
    let server = Server::bind(&config)?;
    // Take both before `run`, which consumes the server and blocks its thread. Clients
    // can connect from now on, so there is nothing to wait for.
    let (addr, handle) = (server.local_addrs()[0], server.handle());
    let running = thread::spawn(move || server.run());

    // The client under test; a half-close and a last line without newline are fine.
    assert_eq!(exchange(addr, "hello\nworld")?, "hello\nworld\n");

    // Lines that have arrived are echoed, each client gets a FIN, and `run` returns when
    // the clients have closed, or after `Config::drain_timeout`.
    handle.shutdown()?;
    let totals = running.join().expect("the server does not panic")?;

    // One connection, which the client closed; two lines, and one byte more out than in.
    assert_eq!(
        (totals.accepted, totals.closes.peer, totals.open),
        (1, 1, 0)
    );
    assert_eq!(
        (totals.lines, totals.bytes_in, totals.bytes_out),
        (2, 11, 12)
    );
    println!("{totals}");
    Ok(())
}

/// Sends `text`, half-closes, and returns all that comes back.
fn exchange(addr: SocketAddr, text: &str) -> io::Result<String> {
    let mut client = TcpStream::connect(addr)?;
    client.write_all(text.as_bytes())?;
    client.shutdown(Shutdown::Write)?;
    let mut echoed = String::new();
    client.read_to_string(&mut echoed)?;
    Ok(echoed)
}
