//! A stream with its edge-triggered state: readiness, and when ACKs leave.

use std::io::{self, ErrorKind};

use mio::event::Event;
use mio::net::TcpStream;
use rustix::net::SendFlags;

use crate::net::options::Support;
use crate::net::stream::Stream;
use crate::net::tcp_info::TcpInfo;
use crate::record;
use crate::records;

/// A stream, and what events have said about it.
#[derive(Debug)]
pub(crate) struct Socket<S = TcpStream> {
    stream: S,
    /// A read may find data, a FIN or an error. Stays set until a read clears it,
    /// as an edge is reported once.
    readable: bool,
    /// A short read does not prove that the socket is drained.
    read_until_would_block: bool,
    waiting: Waiting,
    support: Support,
}

/// What waits for data that is about to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// ACKs, for up to 40 ms. At first, as `TCP_QUICKACK` of the listener is off.
    Acks,
    /// Nothing: ACKs leave at once (`TCP_QUICKACK`).
    Nothing,
    /// ACKs, and a segment that is not full (`TCP_CORK`).
    AcksAndSegment,
}

/// What an event says about reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    pub readable: bool,
    /// The peer's FIN has arrived, or urgent data is pending.
    pub read_until_would_block: bool,
}

/// Why a read ended. Bytes may have come before it.
#[derive(Debug)]
pub(crate) enum ReadOutcome {
    /// The socket is drained; an event will report new input.
    WouldBlock,
    /// The buffer is full, and more input may wait.
    BufferFull,
    /// A zero-length read: the peer has sent its FIN.
    Eof,
    /// The socket has failed.
    Failed(io::Error),
}

impl<S: Stream> Socket<S> {
    /// A stream for which the kernel does all that Linux does for TCP.
    pub fn new(stream: S) -> Socket<S> {
        Socket {
            stream,
            readable: false,
            read_until_would_block: false,
            waiting: Waiting::Acks,
            support: Support::Full,
        }
    }

    /// Notes that the kernel does only this for the stream.
    pub fn set_support(&mut self, support: Support) {
        self.support = support;
    }

    /// Records an event's readiness.
    ///
    /// A read that returns less than the buffer holds has drained the socket
    /// (epoll(7), question 9), with two exceptions, which stay recorded until a read
    /// would block:
    /// - The event reported the peer's FIN as well. No further event reports it, so
    ///   only a zero-length read finds it; without that read the socket stays in
    ///   `CLOSE_WAIT`.
    /// - Urgent data is pending. A read stops at the urgent mark
    ///   (`tcp_recvmsg_locked` in net/ipv4/tcp.c).
    pub fn update_readiness(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.read_until_would_block |= readiness.read_until_would_block;
    }

    /// Lets reads go on until the socket itself says that it is drained.
    pub fn expect_input(&mut self) {
        self.readable = true;
        self.read_until_would_block = true;
    }

    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Reads until the socket is drained, the buffer is full or the input ends.
    /// Returns the bytes read. `buffer` must not be empty.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> (usize, ReadOutcome) {
        let (mut len, mut outcome) = self.read_once(buffer);
        if self.read_until_would_block {
            (len, outcome) = self.read_to_would_block(buffer, len, outcome);
        }
        self.readable = matches!(outcome, ReadOutcome::BufferFull);
        (len, outcome)
    }

    /// Reads on after a short read, until the socket says that it is drained. From then
    /// on short reads prove it again.
    #[cold]
    fn read_to_would_block(
        &mut self,
        buffer: &mut [u8],
        mut len: usize,
        mut outcome: ReadOutcome,
    ) -> (usize, ReadOutcome) {
        let mut last = len;
        while last > 0 && matches!(outcome, ReadOutcome::WouldBlock) {
            (last, outcome) = self.read_once(&mut buffer[len..]);
            len += last;
        }
        let drained = matches!(outcome, ReadOutcome::WouldBlock);
        self.read_until_would_block = !drained;
        (len, outcome)
    }

    /// Makes one read. A short one counts as `WouldBlock`.
    #[inline]
    fn read_once(&mut self, buffer: &mut [u8]) -> (usize, ReadOutcome) {
        loop {
            return match self.stream.recv(buffer) {
                Ok(0) => (0, ReadOutcome::Eof),
                Ok(len) if len == buffer.len() => (len, ReadOutcome::BufferFull),
                Ok(len) => (len, ReadOutcome::WouldBlock),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => (0, ReadOutcome::WouldBlock),
                Err(e) => (0, ReadOutcome::Failed(e)),
            };
        }
    }

    /// Peeks at the input that has arrived: `BufferFull` if there is some, as a read is
    /// to follow. `buffer` must not be empty.
    pub fn peek(&mut self, buffer: &mut [u8]) -> (usize, ReadOutcome) {
        loop {
            return match self.stream.peek(buffer) {
                Ok(0) => (0, ReadOutcome::Eof),
                Ok(len) => (len, ReadOutcome::BufferFull),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    (0, ReadOutcome::WouldBlock)
                }
                Err(e) => (0, ReadOutcome::Failed(e)),
            };
        }
    }

    /// Sends `bytes`, on which a pending ACK rides. Returns how many the kernel
    /// took.
    #[inline]
    pub fn send(&mut self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        let sent = self.stream.send(bytes, flags)?;
        if self.waiting == Waiting::Nothing {
            self.waiting = Waiting::Acks;
            self.stream.set_quick_ack(false);
        }
        Ok(sent)
    }

    /// Acknowledges what has been read, and what comes until the next send, at
    /// once: no data is about to leave that an ACK could ride on.
    pub fn ack_at_once(&mut self) {
        if self.waiting == Waiting::Acks {
            self.waiting = Waiting::Nothing;
            self.stream.set_quick_ack(true);
        }
    }

    /// Holds a segment that is not full, as more is about to be sent.
    pub fn cork(&mut self) {
        if self.waiting == Waiting::Nothing {
            self.stream.set_quick_ack(false);
            self.waiting = Waiting::Acks;
        }
        if self.waiting == Waiting::Acks && self.stream.set_cork(true).is_ok() {
            self.waiting = Waiting::AcksAndSegment;
        }
    }

    /// Sends a segment that has waited for more.
    pub fn uncork(&mut self) {
        if self.waiting != Waiting::AcksAndSegment {
            return;
        }
        self.waiting = Waiting::Acks;
        if let Err(e) = self.stream.set_cork(false) {
            record!(records::Cork { error: &e });
        }
    }

    /// Sends a FIN after everything sent before.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown_write()
    }

    /// # Errors
    ///
    /// The pending error, if there is one.
    pub fn check(&self) -> io::Result<()> {
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    /// What the kernel knows of the stream; nothing where it is about another.
    pub fn tcp_info(&self) -> TcpInfo {
        if self.support.has_tcp_info() {
            self.stream.tcp_info()
        } else {
            TcpInfo::default()
        }
    }

    /// Whether the kernel keeps the send timeout.
    pub fn keeps_send_timeout(&self) -> bool {
        self.support.keeps_send_timeout()
    }

    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        let read_closed = event.is_read_closed();
        Readiness {
            readable: event.is_readable() || read_closed || event.is_error(),
            read_until_would_block: read_closed || is_priority(event),
        }
    }
}

/// Whether urgent data is pending. kqueue does not report it.
fn is_priority(event: &Event) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return event.is_priority();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return false;
}
