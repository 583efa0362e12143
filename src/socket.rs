//! What a connection asks of its socket: beyond `std`, how a send is to leave
//! as segments, and when an ACK is to leave by itself.
//!
//! These two are Linux's; elsewhere the flags are 0 and nothing is set.

use std::io;
use std::net::Shutdown;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use crate::packets::Snapshot;

/// The bytes end a record: what is sent later does not share their segment
/// (`MSG_EOR`; `tcp_skb_can_collapse_to` in include/net/tcp.h).
#[cfg(target_os = "linux")]
pub(crate) const END_OF_RECORD: SendFlags = SendFlags::EOR;
#[cfg(not(target_os = "linux"))]
pub(crate) const END_OF_RECORD: SendFlags = SendFlags::empty();

/// More follows at once: a segment that is not full waits for it (`MSG_MORE`,
/// send(2)). A FIN is enough to follow.
#[cfg(target_os = "linux")]
pub(crate) const MORE: SendFlags = SendFlags::MORE;
#[cfg(not(target_os = "linux"))]
pub(crate) const MORE: SendFlags = SendFlags::empty();

/// A peer that is gone is an error, and no signal (`SIGPIPE`; where it can be
/// had for a socket only, mio sets that).
#[cfg(not(target_vendor = "apple"))]
const QUIETLY: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const QUIETLY: SendFlags = SendFlags::empty();

/// What a connection needs of its socket; all of it returns at once.
pub(crate) trait Socket {
    /// Receives into `buffer`; 0 bytes mean that the peer has finished.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends as much of `bytes` as is taken; `flags` are those above.
    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize>;

    /// Sends a FIN after all that has been sent.
    fn finish(&self) -> io::Result<()>;

    /// The error that a failure left behind, once (`SO_ERROR`).
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// Says whether an ACK leaves at once or waits for data to ride on, 40 ms
    /// at most. Turned on, it lets an ACK that already waits leave too
    /// (`__tcp_sock_set_quickack` in Linux, net/ipv4/tcp.c). Not inherited
    /// from the listener.
    ///
    /// Nothing depends on it but the number of packets and how soon they come,
    /// so a failure is not worth a connection.
    fn set_quick_ack(&self, on: bool);

    /// What the kernel says of the connection now.
    fn snapshot(&self) -> Snapshot;
}

/// Data goes in and out with the bare system calls: 18 of 268 instructions per
/// ping-pong line less than by way of the C library (callgrind).
impl Socket for TcpStream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self, buffer, RecvFlags::empty())?.0)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        Ok(send(self, bytes, flags | QUIETLY)?)
    }

    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        TcpStream::take_error(self)
    }

    fn set_quick_ack(&self, on: bool) {
        #[cfg(target_os = "linux")]
        if let Err(e) = SockRef::from(self).set_tcp_quickack(on) {
            log::debug!("TCP_QUICKACK cannot be set: {e}");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = on;
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(self)
    }
}
