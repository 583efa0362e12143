//! One peer: its stream, its phase and its buffers. Never sees the slab.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use log::{Level, debug, info, log_enabled, warn};
use mio::event::Event;
use mio::net::TcpStream;

use crate::ending::{Cause, Ending, Reason};
use crate::line::{self, Excerpt, Framer, Lines};
use crate::outbox::{Manner, Outbox, Progress};
use crate::socket::Socket;
use crate::totals::Tally;

/// How long a connection that we ended is read on, so that the peer gets what
/// was echoed before: closing with unread input sends an RST, and an RST makes
/// the peer lose what it has not received yet (RFC 1122, 4.2.2.13).
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// A connection and all that is kept for it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no state")]
pub(crate) struct Connection<S = TcpStream> {
    pub stream: S,
    pub peer: SocketAddr,
    /// When it was accepted: its identity too, as its key may be another's.
    pub since: Moment,
    framer: Framer,
    outbox: Outbox,
    phase: Phase,
    /// When it was heard last.
    heard: Tick,
    lines: u64,
    bytes_in: u64,
    /// Input may be waiting: an event said so, and no read has said otherwise.
    readable: bool,
    /// A short read does not prove that the input is drained; see [`notice`].
    ///
    /// [`notice`]: Connection::notice
    short_reads_lie: bool,
    /// ACKs leave at once: the peer may wait for one to go on with its line.
    quick_ack: bool,
    /// It waits in the server's list of connections to run.
    pub queued: bool,
}

/// How far the life of a connection has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Lines come in and go out.
    Open,
    /// We are about to end it: lines come in and go out as before, until the
    /// input that has arrived is drained.
    Draining(Cause),
    /// The peer has finished; its last lines are going out, our FIN on them.
    Flushing,
    /// We have finished; what is queued is going out, then our FIN.
    Ending(Cause),
    /// Our FIN is out; the input is discarded until the peer finishes too.
    Discarding(Cause),
    /// Both have finished, and the kernel is still sending what it was given.
    Closing(Option<Cause>),
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing more to do until the next event.
    Keep,
    /// The budget is used up: input may be waiting, or output can go on.
    Again,
    /// Our FIN has gone out. Run it again to discard its input, and give it
    /// [`LINGER`] to close.
    Linger,
    /// The connection is over.
    Close(Box<Ending>),
}

/// What an event says, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    /// A read will find something: data, the peer's FIN or an error.
    pub readable: bool,
    /// The peer's FIN is there, or urgent data is about.
    pub short_reads_lie: bool,
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        let closed = event.is_read_closed();
        Readiness {
            readable: event.is_readable() || closed || event.is_error(),
            short_reads_lie: closed || is_priority(event),
        }
    }
}

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Common {
    /// What is read goes here: no connection needs it longer than its turn.
    pub buffer: Box<[u8]>,
    /// The longest line in bytes, newline included.
    pub max_line: usize,
    /// One packet per line rather than as few as will do.
    pub packet_per_line: bool,
    /// The time of the turn, if somebody wants to know who is silent.
    pub now: Tick,
    /// Connections that are open.
    pub open: usize,
    /// Connections are logged even if they never send a byte.
    pub log_empty: bool,
}

/// Nanoseconds since the server began, for five centuries: half of an `Instant`,
/// and fine enough to tell connections apart.
pub(crate) type Moment = u64;

/// Milliseconds since the server began, modulo 2^32 (49 days): four bytes per
/// connection, and what lies less than that apart can be told.
pub(crate) type Tick = u32;

/// What ended a round of reading. Whatever it was, bytes may have come first.
#[derive(Debug)]
enum Input {
    /// The socket is empty; an event will tell when it is not.
    Drained,
    /// The buffer is full: more may be waiting.
    More,
    /// A zero-length read: the peer has finished.
    End,
    /// The stream has failed.
    Failed(io::Error),
}

impl<S: Socket> Connection<S> {
    pub fn new(stream: S, peer: SocketAddr, since: Moment, now: Tick) -> Connection<S> {
        // The ACK of a line rides on its echo, of the first line too.
        stream.set_quick_ack(false);
        Connection {
            stream,
            peer,
            since,
            framer: Framer::default(),
            outbox: Outbox::default(),
            phase: Phase::Open,
            heard: now,
            lines: 0,
            bytes_in: 0,
            readable: false,
            short_reads_lie: false,
            quick_ack: false,
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
    pub fn notice(&mut self, event: Readiness) {
        self.readable |= event.readable;
        self.short_reads_lie |= event.short_reads_lie;
    }

    /// Moves the connection on: flushes, then reads once and echoes.
    pub fn run(&mut self, common: &mut Common) -> Verdict {
        match self.advance(common) {
            Ok(verdict) => verdict,
            Err(e) => Verdict::Close(Box::new(self.ending(e.into()))),
        }
    }

    /// Ends the connection from our side when the input that has arrived is
    /// echoed. If it is for the peer's silence, and there was such input, the
    /// connection goes on: an event may have been late.
    pub fn drain(&mut self, cause: Cause) {
        if let Phase::Open | Phase::Draining(Cause::IdleTimeout) = self.phase {
            self.phase = Phase::Draining(cause);
            // Until the socket itself says that it is empty.
            self.readable = true;
            self.short_reads_lie = true;
        }
    }

    /// Milliseconds since the last activity, as of `now`. Pending output counts
    /// as activity; so does the end of the connection once it has begun, as it
    /// has limits of its own.
    ///
    /// 0 where the last activity lies after `now`: a connection accepted in this
    /// run of the loop has a newer clock reading than the run. The difference is
    /// signed for that, and right up to 2^31 ms (24 days), which is over
    /// [`MAX_TIMEOUT`](crate::MAX_TIMEOUT).
    pub fn idle_for(&mut self, now: Tick) -> u32 {
        let has_output = !self.outbox.is_empty() || self.stream.snapshot().is_sending;
        if has_output || !matches!(self.phase, Phase::Open) {
            self.heard = now;
        }
        now.wrapping_sub(self.heard)
            .cast_signed()
            .max(0)
            .cast_unsigned()
    }

    /// The end, if it comes now: for our own cause if we have ended the
    /// connection already, else for `reason`.
    pub fn ending(&self, reason: Reason) -> Ending {
        let reason = match self.phase {
            Phase::Open | Phase::Flushing | Phase::Closing(None) => reason,
            Phase::Draining(cause)
            | Phase::Ending(cause)
            | Phase::Discarding(cause)
            | Phase::Closing(Some(cause)) => Reason::We(cause),
        };
        let packets = self.stream.snapshot().packets;
        Ending { reason, packets }
    }

    /// Whether the peer has not sent a byte.
    pub fn is_empty(&self) -> bool {
        self.bytes_in == 0
    }

    /// What the connection did until now, but for its packets.
    pub fn tally(&self, now: Moment) -> Tally {
        Tally {
            lines: self.lines,
            bytes_in: self.bytes_in,
            bytes_out: self.outbox.sent(),
            lasted: Duration::from_nanos(now.saturating_sub(self.since)),
            packets: None,
        }
    }

    fn advance(&mut self, common: &mut Common) -> io::Result<Verdict> {
        let progress = if !self.outbox.is_empty() {
            self.outbox.flush(&self.stream, self.manner(common))?
        } else if matches!(self.phase, Phase::Open | Phase::Draining(_)) && self.readable {
            self.echo(common)?
        } else {
            Progress::Done
        };
        match progress {
            Progress::Done => {}
            Progress::Budget => return Ok(Verdict::Again),
            Progress::Blocked => return Ok(Verdict::Keep), // And no read meanwhile.
        }
        if !matches!(self.phase, Phase::Open) {
            return self.wind_up(common);
        }
        Ok(if self.readable {
            Verdict::Again
        } else {
            Verdict::Keep
        })
    }

    /// Goes on with the end of the connection; nothing waits to be sent.
    #[inline(never)] // Rare: the usual path is shorter without it.
    fn wind_up(&mut self, common: &mut Common) -> io::Result<Verdict> {
        match self.phase {
            Phase::Discarding(cause) if self.readable => self.discard(cause, common),
            Phase::Draining(_) => Ok(Verdict::Again),
            Phase::Open | Phase::Discarding(_) => Ok(Verdict::Keep),
            Phase::Flushing => self.conclude(None),
            Phase::Closing(cause) => {
                // The edge says that something has changed, not what.
                self.stream.take_error()?.map_or(Ok(()), Err)?;
                self.conclude(cause)
            }
            Phase::Ending(cause) => {
                self.stream.finish()?;
                self.phase = Phase::Discarding(cause);
                Ok(Verdict::Linger)
            }
        }
    }

    /// How output is to leave now.
    fn manner(&self, common: &Common) -> Manner {
        Manner {
            per_line: common.packet_per_line,
            last: matches!(self.phase, Phase::Flushing | Phase::Ending(_)),
        }
    }

    /// Reads once, and echoes the lines that this completed.
    fn echo(&mut self, common: &mut Common) -> io::Result<Progress> {
        self.heard = common.now;
        if self.framer.holds_something() {
            let front = self.framer.put_in_front(&mut common.buffer);
            let first = self.stream.receive(&mut common.buffer[front..]);
            return self.echo_what_came(first, front, common);
        }
        match self.stream.receive(&mut common.buffer) {
            Ok(len) if self.is_usual(len, common) => {
                self.count_received(len, common);
                self.readable = false;
                let lines = &common.buffer[..len];
                self.lines += line::count(lines);
                self.send(Cow::Borrowed(lines), common)
            }
            first => self.echo_what_came(first, 0, common),
        }
    }

    /// Whether a read of `len` bytes, with nothing held before, drained the socket
    /// and brought lines that can go as they are, unseen. Without this short cut
    /// a ping-pong line takes 438 instructions instead of 254 (callgrind).
    fn is_usual(&self, len: usize, common: &Common) -> bool {
        len < common.buffer.len()
            && !self.short_reads_lie
            && matches!(self.phase, Phase::Open)
            && line::is_whole(&common.buffer[..len], common.max_line)
            && !log_enabled!(Level::Debug)
    }

    /// Goes on after the `first` read, whatever it brought, to after the `front`
    /// of the buffer, which holds the beginning of a line.
    #[inline(never)] // Rare: the usual path is shorter without it.
    fn echo_what_came(
        &mut self,
        first: io::Result<usize>,
        front: usize,
        common: &mut Common,
    ) -> io::Result<Progress> {
        let (mut len, input) = self.read_on(first, front, common);
        let buffer = &mut common.buffer[front..];
        let came = len;
        if matches!(input, Input::End) && self.framer.ends_inside_line(&buffer[..len]) {
            buffer[len] = b'\n'; // A full buffer would have been `More`.
            len += 1;
        }
        let buffer = &common.buffer[..front + len];
        let lines = self.framer.push(buffer, front, common.max_line);
        self.lines += line::count(&lines.bytes);
        self.report(&lines, common.max_line);
        self.settle(input, lines.too_long.is_some(), came > 0)?;
        // An ACK rides on the echo if there is one, and leaves at once if
        // there is none: the peer may hold back the rest of its line for it
        // (RFC 896). Where lines come whole, this makes no system call.
        if lines.bytes.is_empty() {
            if came > 0 && !self.quick_ack {
                self.set_quick_ack(true);
            }
            return Ok(Progress::Done);
        }
        self.send(lines.bytes, common)
    }

    /// Sends complete lines.
    #[expect(
        clippy::inline_always,
        reason = "43 of 285 instructions a line (callgrind)"
    )]
    #[inline(always)]
    fn send(&mut self, lines: Cow<'_, [u8]>, common: &Common) -> io::Result<Progress> {
        let manner = self.manner(common);
        let progress = self.outbox.send(&self.stream, lines, manner)?;
        if self.quick_ack {
            self.set_quick_ack(false);
        }
        Ok(progress)
    }

    /// Goes to the phase that a read leads to; `heard` says whether it brought
    /// anything.
    fn settle(&mut self, input: Input, is_too_long: bool, heard: bool) -> io::Result<()> {
        if is_too_long {
            self.phase = Phase::Ending(Cause::LineLimit);
        }
        match (input, self.phase) {
            // Nobody is there to take an echo.
            (Input::Failed(e), _) => return Err(e),
            (_, Phase::Ending(_)) => {}
            (Input::End, _) => self.phase = Phase::Flushing,
            (Input::Drained, Phase::Draining(Cause::IdleTimeout)) if heard => {
                self.phase = Phase::Open;
            }
            (Input::Drained, Phase::Draining(cause)) => {
                self.framer = Framer::default();
                self.phase = Phase::Ending(cause);
            }
            (Input::Drained | Input::More, _) => {}
        }
        Ok(())
    }

    fn set_quick_ack(&mut self, on: bool) {
        self.quick_ack = on;
        self.stream.set_quick_ack(on);
    }

    fn discard(&mut self, cause: Cause, common: &mut Common) -> io::Result<Verdict> {
        let first = self.stream.receive(&mut common.buffer);
        match self.read_on(first, 0, common).1 {
            Input::Failed(e) => Err(e),
            Input::Drained => Ok(Verdict::Keep),
            Input::More => Ok(Verdict::Again),
            Input::End => self.conclude(Some(cause)),
        }
    }

    /// Closes a connection that the peer has finished: at once, or when the
    /// kernel has sent what it was given, so that all packets are counted.
    fn conclude(&mut self, cause: Option<Cause>) -> io::Result<Verdict> {
        let mut now = self.stream.snapshot();
        if now.is_sending && matches!(self.phase, Phase::Flushing) {
            // Either the last lines are held back for our FIN, and this lets
            // both go in one segment; or the peer's window is full, and the
            // ACK of the FIN will be the event that says that all has gone.
            self.stream.finish()?;
            now = self.stream.snapshot();
        }
        if now.is_sending {
            self.phase = Phase::Closing(cause);
            return Ok(Verdict::Keep);
        }
        Ok(Verdict::Close(Box::new(Ending {
            reason: cause.map_or(Reason::Peer, Reason::We),
            packets: now.packets,
        })))
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

    /// Counts bytes received. Logs the connection at the first of them if it was
    /// not logged when it was accepted.
    fn count_received(&mut self, len: usize, common: &Common) {
        if self.bytes_in == 0 && !common.log_empty {
            info!("{} connected ({} open)", self.peer, common.open);
        }
        self.bytes_in += len as u64;
    }

    /// Goes on after the `first` read: done with it if it was short, or until
    /// the socket says that it is empty or at its end where a short read does
    /// not say so.
    fn read_on(
        &mut self,
        first: io::Result<usize>,
        front: usize,
        common: &mut Common,
    ) -> (usize, Input) {
        let (mut len, mut result) = (0, first);
        let input = loop {
            match result {
                Ok(0) => break Input::End,
                Ok(n) => {
                    len += n;
                    self.count_received(n, common);
                    if front + len == common.buffer.len() {
                        break Input::More;
                    }
                    if !self.short_reads_lie {
                        break Input::Drained;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Input::Drained,
                Err(e) => break Input::Failed(e),
            }
            result = self.stream.receive(&mut common.buffer[front + len..]);
        };
        self.readable = matches!(input, Input::More);
        (len, input)
    }
}

/// Whether urgent data is about (epoll only; kqueue does not say).
fn is_priority(event: &Event) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return event.is_priority();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return false;
}

#[cfg(test)]
mod tests;
