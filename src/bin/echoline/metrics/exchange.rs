//! One connection of a scraper: a request, its response, and a clean close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

/// The time from the accept to the close.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on a non-blocking socket.
pub struct Exchange {
    stream: TcpStream,
    state: State,
    deadline: Instant,
}

enum State {
    /// The request has arrived so far.
    Receiving(Vec<u8>),
    /// The rest of the response.
    Sending(Vec<u8>),
    /// The scraper has our FIN, and input is discarded until its FIN: closing with
    /// unread input sends an RST, which may overtake the response (RFC 9112, section
    /// 9.6).
    Lingering,
}

impl Exchange {
    pub fn new(stream: TcpStream) -> io::Result<Exchange> {
        stream.set_nonblocking(true)?;
        Ok(Exchange {
            stream,
            state: State::Receiving(Vec::new()),
            deadline: Instant::now() + TIMEOUT,
        })
    }

    /// What to poll for.
    pub fn poll_fd(&self) -> PollFd<'_> {
        let flags = match self.state {
            State::Sending(_) => PollFlags::OUT,
            State::Receiving(_) | State::Lingering => PollFlags::IN,
        };
        PollFd::new(&self.stream, flags)
    }

    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub fn is_overdue(&self) -> bool {
        self.time_left().is_zero()
    }

    /// Goes on after an event. `respond` has the response to what was received, or
    /// `None` if the request is incomplete. Returns whether the connection stays open.
    pub fn advance(&mut self, respond: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> bool {
        let stays_open = self
            .try_advance(respond)
            .unwrap_or_else(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted));
        stays_open && !self.is_overdue()
    }

    fn try_advance(&mut self, respond: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match &mut self.state {
            State::Receiving(request) => {
                let len = self.stream.read(&mut buffer)?;
                request.extend_from_slice(&buffer[..len]);
                match respond(request) {
                    Some(response) => self.state = State::Sending(response),
                    None => return Ok(len > 0),
                }
            }
            State::Sending(_) => {}
            State::Lingering => return Ok(self.stream.read(&mut buffer)? > 0),
        }
        self.send()?;
        Ok(true)
    }

    fn send(&mut self) -> io::Result<()> {
        if let State::Sending(rest) = &mut self.state {
            while !rest.is_empty() {
                let len = self.stream.write(rest)?;
                rest.drain(..len);
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.state = State::Lingering;
        }
        Ok(())
    }
}
