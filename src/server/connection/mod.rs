//! One peer: the state machine between its socket, the decoder and the output.
//!
//! A line goes socket -> decoder -> output -> encoder -> socket.

mod close;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod header;
pub(crate) mod message_log;
pub(crate) mod output;
pub(crate) mod proxy_header;
pub(crate) mod reason;
#[cfg(test)]
mod script;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{Level, log_enabled};
use mio::net::TcpStream;

use crate::clock::{Nanos, between};
use crate::net::socket::{ReadOutcome, Socket};
use crate::net::stream::Stream;
use crate::stats::{ConnectionStats, Traffic};

use decoder::{InputBuffer, LineDecoder, count_lines};
use encoder::LineEncoder;
use header::PartialHeaders;
use output::{OutputBuffer, Progress, Sender};
use reason::Closed;
use state::State;

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
    last_activity: Nanos,
    state: State,
    /// Its peer is known, and its place under the limit of its address is taken.
    pub admitted: bool,
    decoder: LineDecoder,
    output: OutputBuffer,
    traffic: Traffic,
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
    /// Admit it, as its peer is known now, and run it; or refuse it.
    Admit,
    /// Remove it.
    Close(Box<Closed>),
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Context {
    /// Reads go here. No connection keeps bytes in it between runs.
    pub input: InputBuffer,
    /// What has arrived of PROXY headers.
    pub headers: PartialHeaders,
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
    pub now: Nanos,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, peer: SocketAddr, accepted_at: Nanos, now: Nanos) -> Connection<S> {
        Connection {
            socket: Socket::new(stream),
            peer,
            accepted_at,
            last_activity: now,
            state: State::Open,
            admitted: false,
            decoder: LineDecoder::default(),
            output: OutputBuffer::default(),
            traffic: Traffic::default(),
        }
    }

    /// Writes pending output; if there is none, reads once and echoes.
    pub fn run(&mut self, context: &mut Context) -> Outcome {
        match self.advance(context) {
            Ok(outcome) => outcome,
            Err(e) => Outcome::Close(Box::new(self.failed(e))),
        }
    }

    /// The time since the last activity. Pending output is activity until it has
    /// been sent; so is a close that has begun, which has a time limit of its own.
    pub fn idle_for(&mut self, now: Nanos) -> Duration {
        let info = self.socket.tcp_info();
        if !self.output.is_empty() || info.has_unsent || self.state.is_ending() {
            self.last_activity = now;
        }
        let idle_for = between(self.last_activity, now);
        let sent = info.last_data_sent.unwrap_or(Duration::MAX);
        idle_for.min(sent)
    }

    /// What the connection did until `now`, without its segments.
    pub fn stats(&self, now: Nanos) -> ConnectionStats {
        ConnectionStats {
            traffic: self.traffic,
            duration: between(self.accepted_at, now),
            segments: None,
        }
    }

    /// Whether nothing is left to do but to await the peer's FIN: all echoes and our FIN
    /// are on their way.
    pub fn only_awaits_peer(&self) -> bool {
        self.state.has_sent_fin() && !self.socket.tcp_info().has_unsent
    }

    /// Whether the peer has sent a byte.
    pub fn has_received(&self) -> bool {
        self.traffic.bytes_in > 0
    }

    fn advance(&mut self, context: &mut Context) -> io::Result<Outcome> {
        let progress = if !self.output.is_empty() {
            self.flush(context)?
        } else if self.state.reads_lines() && self.socket.is_readable() {
            self.echo(context)?
        } else {
            Progress::Done
        };
        match progress {
            Progress::Done => {}
            Progress::BudgetUsed => return Ok(Outcome::Reschedule),
            Progress::WouldBlock => {
                self.socket.uncork();
                return Ok(self.wait_to_write()); // Backpressure: no read.
            }
        }
        if self.state != State::Open {
            return self.advance_close(context);
        }
        if self.socket.is_readable() {
            return Ok(Outcome::Reschedule);
        }
        self.socket.uncork();
        Ok(Outcome::Wait)
    }

    fn wait_to_write(&self) -> Outcome {
        if self.socket.keeps_send_timeout() {
            Outcome::Wait
        } else {
            Outcome::Blocked
        }
    }

    /// Takes `now` for the last time that the kernel has taken output.
    pub fn begin_blocked(&mut self, now: Nanos) {
        self.last_activity = now;
    }

    /// The time since the kernel has taken output last; `None` if none is pending, or if the
    /// kernel keeps the send timeout.
    pub fn blocked_for(&self, now: Nanos) -> Option<Duration> {
        let is_blocked = !self.output.is_empty() && !self.socket.keeps_send_timeout();
        is_blocked.then(|| between(self.last_activity, now))
    }

    #[cold]
    fn flush(&mut self, context: &mut Context) -> io::Result<Progress> {
        let sent = self.traffic.bytes_out;
        let progress = self.output.flush(&mut Sender {
            socket: &mut self.socket,
            encoder: &mut context.encoder,
            traffic: &mut self.traffic,
            fin_follows: self.state.fin_follows(),
        });
        if self.traffic.bytes_out > sent {
            self.last_activity = context.now;
        }
        progress
    }

    /// Reads once and echoes the lines that this completed.
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
            self.socket.uncork();
            // The peer may hold back the rest of its line for an ACK (RFC 896).
            if len > 0 {
                self.socket.ack_at_once();
            }
            return Ok(Progress::Done);
        }
        if self.socket.is_readable() && !context.encoder.segment_per_line {
            // More input waits. The next run reads it, and the end of this echo shares a
            // segment with the beginning of the next.
            self.socket.cork();
        }
        let mut sender = Sender {
            socket: &mut self.socket,
            encoder: &mut context.encoder,
            traffic: &mut self.traffic,
            fin_follows: self.state.fin_follows(),
        };
        self.output.write(&mut sender, decoded.lines)
    }

    /// Counts bytes received. Logs the connection at the first of them if it was
    /// not logged when it was accepted.
    fn count_received(&mut self, len: usize, context: &Context) {
        if !self.has_received() && len > 0 && !context.log_empty && self.admitted {
            message_log::log_connected(self.peer, context.open);
        }
        self.traffic.bytes_in += len as u64;
    }
}
