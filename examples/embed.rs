//! A line echo server in the test of a network client: start it on a free port, use it, stop
//! it, look at the totals. `tests/examples.rs` runs it.
//!
//! `default-features = false` is enough. The feature `client` adds `echoline::client`, which
//! checks any line echo server. A program that serves in earnest uses `echoline::Server`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use echoline::CloseReason;
use echoline::testing::Echo;

fn main() -> io::Result<()> {
    // It stops when it is dropped, also if the test fails. Clients can connect at once, and
    // tests can run side by side, as the kernel chooses the ports.
    let echo = Echo::start();

    // The client under test; a half-close and a last line without newline are fine.
    assert_eq!(exchange(echo.addr(), "hello\nworld")?, "hello\nworld\n");

    // One connection, which the client closed; two lines, and one byte more out than in.
    let totals = echo.stop();
    assert_eq!(
        (
            totals.accepted,
            totals.closes[CloseReason::Peer],
            totals.open
        ),
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
