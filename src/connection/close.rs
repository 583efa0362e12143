//! How a connection ends: from the last read to the close.

use std::io;

use crate::connection::decoder::LineDecoder;
use crate::connection::reason::{CloseReason, Closed, LocalClose};
use crate::connection::{Connection, Context, Outcome, State};
use crate::net::socket::ReadOutcome;
use crate::net::stream::Stream;
use crate::net::tcp_info::TcpInfo;

impl<S: Stream> Connection<S> {
    /// Ends the connection when the input that has arrived is echoed. With
    /// [`LocalClose::IdleTimeout`] the connection goes on if there is such input: its
    /// event was late. Only a shutdown takes the place of a close that has begun.
    pub fn begin_close(&mut self, reason: LocalClose) {
        if self.local_close.is_some() && reason != LocalClose::Shutdown {
            return;
        }
        match self.state {
            State::AwaitingHeader => {}
            State::Open | State::Draining => self.state = State::Draining,
            State::Flushing | State::Lingering | State::Closing => return,
        }
        self.local_close = Some(reason);
        self.socket.expect_input();
    }

    /// The connection as closed now: by the server, if the server has stopped reading
    /// lines, else for `reason`.
    pub fn closed(&self, reason: CloseReason) -> Closed {
        self.closed_with(reason, self.socket.tcp_info())
    }

    /// The same for a failed socket. A peer that resets without a byte of a line, as the
    /// health check of a load balancer, has finished: no echo is lost.
    pub(super) fn failed(&self, e: io::Error) -> Closed {
        let is_reset = e.kind() == io::ErrorKind::ConnectionReset;
        self.closed(if is_reset && !self.has_received() {
            CloseReason::Peer
        } else {
            e.into()
        })
    }

    fn closed_with(&self, reason: CloseReason, info: TcpInfo) -> Closed {
        let reads = matches!(self.state, State::AwaitingHeader | State::Draining);
        let local_close = self.local_close.filter(|_| !reads);
        Closed {
            reason: local_close.map_or(reason, CloseReason::Local),
            segments: info.segments,
        }
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
        if too_long {
            self.state = State::Flushing;
            self.local_close = Some(LocalClose::LineLimit);
        }
        match read {
            ReadOutcome::Failed(e) => return Err(e),
            ReadOutcome::Eof if !too_long => {
                self.state = State::Flushing;
                self.local_close = None;
            }
            _ if self.state == State::Draining && received && self.is_idle_close() => {
                self.state = State::Open;
                self.local_close = None;
            }
            ReadOutcome::WouldBlock if self.state == State::Draining => {
                self.state = State::Flushing;
                self.decoder = LineDecoder::default();
            }
            ReadOutcome::WouldBlock | ReadOutcome::BufferFull | ReadOutcome::Eof => {}
        }
        Ok(())
    }

    pub(super) fn is_idle_close(&self) -> bool {
        self.local_close == Some(LocalClose::IdleTimeout)
    }

    /// Advances the close. No output is pending.
    #[cold]
    pub(super) fn advance_close(&mut self, context: &mut Context) -> io::Result<Outcome> {
        match self.state {
            State::AwaitingHeader if self.socket.is_readable() => self.receive_header(context),
            State::Draining => Ok(Outcome::Reschedule),
            State::Flushing if self.local_close.is_some() => {
                self.socket.shutdown_write()?;
                self.state = State::Lingering;
                // The drain timeout limits the lingering of a shutdown.
                Ok(if self.local_close == Some(LocalClose::Shutdown) {
                    Outcome::Reschedule
                } else {
                    Outcome::Linger
                })
            }
            State::Flushing | State::Closing => self.try_close(),
            State::Lingering if self.socket.is_readable() => self.discard(context),
            State::AwaitingHeader | State::Lingering | State::Open => Ok(Outcome::Wait),
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
        if info.has_unsent && self.state == State::Flushing {
            // Either the last lines wait for our FIN (`MSG_MORE`), and both leave in
            // one segment now; or the peer's window is full, and the ACK of the FIN
            // will be an event.
            self.socket.shutdown_write()?;
            info = self.socket.tcp_info();
        }
        if info.has_unsent {
            self.state = State::Closing;
            return Ok(if S::EDGE_TRIGGERED {
                Outcome::Wait
            } else {
                Outcome::Reschedule // No event will come.
            });
        }
        if self.state == State::Closing {
            // An event tells that something has changed, not what. Not to be asked
            // earlier: `SO_ERROR` is also a soft error while the kernel still sends.
            self.socket.check()?;
        }
        let closed = self.closed_with(CloseReason::Peer, info);
        Ok(Outcome::Close(Box::new(closed)))
    }
}
