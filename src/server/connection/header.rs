//! How a connection begins behind a proxy: with a header that names the client.

use std::collections::HashMap;
use std::io;

use crate::clock::Nanos;
use crate::net::socket::ReadOutcome;
use crate::net::stream::Stream;
use crate::server::connection::proxy_header::{self, HeaderError, MAX_HEADER_LEN};
use crate::server::connection::state::{HeaderInput, State};
use crate::server::connection::{Connection, Context, Outcome};

/// The parts of headers that have arrived, by the time of the connection's accept. Few
/// connections await a header, and none does without the option.
#[derive(Debug, Default)]
pub(crate) struct PartialHeaders(HashMap<Nanos, Vec<u8>>);

impl PartialHeaders {
    fn take(&mut self, accepted_at: Nanos) -> Vec<u8> {
        self.0.remove(&accepted_at).unwrap_or_default()
    }

    fn keep(&mut self, accepted_at: Nanos, header: Vec<u8>) {
        if !header.is_empty() {
            self.0.insert(accepted_at, header);
        }
    }

    /// Forgets a connection that is closed. Nearly always there is nothing to forget, and
    /// hashing would cost each close some.
    pub fn forget(&mut self, accepted_at: Nanos) {
        if !self.0.is_empty() {
            self.0.remove(&accepted_at);
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Expects a header before the first line. To be called before the first run.
    pub fn await_header(&mut self) {
        self.state = State::AwaitingHeader;
    }

    pub fn awaits_header(&self) -> bool {
        self.state.awaits_header()
    }

    /// Reads more of the header.
    pub(super) fn receive_header(&mut self, context: &mut Context) -> io::Result<Outcome> {
        let mut header = context.headers.take(self.accepted_at);
        let input = match self.read_header(&mut header, context) {
            Ok(input) => input,
            Err(e) => {
                self.traffic.bytes_in += header.len() as u64;
                return Err(e);
            }
        };
        self.state = self.state.after_header_read(input);
        Ok(match self.state {
            State::AwaitingHeader | State::DrainingHeader(_) => {
                context.headers.keep(self.accepted_at, header);
                if input == HeaderInput::Drained {
                    Outcome::Wait
                } else {
                    Outcome::Reschedule
                }
            }
            State::Draining(_) => {
                self.socket.expect_input();
                Outcome::Admit
            }
            State::Open => Outcome::Admit,
            // What came was no header, and so counts as bytes.
            State::Flushing(_) | State::Lingering(_) | State::Closing(_) => {
                self.traffic.bytes_in += header.len() as u64;
                Outcome::Reschedule
            }
        })
    }

    /// Reads once, and appends to `header` what belongs to it. Peeks first, so that what
    /// follows the header stays in the socket until the client's address is known and
    /// accepted.
    fn read_header(
        &mut self,
        header: &mut Vec<u8>,
        context: &mut Context,
    ) -> io::Result<HeaderInput> {
        let before = header.len();
        let space = context.input.space(0);
        let most = space.len().min(MAX_HEADER_LEN - before);
        let (len, outcome) = self.socket.peek(&mut space[..most]);
        match outcome {
            ReadOutcome::BufferFull => {}
            ReadOutcome::Failed(e) => return Err(e),
            // As the check of a load balancer, that is no fault.
            ReadOutcome::Eof if before == 0 => return Ok(HeaderInput::Finished),
            ReadOutcome::Eof => return Ok(HeaderInput::Wrong(HeaderError::Incomplete)),
            ReadOutcome::WouldBlock => return Ok(HeaderInput::Drained),
        }
        self.last_activity = context.now;
        header.extend_from_slice(&space[..len]);
        let decoded = proxy_header::decode(header);
        let taken = decoded.map_or(len, |header| header.map_or(len, |h| h.len - before));
        self.socket.read(&mut space[..taken]);
        if taken == len {
            // No echo is about to leave that an ACK could ride on.
            self.socket.ack_at_once();
        }
        Ok(match decoded {
            Ok(None) => HeaderInput::Part,
            Ok(Some(header)) => {
                self.peer = header.client.unwrap_or(self.peer);
                HeaderInput::Complete
            }
            Err(e) => HeaderInput::Wrong(e),
        })
    }
}
