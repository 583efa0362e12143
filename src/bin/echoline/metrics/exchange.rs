//! One connection of a scraper: a request, its response, and a clean close.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::http::{self, Request};
use super::source::{ANSWER_TIMEOUT, Source};

/// The time from the accept to the close.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on a non-blocking socket.
pub struct Exchange {
    stream: TcpStream,
    stage: Stage,
    deadline: Instant,
}

enum Stage {
    /// The request has arrived so far.
    Receiving(Vec<u8>),
    /// The loop is asked, since then.
    Waiting(Request, Instant),
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
            stage: Stage::Receiving(Vec::new()),
            deadline: Instant::now() + TIMEOUT,
        })
    }

    /// What to poll for. While the loop is asked, only the end of the connection is an
    /// event, which poll(2) reports in any case.
    pub fn poll_fd(&self) -> PollFd<'_> {
        let flags = match self.stage {
            Stage::Waiting(..) => PollFlags::empty(),
            Stage::Sending(_) => PollFlags::OUT,
            Stage::Receiving(_) | Stage::Lingering => PollFlags::IN,
        };
        PollFd::new(&self.stream, flags)
    }

    /// How long the exchange may wait for its next event.
    pub fn time_left(&self) -> Duration {
        let until = match self.stage {
            Stage::Waiting(_, since) => self.deadline.min(since + ANSWER_TIMEOUT),
            _ => self.deadline,
        };
        until.saturating_duration_since(Instant::now())
    }

    /// Goes on as far as possible without waiting. `has_event` says whether the connection
    /// has one. Returns whether it stays open.
    pub fn advance(&mut self, has_event: bool, source: &mut Source) -> bool {
        let stays_open = self
            .try_advance(has_event, source)
            .unwrap_or_else(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted));
        stays_open && Instant::now() < self.deadline
    }

    fn try_advance(&mut self, has_event: bool, source: &mut Source) -> io::Result<bool> {
        if has_event && !self.on_event()? {
            return Ok(false);
        }
        if let Stage::Waiting(request, since) = self.stage
            && let Some(status) = source.status(since)
        {
            self.stage = Stage::Sending(request.respond(status));
            self.send()?;
        }
        Ok(true)
    }

    fn on_event(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match &mut self.stage {
            Stage::Receiving(received) => {
                let len = self.stream.read(&mut buffer)?;
                received.extend_from_slice(&buffer[..len]);
                self.stage = match http::parse(received) {
                    None => return Ok(len > 0),
                    Some(Ok(request)) => Stage::Waiting(request, Instant::now()),
                    Some(Err(refusal)) => Stage::Sending(refusal.into_bytes(true)),
                };
            }
            Stage::Waiting(..) => return Ok(false),
            Stage::Sending(_) => {}
            Stage::Lingering => return Ok(self.stream.read(&mut buffer)? > 0),
        }
        self.send()?;
        Ok(true)
    }

    fn send(&mut self) -> io::Result<()> {
        if let Stage::Sending(rest) = &mut self.stage {
            while !rest.is_empty() {
                let len = self.stream.write(rest)?;
                rest.drain(..len);
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Lingering;
        }
        Ok(())
    }
}
