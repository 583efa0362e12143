//! One peer: the state machine between its socket, the decoder and the output.
//!
//! A line goes socket -> decoder -> output -> encoder -> socket.

mod close;
pub(crate) mod decoder;
pub(crate) mod encoder;
mod header;
pub(crate) mod message_log;
pub(crate) mod output;
pub(crate) mod proxy_header;
pub(crate) mod reason;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{Level, log_enabled};
use mio::net::TcpStream;

use crate::clock::{Millis, Nanos, millis_between};
use crate::net::socket::{ReadOutcome, Socket};
use crate::net::stream::Stream;
use crate::stats::{ConnectionStats, Traffic};

use decoder::{InputBuffer, LineDecoder, count_lines};
use encoder::LineEncoder;
use output::{OutputBuffer, Progress};
use reason::{Closed, LocalClose};

/// How long input is discarded after our FIN. Closing a socket with unread input
/// sends an RST, and an RST can destroy echoes that the peer has not read yet
/// (RFC 1122, section 4.2.2.13).
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection and everything kept for it.
#[derive(Debug)]
pub(crate) struct Connection<S = TcpStream> {
    pub socket: Socket<S>,
    /// The client: the socket's peer, unless a PROXY header names another.
    pub peer: SocketAddr,
    /// Tells this connection from others that have had the same slot.
    pub accepted_at: Nanos,
    last_activity: Millis,
    state: State,
    /// The reason, once the server has begun to end the connection.
    local_close: Option<LocalClose>,
    /// It counts against the limit of its address.
    pub acquired: bool,
    decoder: LineDecoder,
    output: OutputBuffer,
    traffic: Traffic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Lines come in and go out.
    Open,
    /// As `Open`, until the input that has arrived is drained; then the server ends
    /// the connection.
    Draining,
    /// No more lines are read. Pending output goes out, then our FIN.
    Flushing,
    /// Our FIN is out. Input is discarded until the peer's FIN.
    Lingering,
    /// Both FINs are out or on their way, and the kernel still sends.
    Closing,
    /// A PROXY header comes in, before `Open`. Not the first variant: so, a line costs one
    /// instruction less (callgrind).
    AwaitingHeader,
}

/// What the server does next with a connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing until the next event.
    Wait,
    /// As `Wait`. Output is pending, and the kernel does not keep the send timeout.
    Blocked,
    /// Run it again: input may wait, or output can go on.
    Reschedule,
    /// Run it again to discard input, and close it after [`LINGER_TIMEOUT`].
    Linger,
    /// Acquire its place under the limit of its address, which is known now, and run it.
    Acquire,
    /// Remove it.
    Close(Box<Closed>),
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Context {
    /// Reads go here. No connection keeps bytes in it between runs.
    pub input: InputBuffer,
    /// How lines are sent. Keeps none of them between runs.
    pub encoder: LineEncoder,
    /// The longest line in bytes, newline included.
    pub max_line: usize,
    /// Whether connections are logged when they are accepted, rather than at their
    /// first byte.
    pub log_empty: bool,
    /// Open connections.
    pub open: usize,
    /// Time at the start of this run of the loop; not updated while no timer is
    /// armed.
    pub now: Millis,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, peer: SocketAddr, accepted_at: Nanos, now: Millis) -> Connection<S> {
        Connection {
            socket: Socket::new(stream),
            peer,
            accepted_at,
            last_activity: now,
            state: State::Open,
            local_close: None,
            acquired: false,
            decoder: LineDecoder::default(),
            output: OutputBuffer::default(),
            traffic: Traffic::default(),
        }
    }

    /// Writes pending output; if there is none, reads once and echoes.
    pub fn run(&mut self, context: &mut Context) -> Outcome {
        match self.advance(context) {
            Ok(outcome) => outcome,
            Err(e) => Outcome::Close(Box::new(self.closed(e.into()))),
        }
    }

    /// Milliseconds since the last activity. Pending output is activity until it has
    /// been sent; so are a header that is awaited and a close that has begun, which have
    /// time limits of their own.
    pub fn idle_for(&mut self, now: Millis) -> u32 {
        let info = self.socket.tcp_info();
        if !self.output.is_empty() || info.has_unsent || self.state != State::Open {
            self.last_activity = now;
        }
        let idle_for = millis_between(self.last_activity, now);
        info.last_data_sent
            .map_or(idle_for, |sent| idle_for.min(sent))
    }

    /// What the connection did until `now`, without its segments.
    pub fn stats(&self, now: Nanos) -> ConnectionStats {
        ConnectionStats {
            traffic: self.traffic,
            duration: Duration::from_nanos(now.saturating_sub(self.accepted_at)),
            segments: None,
        }
    }

    /// Whether the peer has sent a byte.
    pub fn has_received(&self) -> bool {
        self.traffic.bytes_in > 0
    }

    fn advance(&mut self, context: &mut Context) -> io::Result<Outcome> {
        let progress = if !self.output.is_empty() {
            self.flush(context)?
        } else if self.reads_lines() && self.socket.is_readable() {
            self.echo(context)?
        } else {
            Progress::Done
        };
        match progress {
            Progress::Done => {}
            Progress::BudgetUsed => return Ok(Outcome::Reschedule),
            Progress::WouldBlock => return Ok(self.wait_to_write()), // Backpressure: no read.
        }
        if self.state != State::Open {
            return self.advance_close(context);
        }
        Ok(if self.socket.is_readable() {
            Outcome::Reschedule
        } else {
            Outcome::Wait
        })
    }

    fn wait_to_write(&self) -> Outcome {
        if self.socket.keeps_send_timeout() {
            Outcome::Wait
        } else {
            Outcome::Blocked
        }
    }

    /// Takes `now` for the last time that the kernel has taken output.
    pub fn begin_blocked(&mut self, now: Millis) {
        self.last_activity = now;
    }

    /// Milliseconds since the kernel has taken output last; `None` if none is pending, or
    /// if the kernel keeps the send timeout.
    pub fn blocked_for(&self, now: Millis) -> Option<u32> {
        let is_blocked = !self.output.is_empty() && !self.socket.keeps_send_timeout();
        is_blocked.then(|| millis_between(self.last_activity, now))
    }

    #[cold]
    fn flush(&mut self, context: &mut Context) -> io::Result<Progress> {
        let sent = self.traffic.bytes_out;
        let fin_follows = self.fin_follows();
        let progress = self.output.flush(
            &mut self.socket,
            fin_follows,
            &mut context.encoder,
            &mut self.traffic,
        );
        if self.traffic.bytes_out > sent {
            self.last_activity = context.now;
        }
        progress
    }

    fn reads_lines(&self) -> bool {
        matches!(self.state, State::Open | State::Draining)
    }

    /// Whether our FIN is sent right after the output, and is to ride on its last segment.
    fn fin_follows(&self) -> bool {
        self.state == State::Flushing
    }

    /// Reads once and echoes the lines that this completed.
    ///
    /// The functions that every line passes are inlined here: 298 instructions per
    /// ping-pong line, some 50 more without (callgrind).
    fn echo(&mut self, context: &mut Context) -> io::Result<Progress> {
        self.last_activity = context.now;
        let space = context.input.space(self.decoder.partial_len());
        let (len, outcome) = self.socket.read(space);
        self.count_received(len, context);
        let eof = matches!(outcome, ReadOutcome::Eof);
        let decoded = self
            .decoder
            .decode(&mut context.input, len, eof, context.max_line);
        self.traffic.lines += count_lines(&decoded.lines);
        if decoded.too_long.is_some() || log_enabled!(Level::Debug) {
            message_log::log_lines(self.peer, &decoded, context.max_line);
        }
        match (outcome, decoded.too_long) {
            (ReadOutcome::WouldBlock, None) if self.state == State::Open => {}
            (outcome, too_long) => self.update_state(outcome, too_long.is_some(), len > 0)?,
        }
        if decoded.lines.is_empty() {
            // The peer may hold back the rest of its line for an ACK (RFC 896).
            if len > 0 {
                self.socket.ack_at_once();
            }
            return Ok(Progress::Done);
        }
        let fin_follows = self.fin_follows();
        self.output.write(
            &mut self.socket,
            decoded.lines,
            fin_follows,
            &mut context.encoder,
            &mut self.traffic,
        )
    }

    /// Counts bytes received. Logs the connection at the first of them if it was
    /// not logged when it was accepted.
    fn count_received(&mut self, len: usize, context: &Context) {
        if !self.has_received() && len > 0 && !context.log_empty && self.acquired {
            message_log::log_connected(self.peer, context.open);
        }
        self.traffic.bytes_in += len as u64;
    }
}
