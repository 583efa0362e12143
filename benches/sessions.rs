//! Sessions: connect, one line, close; several at a time, each to its clean end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::load::STALL;

/// Sessions at a time.
pub const AT_A_TIME: usize = 16;

const LINE: &[u8] = b"a session's line\n";

/// One session; it is dropped when it is over.
struct Session {
    stream: TcpStream,
    sent: bool,
    echoed: usize,
}

/// Has `count` sessions with the server, or as many as fit into `limit`.
/// Returns how many there were, and how long they took.
///
/// # Errors
///
/// When a server answers with other bytes than were sent, does not close after
/// the client has, or stops to answer.
pub fn run(addr: SocketAddr, count: u64, limit: Duration) -> io::Result<(u64, Duration)> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_A_TIME);
    let started = Instant::now();
    let mut sessions = Vec::new();
    let (mut begun, mut done) = (0, 0);
    for key in 0..AT_A_TIME {
        sessions.push(Some(Session::begin(addr, &poll, key)?));
        begun += 1;
    }
    while done < begun {
        poll.poll(&mut events, Some(STALL))?;
        if events.is_empty() {
            let text = "no echo, or no end, any more";
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        for event in &events {
            let slot = &mut sessions[event.token().0];
            let Some(session) = slot else { continue };
            if !session.go_on()? {
                continue;
            }
            done += 1;
            *slot = None;
            if begun < count && started.elapsed() < limit {
                *slot = Some(Session::begin(addr, &poll, event.token().0)?);
                begun += 1;
            }
        }
    }
    Ok((done, started.elapsed()))
}

impl Session {
    fn begin(addr: SocketAddr, poll: &Poll, key: usize) -> io::Result<Session> {
        let mut stream = TcpStream::connect(addr)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(key), interests)?;
        let mut session = Session {
            stream,
            sent: false,
            echoed: 0,
        };
        session.send()?; // On loopback it is connected by now.
        Ok(session)
    }

    fn send(&mut self) -> io::Result<()> {
        match self.stream.write(LINE) {
            Ok(_) => self.sent = true, // A fresh socket takes it whole.
            Err(e) if is_early(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Goes as far as it can; says whether it is over.
    fn go_on(&mut self) -> io::Result<bool> {
        if !self.sent {
            self.send()?;
        }
        let mut buffer = [0; 64];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) if self.echoed == LINE.len() => return Ok(true),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(e) if is_early(&e) => return Ok(false),
            Err(e) => return Err(e),
        };
        if LINE.get(self.echoed..self.echoed + len) != Some(&buffer[..len]) {
            return Err(io::Error::new(ErrorKind::InvalidData, "not what was sent"));
        }
        self.echoed += len;
        if self.echoed == LINE.len() {
            self.stream.shutdown(Shutdown::Write)?; // And its end will be an event.
        }
        Ok(false)
    }
}

fn is_early(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
