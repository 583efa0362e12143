//! A check by one line and its echo.

use std::io::{self, ErrorKind, Read, Write};

use echoline::Config;

use super::Unhealthy;
use super::connection::{Connection, failed};

/// A server with a short `--max-line` gets the end of it.
const LINE: &[u8] = b"echoline health\n";

/// A PROXY header of version 2 with the command LOCAL: the connection is the proxy's own,
/// as for a health check (haproxy, doc/proxy-protocol.txt, section 2.2).
const LOCAL_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// How much of a wrong echo is shown.
const SHOWN: usize = 64;

/// What is sent, and what has to come back.
#[derive(Debug)]
pub struct Echo {
    sent: Vec<u8>,
    expected: Vec<u8>,
}

impl Echo {
    /// The echo of a server with these settings.
    pub fn of(config: &Config) -> Echo {
        let header = if config.proxy_protocol {
            LOCAL_HEADER
        } else {
            b""
        };
        let line = &LINE[LINE.len().saturating_sub(config.max_line)..];
        Echo {
            sent: [header, line].concat(),
            expected: [&config.prefix, line].concat(),
        }
    }

    /// Sends the line, and compares what comes back.
    ///
    /// # Errors
    ///
    /// If the echo is wrong, or does not come in time.
    pub fn run(&self, mut connection: Connection) -> Result<String, Unhealthy> {
        let addr = connection.addr;
        let exchanged = connection.write_all(&self.sent);
        let received = exchanged.and_then(|()| self.receive(&mut connection));
        let received = received.map_err(|e| failed(&format!("no echo from {addr}"), &e))?;
        if received == self.expected {
            return Ok(format!("{addr} echoes"));
        }
        let shown = received[..received.len().min(SHOWN)].escape_ascii();
        Err(Unhealthy(format!("wrong echo from {addr}: \"{shown}\"")))
    }

    /// Reads until the echo is complete or wrong.
    fn receive(&self, connection: &mut impl Read) -> io::Result<Vec<u8>> {
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        while received.len() < self.expected.len() && self.expected.starts_with(&received) {
            match connection.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the connection was closed")),
                Ok(len) => received.extend_from_slice(&buffer[..len]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_the_limit_and_the_echo_has_the_prefix() {
        for (max_line, line) in [(65536, LINE), (16, LINE), (7, b"health\n"), (1, b"\n")] {
            let mut config = Config::default();
            config.max_line = max_line;
            config.prefix = b"a: ".to_vec();
            let echo = Echo::of(&config);
            assert_eq!(echo.sent, line);
            assert_eq!(echo.expected, [b"a: ", line].concat());
        }
    }
}
