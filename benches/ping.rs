//! One line to a server and back, blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Sends `line` and reads the echo.
///
/// # Errors
///
/// If the echo differs, and any error of the socket.
pub fn ping<const LEN: usize>(mut client: &TcpStream, line: &[u8; LEN]) -> io::Result<()> {
    let mut echo = [0; LEN];
    client.write_all(line)?;
    client.read_exact(&mut echo)?;
    if echo == *line {
        Ok(())
    } else {
        let text = "the echo differs from what was sent";
        Err(io::Error::new(ErrorKind::InvalidData, text))
    }
}
