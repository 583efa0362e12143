//! What is asked of a connected socket beyond `std`: how a send is to leave as
//! segments, and when an ACK is to leave by itself.
//!
//! All of it is Linux's; elsewhere the flags are 0 and nothing is set.

use std::ffi::c_int;
use std::io;

use mio::net::TcpStream;
use socket2::SockRef;

/// The bytes end a record: what is sent later does not share their segment
/// (`MSG_EOR`; `tcp_skb_can_collapse_to` in include/net/tcp.h).
#[cfg(target_os = "linux")]
pub(crate) const END_OF_RECORD: c_int = libc::MSG_EOR;
#[cfg(not(target_os = "linux"))]
pub(crate) const END_OF_RECORD: c_int = 0;

/// More follows at once: a segment that is not full waits for it (`MSG_MORE`,
/// send(2)). A FIN is enough to follow.
#[cfg(target_os = "linux")]
pub(crate) const MORE: c_int = libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
pub(crate) const MORE: c_int = 0;

/// Something that takes bytes to send.
pub(crate) trait Send {
    /// Sends as much of `bytes` as is taken at once; `flags` are those above.
    fn send(&self, bytes: &[u8], flags: c_int) -> io::Result<usize>;
}

impl Send for TcpStream {
    fn send(&self, bytes: &[u8], flags: c_int) -> io::Result<usize> {
        self.try_io(|| SockRef::from(self).send_with_flags(bytes, flags | libc::MSG_NOSIGNAL))
    }
}

/// Whether an ACK leaves at once (`true`) or waits for data to ride on, 40 ms
/// at most. Turned on, it lets an ACK that already waits leave too
/// (`__tcp_sock_set_quickack` in Linux, net/ipv4/tcp.c). Not inherited from
/// the listener.
///
/// Nothing depends on it but the number of packets and how soon they come, so
/// a failure is not worth a connection.
pub(crate) fn set_quick_ack(stream: &TcpStream, on: bool) {
    #[cfg(target_os = "linux")]
    if let Err(e) = SockRef::from(stream).set_tcp_quickack(on) {
        log::debug!("TCP_QUICKACK cannot be set: {e}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, on);
}
