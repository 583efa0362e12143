//! Sessions: connect, one line, half-close, FIN; several at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::load::STALL_TIMEOUT;

const CONCURRENT_SESSIONS: usize = 16;

const LINE: &[u8] = b"a session's line\n";

struct Session {
    stream: TcpStream,
    is_sent: bool,
    /// Bytes received so far.
    received: usize,
}

/// Runs up to `max` sessions, and starts none after `duration`. Returns how
/// many were completed and how long they took.
///
/// # Errors
///
/// If the server echoes wrong bytes, stalls, or does not close after the
/// client's half-close.
pub fn run(addr: SocketAddr, max: u64, duration: Duration) -> io::Result<(u64, Duration)> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(CONCURRENT_SESSIONS);
    let begin = Instant::now();
    let mut sessions = Vec::new();
    let (mut started, mut completed) = (0, 0);
    for key in 0..CONCURRENT_SESSIONS {
        sessions.push(Some(Session::start(addr, poll.registry(), key)?));
        started += 1;
    }
    while completed < started {
        poll.poll(&mut events, Some(STALL_TIMEOUT))?;
        if events.is_empty() {
            let text = "no echo or FIN in time";
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        for event in &events {
            let key = event.token().0;
            let Some(session) = &mut sessions[key] else {
                continue;
            };
            if !session.advance()? {
                continue;
            }
            completed += 1;
            sessions[key] = None; // Closes the socket.
            if started < max && begin.elapsed() < duration {
                sessions[key] = Some(Session::start(addr, poll.registry(), key)?);
                started += 1;
            }
        }
    }
    Ok((completed, begin.elapsed()))
}

impl Session {
    fn start(addr: SocketAddr, registry: &Registry, key: usize) -> io::Result<Session> {
        let mut stream = TcpStream::connect(addr)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(key), interests)?;
        let mut session = Session {
            stream,
            is_sent: false,
            received: 0,
        };
        session.send()?; // On loopback the handshake is done by now.
        Ok(session)
    }

    fn send(&mut self) -> io::Result<()> {
        match self.stream.write(LINE) {
            Ok(_) => self.is_sent = true, // An empty send buffer takes the whole line.
            Err(e) if is_not_ready(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Does what the socket is ready for; returns whether the session is complete.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.is_sent {
            self.send()?;
        }
        let mut buffer = [0; 64];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) if self.received == LINE.len() => return Ok(true),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(e) if is_not_ready(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        if LINE.get(self.received..self.received + len) != Some(&buffer[..len]) {
            let text = "the echo differs from what was sent";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        self.received += len;
        if self.received == LINE.len() {
            self.stream.shutdown(Shutdown::Write)?; // The server's FIN is the next event.
        }
        Ok(false)
    }
}

fn is_not_ready(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
