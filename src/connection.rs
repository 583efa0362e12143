//! One peer: its stream, its phase and its buffers. Never sees the slab.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use log::{Level, debug, log_enabled, trace, warn};
use mio::event::Event;
use mio::net::TcpStream;

use crate::line::{Excerpt, Framer, Lines};
use crate::outbox::Outbox;

/// How long a connection that we ended is read on, so that the peer gets what
/// was echoed before: closing with unread input sends an RST, and an RST makes
/// the peer lose what it has not received yet (RFC 1122, 4.2.2.13).
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// A connection and all that is kept for it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    /// When it was accepted: its identity too, as its key may be another's.
    pub since: Instant,
    framer: Framer,
    outbox: Outbox,
    phase: Phase,
    lines: u64,
    bytes_in: u64,
    /// Input may be waiting: an event said so, and no read has said otherwise.
    readable: bool,
    /// A short read does not prove that the input is drained; see [`notice`].
    ///
    /// [`notice`]: Connection::notice
    short_reads_lie: bool,
    /// It waits in the server's list of connections to run.
    pub queued: bool,
}

/// How far the life of a connection has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Lines come in and go out.
    Open,
    /// The peer has finished; its last lines are going out.
    Flushing,
    /// We have finished; what is queued is going out, then our FIN.
    Ending(Cause),
    /// Our FIN is out; the input is discarded until the peer finishes too.
    Discarding(Cause),
}

/// Why we end a connection that its peer has not finished.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// A line is longer than the limit.
    LineLimit,
    /// The server is stopping.
    Shutdown,
}

/// Why a connection is closed.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The peer finished, and everything was echoed.
    Peer,
    /// We ended it.
    We(Cause),
    /// The stream failed.
    Error(io::Error),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Peer => f.write_str("peer"),
            Reason::We(Cause::LineLimit) => f.write_str("line limit"),
            Reason::We(Cause::Shutdown) => f.write_str("shutdown"),
            Reason::Error(e) => write!(f, "error ({e})"),
        }
    }
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing more to do until the next event.
    Keep,
    /// The read budget is used up and more input may be waiting.
    Again,
    /// Our FIN has gone out. Run it again to discard its input, and give it
    /// [`LINGER`] to close.
    Linger,
    /// The connection is over.
    Close(Reason),
}

/// What a connection did, for its record and the totals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub lines: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What ended a round of reading.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    /// The socket is empty; an event will tell when it is not.
    Drained,
    /// The buffer is full: more may be waiting.
    More,
    /// A zero-length read: the peer has finished.
    End,
}

impl Connection {
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Connection {
        Connection {
            stream,
            peer,
            since: Instant::now(),
            framer: Framer::default(),
            outbox: Outbox::default(),
            phase: Phase::Open,
            lines: 0,
            bytes_in: 0,
            readable: false,
            short_reads_lie: false,
            queued: false,
        }
    }

    /// Remembers what an edge-triggered `event` said; it is said only once.
    ///
    /// A read that gave less than was asked for has drained the socket
    /// (epoll(7), questions and answers, 9), with two exceptions, both of them
    /// sticky here:
    /// - the event also told of the peer's FIN: the zero-length read is still
    ///   to come and no event will announce it (the classic `CLOSE_WAIT` leak);
    /// - urgent data is about: a read stops short at the urgent mark
    ///   (`tcp_recvmsg_locked` in Linux, net/ipv4/tcp.c).
    pub fn notice(&mut self, event: &Event) {
        trace!("{} event: {event:?}", self.peer);
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.short_reads_lie |= event.is_read_closed() || is_priority(event);
    }

    /// Moves the connection on: flushes, then reads once into `buffer` (shared
    /// by all connections) and echoes the lines of at most `max_line` bytes.
    pub fn run(&mut self, buffer: &mut [u8], max_line: usize) -> Verdict {
        match self.advance(buffer, max_line) {
            Ok(verdict) => verdict,
            Err(e) => Verdict::Close(self.reason_or(Reason::Error(e))),
        }
    }

    /// Ends the connection from our side: what has been read is still echoed.
    pub fn end(&mut self, cause: Cause) {
        if let Phase::Open = self.phase {
            self.framer = Framer::default();
            self.phase = Phase::Ending(cause);
        }
    }

    /// The reason for a close that happens now: ours if we have ended the
    /// connection already, else `reason`.
    pub fn reason_or(&self, reason: Reason) -> Reason {
        match self.phase {
            Phase::Open | Phase::Flushing => reason,
            Phase::Ending(cause) | Phase::Discarding(cause) => Reason::We(cause),
        }
    }

    /// What the connection did so far.
    pub fn tally(&self) -> Tally {
        Tally {
            lines: self.lines,
            bytes_in: self.bytes_in,
            bytes_out: self.outbox.sent(),
        }
    }

    fn advance(&mut self, buffer: &mut [u8], max_line: usize) -> io::Result<Verdict> {
        self.outbox.flush(&mut self.stream)?;
        if matches!(self.phase, Phase::Open) && self.readable && self.outbox.is_empty() {
            self.echo(buffer, max_line)?;
        }
        if !self.outbox.is_empty() {
            return Ok(Verdict::Keep); // Backpressure: writable before readable.
        }
        match self.phase {
            Phase::Open if self.readable => Ok(Verdict::Again),
            Phase::Discarding(_) if self.readable => self.discard(buffer),
            Phase::Open | Phase::Discarding(_) => Ok(Verdict::Keep),
            Phase::Flushing => Ok(Verdict::Close(Reason::Peer)),
            Phase::Ending(cause) => {
                self.stream.shutdown(Shutdown::Write)?;
                self.phase = Phase::Discarding(cause);
                Ok(Verdict::Linger)
            }
        }
    }

    /// Reads once, and echoes the lines that this completed with one write.
    fn echo(&mut self, buffer: &mut [u8], max_line: usize) -> io::Result<()> {
        let (mut len, input) = self.read(buffer)?;
        if input == Input::End {
            self.phase = Phase::Flushing;
            if self.framer.ends_inside_line(&buffer[..len]) {
                buffer[len] = b'\n'; // There is room, or there was no zero-length read.
                len += 1;
            }
        }
        let lines = self.framer.push(&buffer[..len], max_line);
        self.lines += lines.count;
        self.report(&lines, max_line);
        if lines.too_long.is_some() {
            self.phase = Phase::Ending(Cause::LineLimit);
        }
        self.outbox.send(&mut self.stream, lines.bytes)
    }

    /// Logs what a read brought.
    fn report(&self, lines: &Lines<'_>, max_line: usize) {
        if log_enabled!(Level::Debug) {
            for line in lines.bytes.split_inclusive(|&byte| byte == b'\n') {
                debug!("{} message: {}", self.peer, Excerpt(line));
            }
        }
        if let Some(known) = lines.too_long {
            warn!(
                "{} line too long: at least {known} bytes, the limit is {max_line}",
                self.peer
            );
        }
    }

    fn discard(&mut self, buffer: &mut [u8]) -> io::Result<Verdict> {
        Ok(match self.read(buffer)?.1 {
            Input::Drained => Verdict::Keep,
            Input::More => Verdict::Again,
            Input::End => Verdict::Close(self.reason_or(Reason::Peer)),
        })
    }

    /// Reads up to one buffer: with one read, or until the socket says that it
    /// is empty or at its end where a short read does not say so.
    #[inline] // 30 of 330 instructions a line (callgrind).
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Input)> {
        let mut len = 0;
        let input = loop {
            match self.stream.read(&mut buffer[len..]) {
                Ok(0) => break Input::End,
                Ok(n) => {
                    len += n;
                    self.bytes_in += n as u64;
                    if len == buffer.len() {
                        break Input::More;
                    }
                    if !self.short_reads_lie {
                        break Input::Drained;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Input::Drained,
                Err(e) => return Err(e),
            }
        };
        self.readable = input == Input::More;
        Ok((len, input))
    }
}

/// Whether urgent data is about (epoll only; kqueue does not say).
fn is_priority(event: &Event) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return event.is_priority();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return false;
}
