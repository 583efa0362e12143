//! How a connection ends: from the last read to the close.

use std::io;

use crate::net::socket::ReadOutcome;
use crate::net::stream::Stream;
use crate::server::connection::decoder::LineDecoder;
use crate::server::connection::reason::{CloseCause, Closed, LocalClose};
use crate::server::connection::state::{Input, State};
use crate::server::connection::{Connection, Context, Outcome};

impl<S: Stream> Connection<S> {
    /// Ends the connection when the input that has arrived is echoed. With
    /// [`LocalClose::IdleTimeout`] the connection goes on if there is such input: its
    /// event was late. Only a shutdown takes the place of a close that has begun.
    pub fn begin_close(&mut self, why: LocalClose) {
        let next = self.state.begin_close(why);
        if next != self.state {
            self.state = next;
            self.socket.expect_input();
        }
    }

    /// The connection as closed now: by the server, if the server has stopped reading
    /// lines, else for `cause`.
    pub fn closed(&self, cause: CloseCause) -> Closed {
        Closed {
            cause: self.state.cause(cause),
            segments: self.socket.tcp_info().segments,
        }
    }

    /// The same for a failed socket. A peer that resets without a byte of a line, as the
    /// health check of a load balancer, has finished: no echo is lost.
    pub(super) fn failed(&self, e: io::Error) -> Closed {
        let is_reset = e.kind() == io::ErrorKind::ConnectionReset;
        self.closed(if is_reset && !self.has_received() {
            CloseCause::Peer
        } else {
            e.into()
        })
    }

    /// Enters the state that a read leads to.
    ///
    /// # Errors
    ///
    /// That of the read: the peer cannot receive an echo any more.
    #[inline(never)]
    pub(super) fn update_state(
        &mut self,
        read: ReadOutcome,
        too_long: bool,
        received: bool,
    ) -> io::Result<()> {
        let (input, result) = match read {
            ReadOutcome::WouldBlock => (Input::Drained, Ok(())),
            ReadOutcome::BufferFull => (Input::More, Ok(())),
            ReadOutcome::Eof => (Input::Finished, Ok(())),
            ReadOutcome::Failed(e) => (Input::More, Err(e)),
        };
        self.state = self.state.after_read(input, received, too_long);
        if !self.state.reads_lines() {
            self.decoder = LineDecoder::default(); // A partial line is not echoed.
        }
        result
    }

    /// Advances the close. No output is pending.
    #[cold]
    pub(super) fn advance_close(&mut self, context: &mut Context) -> io::Result<Outcome> {
        match self.state {
            State::AwaitingHeader | State::DrainingHeader(_) if self.socket.is_readable() => {
                self.receive_header(context)
            }
            State::Draining(_) => Ok(Outcome::Reschedule),
            State::Flushing(Some(why)) => {
                self.socket.shutdown_write()?;
                self.state = self.state.after_fin();
                // The drain timeout limits the lingering of a shutdown.
                Ok(if why == LocalClose::Shutdown {
                    Outcome::Reschedule
                } else {
                    Outcome::Linger
                })
            }
            State::Flushing(None) | State::Closing(_) => self.try_close(),
            State::Lingering(_) if self.socket.is_readable() => self.discard(context),
            State::AwaitingHeader
            | State::DrainingHeader(_)
            | State::Open
            | State::Lingering(_) => Ok(Outcome::Wait),
        }
    }

    /// Discards input after our FIN.
    fn discard(&mut self, context: &mut Context) -> io::Result<Outcome> {
        let (len, outcome) = self.socket.read(context.input.space(0));
        self.count_received(len, context);
        match outcome {
            ReadOutcome::Failed(e) => Err(e),
            ReadOutcome::WouldBlock => Ok(Outcome::Wait),
            ReadOutcome::BufferFull => Ok(Outcome::Reschedule),
            ReadOutcome::Eof => self.try_close(),
        }
    }

    /// Closes a connection that the peer has finished, once the kernel has sent
    /// everything, so that all segments are counted.
    fn try_close(&mut self) -> io::Result<Outcome> {
        let mut info = self.socket.tcp_info();
        if info.has_unsent && self.state.fin_follows() {
            // Either the last lines wait for our FIN (`MSG_MORE`), and both leave in
            // one segment now; or the peer's window is full, and the ACK of the FIN
            // will be an event.
            self.socket.shutdown_write()?;
            info = self.socket.tcp_info();
        }
        if info.has_unsent {
            self.state = self.state.closing();
            return Ok(Outcome::Wait);
        }
        if matches!(self.state, State::Closing(_)) {
            // An event tells that something has changed, not what. Not to be asked
            // earlier: `SO_ERROR` is also a soft error while the kernel still sends.
            self.socket.check()?;
        }
        let closed = Closed {
            cause: self.state.cause(CloseCause::Peer),
            segments: info.segments,
        };
        Ok(Outcome::Close(Box::new(closed)))
    }
}
