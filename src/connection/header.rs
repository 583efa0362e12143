//! How a connection begins behind a proxy: with a header that names the client.

use std::io;

use crate::connection::proxy_header::{self, HeaderError, MAX_HEADER_LEN};
use crate::connection::reason::LocalClose;
use crate::connection::{Connection, Context, Outcome, State};
use crate::net::socket::ReadOutcome;
use crate::net::stream::Stream;

impl<S: Stream> Connection<S> {
    /// Expects a header before the first line. To be called before the first run.
    pub fn await_header(&mut self) {
        self.state = State::AwaitingHeader;
    }

    pub fn awaits_header(&self) -> bool {
        self.state == State::AwaitingHeader
    }

    /// Reads more of the header. Peeks first, so that what follows the header stays in
    /// the socket until the client's address is known and accepted.
    pub(super) fn receive_header(&mut self, context: &mut Context) -> io::Result<Outcome> {
        let before = self.decoder.partial_len();
        let space = context.input.space(0);
        let most = space.len().min(MAX_HEADER_LEN - before);
        let (len, outcome) = self.socket.peek(&mut space[..most]);
        match outcome {
            ReadOutcome::BufferFull => {}
            ReadOutcome::Failed(e) => {
                self.count_as_received();
                return Err(e);
            }
            ReadOutcome::Eof => return Ok(self.end_without_header(before)),
            ReadOutcome::WouldBlock => return Ok(self.wait_for_header()),
        }
        self.last_activity = context.now;
        if self.is_idle_close() {
            self.local_close = None; // Its event was late.
        }
        let header = self.decoder.header_mut();
        header.extend_from_slice(&space[..len]);
        let decoded = proxy_header::decode(header);
        let taken = decoded.map_or(len, |header| header.map_or(len, |h| h.len - before));
        self.socket.read(&mut space[..taken]);
        if taken == len {
            // No echo is about to leave that an ACK could ride on.
            self.socket.ack_at_once();
        }
        match decoded {
            Ok(None) => return Ok(Outcome::Reschedule),
            Ok(Some(header)) => self.peer = header.client.unwrap_or(self.peer),
            Err(e) => return Ok(self.reject(e)),
        }
        self.begin_lines();
        Ok(Outcome::Acquire)
    }

    /// Expects lines from now on. A shutdown goes on with those that have arrived.
    fn begin_lines(&mut self) {
        *self.decoder.header_mut() = Vec::new();
        if self.local_close == Some(LocalClose::Shutdown) {
            self.state = State::Draining;
            self.socket.expect_input();
        } else {
            self.state = State::Open;
            self.local_close = None;
        }
    }

    /// A close that has begun waits for nothing more.
    fn wait_for_header(&mut self) -> Outcome {
        match self.local_close {
            None => Outcome::Wait,
            Some(LocalClose::ProxyHeader(e)) => self.reject(e),
            Some(_) => self.flush_nothing(),
        }
    }

    /// The peer has finished. Without a byte, as the check of a load balancer, that is
    /// no fault.
    fn end_without_header(&mut self, received: usize) -> Outcome {
        if received > 0 {
            return self.reject(HeaderError::Incomplete);
        }
        self.local_close = None;
        self.flush_nothing()
    }

    fn reject(&mut self, e: HeaderError) -> Outcome {
        self.local_close = Some(LocalClose::ProxyHeader(e));
        self.flush_nothing()
    }

    /// Ends the connection without an echo.
    fn flush_nothing(&mut self) -> Outcome {
        self.count_as_received();
        self.state = State::Flushing;
        Outcome::Reschedule
    }

    /// What was kept is no header, and so counts as bytes.
    fn count_as_received(&mut self) {
        let header = std::mem::take(self.decoder.header_mut());
        self.traffic.bytes_in += header.len() as u64;
    }
}
