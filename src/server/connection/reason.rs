//! Why connections are closed: the cause with its details, which counts as one reason.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::server::connection::proxy_header::HeaderError;
use crate::stats::{CloseReason, SegmentCounts};

/// Why the server ends a connection that its peer has not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalClose {
    /// A line is longer than the limit.
    LineLimit,
    /// The peer was idle for too long.
    IdleTimeout,
    /// The server is stopping.
    Shutdown,
    /// The connection did not begin with a PROXY header.
    ProxyHeader(HeaderError),
}

/// Why a connection is closed.
#[derive(Debug)]
pub(crate) enum CloseCause {
    /// The peer finished, and everything was echoed.
    Peer,
    /// The server ended it.
    Local(LocalClose),
    /// The peer has vanished, or takes nothing. The error is the soft error that the
    /// kernel reported in place of `ETIMEDOUT`, if there was one.
    SendTimeout(Option<io::Error>),
    /// Any other error of the socket.
    Error(io::Error),
}

/// A connection that is over.
#[derive(Debug)]
pub(crate) struct Closed {
    pub cause: CloseCause,
    /// `None` where the kernel does not count them.
    pub segments: Option<SegmentCounts>,
}

impl From<io::Error> for CloseCause {
    fn from(e: io::Error) -> CloseCause {
        // TCP_USER_TIMEOUT and keepalive end alike (tcp(7)).
        if e.kind() == io::ErrorKind::TimedOut {
            CloseCause::SendTimeout(None)
        } else if is_soft(&e) {
            CloseCause::SendTimeout(Some(e))
        } else {
            CloseCause::Error(e)
        }
    }
}

/// Whether an error of a read or write is a soft error: the report of an ICMP
/// message or a route lookup while the kernel goes on trying (RFC 1122, section
/// 4.2.3.9).
///
/// An accepted connection fails with a soft error only after the retransmission or
/// keepalive timer has given up: Linux then reports a pending soft error in place of
/// `ETIMEDOUT` (`tcp_write_err` in `net/ipv4/tcp_timer.c`). Before that the error is
/// only stored, as `IP_RECVERR` is not set (`tcp_v4_err` in `net/ipv4/tcp_ipv4.c`).
/// `ECONNREFUSED` is soft, as a reset is `ECONNRESET` or `EPIPE` here (`tcp_reset` in
/// `net/ipv4/tcp_input.c`).
fn is_soft(e: &io::Error) -> bool {
    // Those of `icmp_err_convert` (net/ipv4/icmp.c) and `icmpv6_err_convert`
    // (net/ipv6/icmp.c), and `EINVAL` of a blackhole route.
    const SOFT_ERRORS: &[Errno] = &[
        Errno::ACCESS,
        Errno::CONNREFUSED,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        #[cfg(target_os = "linux")]
        Errno::INVAL,
        Errno::NETUNREACH,
        #[cfg(target_os = "linux")]
        Errno::NONET,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PROTO,
    ];
    Errno::from_io_error(e).is_some_and(|errno| SOFT_ERRORS.contains(&errno))
}

impl CloseCause {
    /// What the close counts as.
    pub fn reason(&self) -> CloseReason {
        match self {
            CloseCause::Peer => CloseReason::Peer,
            CloseCause::Local(LocalClose::LineLimit) => CloseReason::LineLimit,
            CloseCause::Local(LocalClose::IdleTimeout) => CloseReason::IdleTimeout,
            CloseCause::Local(LocalClose::Shutdown) => CloseReason::Shutdown,
            CloseCause::Local(LocalClose::ProxyHeader(_)) => CloseReason::ProxyHeader,
            CloseCause::SendTimeout(_) => CloseReason::SendTimeout,
            CloseCause::Error(_) => CloseReason::Error,
        }
    }
}

/// The reason, and in parentheses what else is known.
impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match self {
            CloseCause::Local(LocalClose::ProxyHeader(e)) => write!(f, "{reason} ({e})"),
            CloseCause::SendTimeout(Some(e)) | CloseCause::Error(e) => {
                write!(f, "{reason} ({})", Words(e))
            }
            CloseCause::Peer | CloseCause::Local(_) | CloseCause::SendTimeout(None) => {
                reason.fmt(f)
            }
        }
    }
}

/// An error without its number.
struct Words<'a>(&'a io::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(errno: Errno) -> String {
        CloseCause::from(io::Error::from(errno)).to_string()
    }

    #[test]
    fn a_timer_that_gives_up_is_a_send_timeout_with_its_soft_error() {
        assert_eq!(shown(Errno::TIMEDOUT), "send timeout");
        let unreachable = "send timeout (No route to host)";
        assert_eq!(shown(Errno::HOSTUNREACH), unreachable);
        let refused = "send timeout (Connection refused)";
        assert_eq!(shown(Errno::CONNREFUSED), refused);
        assert_eq!(shown(Errno::ACCESS), "send timeout (Permission denied)");
    }

    #[test]
    fn a_reset_and_a_lack_of_resources_are_errors() {
        assert_eq!(shown(Errno::CONNRESET), "error (Connection reset by peer)");
        for errno in [Errno::PIPE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(shown(errno).starts_with("error ("), "{errno}");
        }
    }
}
