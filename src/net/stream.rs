//! The system calls that a connection makes on its stream, and the flags that
//! decide how a send becomes segments.
//!
//! The flags and `TCP_QUICKACK` are Linux's. On other systems the flags are 0 and
//! nothing is set.

use std::io;
use std::net::Shutdown;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use crate::net::tcp_info::TcpInfo;
use crate::record;
use crate::records;

/// `MSG_EOR`: the bytes end a record, and later bytes do not share their segment
/// (`tcp_skb_can_collapse_to` in include/net/tcp.h).
#[cfg(target_os = "linux")]
pub(crate) const EOR: SendFlags = SendFlags::EOR;
#[cfg(not(target_os = "linux"))]
pub(crate) const EOR: SendFlags = SendFlags::empty();

/// `MSG_MORE`: a segment that is not full waits for more bytes or a FIN (send(2)).
#[cfg(target_os = "linux")]
pub(crate) const MORE: SendFlags = SendFlags::MORE;
#[cfg(not(target_os = "linux"))]
pub(crate) const MORE: SendFlags = SendFlags::empty();

/// `MSG_NOSIGNAL`: a broken connection is an error instead of a SIGPIPE. mio sets
/// the socket option where there is no such flag.
#[cfg(not(target_vendor = "apple"))]
const NOSIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NOSIGNAL: SendFlags = SendFlags::empty();

/// A non-blocking TCP stream: every call returns at once.
pub(crate) trait Stream {
    /// Receives into `buffer` and returns the length; 0 is the peer's FIN.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// As [`recv`](Stream::recv), and leaves the bytes to the next call.
    fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends `bytes` and returns how many the kernel took. `flags` are [`EOR`] and
    /// [`MORE`].
    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize>;

    /// Sends a FIN after everything sent before.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// `TCP_QUICKACK`: whether an ACK leaves at once, or waits up to 40 ms for data
    /// to ride on. Setting it to true also sends an ACK that already waits
    /// (`__tcp_sock_set_quickack` in net/ipv4/tcp.c).
    ///
    /// Failure changes only the number and timing of packets, so it is logged at
    /// debug level and ignored.
    fn set_quick_ack(&self, on: bool);

    /// `TCP_CORK`: while it is on, a segment that is not full waits for more bytes or a FIN,
    /// for 200 ms at most (tcp(7)). `MSG_MORE` would last until the next ACK only.
    ///
    /// # Errors
    ///
    /// If the option cannot be set, which changes nothing.
    fn set_cork(&self, on: bool) -> io::Result<()>;

    /// The kernel's view of the connection.
    fn tcp_info(&self) -> TcpInfo;
}

/// Data is received and sent by bare system calls: the C library's functions cost
/// 18 instructions more per ping-pong line (callgrind).
impl Stream for TcpStream {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&*self, buffer, RecvFlags::empty())?.0)
    }

    fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&*self, buffer, RecvFlags::PEEK)?.0)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        Ok(send(self, bytes, flags | NOSIGNAL)?)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        TcpStream::take_error(self)
    }

    fn set_quick_ack(&self, on: bool) {
        #[cfg(target_os = "linux")]
        if let Err(e) = SockRef::from(self).set_tcp_quickack(on) {
            record!(records::QuickAck { error: &e });
        }
        #[cfg(not(target_os = "linux"))]
        let _ = on;
    }

    fn set_cork(&self, on: bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return SockRef::from(self).set_tcp_cork(on);
        #[cfg(not(target_os = "linux"))]
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn tcp_info(&self) -> TcpInfo {
        TcpInfo::of(self)
    }
}
