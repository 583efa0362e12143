//! Why connections end. Each close has one reason, and each is counted.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::packets::Packets;

/// Why we end a connection that its peer has not finished.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// A line is longer than the limit.
    LineLimit,
    /// The peer has been silent for too long.
    IdleTimeout,
    /// The server is stopping.
    Shutdown,
}

/// Why a connection is closed.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The peer finished, and everything was echoed.
    Peer,
    /// We ended it.
    We(Cause),
    /// The peer has vanished, or takes nothing any more. With the soft error
    /// that the kernel reported in the place of `ETIMEDOUT`, if there was one.
    SendTimeout(Option<io::Error>),
    /// The stream failed otherwise.
    Error(io::Error),
}

/// How a connection came to its end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub reason: Reason,
    /// Its packets, where the kernel counts them.
    pub packets: Option<Packets>,
}

impl From<io::Error> for Reason {
    fn from(e: io::Error) -> Reason {
        // TCP_USER_TIMEOUT and keepalive both end with ETIMEDOUT (tcp(7)).
        if e.kind() == io::ErrorKind::TimedOut {
            Reason::SendTimeout(None)
        } else if is_soft(&e) {
            Reason::SendTimeout(Some(e))
        } else {
            Reason::Error(e)
        }
    }
}

/// Soft errors: what an ICMP message or a route lookup says while the kernel
/// goes on trying (RFC 1122, section 4.2.3.9).
///
/// A read or write of an accepted connection fails with a soft error only after
/// the retransmission or keepalive timer has given up: then Linux reports the
/// pending soft error in the place of `ETIMEDOUT` (`tcp_write_err` in
/// `net/ipv4/tcp_timer.c`). Until then the error is only noted (`tcp_v4_err` in
/// `net/ipv4/tcp_ipv4.c`, `tcp_v6_err` in `net/ipv6/tcp_ipv6.c`; they would
/// report it at once with `IP_RECVERR`, which is not set). `ECONNREFUSED` is
/// soft too, as a reset of an accepted connection is `ECONNRESET` or `EPIPE`
/// (`tcp_reset` in `net/ipv4/tcp_input.c`).
///
/// These are the errors of `icmp_err_convert` in `net/ipv4/icmp.c` and of
/// `icmpv6_err_convert` in `net/ipv6/icmp.c`, and `EINVAL` of a blackhole route.
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

fn is_soft(e: &io::Error) -> bool {
    Errno::from_io_error(e).is_some_and(|errno| SOFT_ERRORS.contains(&errno))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Peer => f.write_str("peer"),
            Reason::We(Cause::LineLimit) => f.write_str("line limit"),
            Reason::We(Cause::IdleTimeout) => f.write_str("idle timeout"),
            Reason::We(Cause::Shutdown) => f.write_str("shutdown"),
            Reason::SendTimeout(None) => f.write_str("send timeout"),
            Reason::SendTimeout(Some(soft_error)) => {
                let text = soft_error.to_string();
                let text = text.split(" (os error").next().unwrap_or(&text);
                write!(f, "send timeout ({text})")
            }
            Reason::Error(e) => write!(f, "error ({e})"),
        }
    }
}

/// How many connections were closed for which reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Closes {
    /// The peer finished, and everything was echoed.
    pub peer: u64,
    /// A line was longer than [`max_line`](crate::Config::max_line).
    pub line_limit: u64,
    /// The peer was silent for [`idle_timeout`](crate::Config::idle_timeout).
    pub idle_timeout: u64,
    /// The peer vanished, or took nothing for
    /// [`send_timeout`](crate::Config::send_timeout).
    pub send_timeout: u64,
    /// The server stopped.
    pub shutdown: u64,
    /// The stream failed otherwise; mostly the peer reset it.
    pub error: u64,
}

impl Closes {
    pub(crate) fn count(&mut self, reason: &Reason) {
        *match reason {
            Reason::Peer => &mut self.peer,
            Reason::We(Cause::LineLimit) => &mut self.line_limit,
            Reason::We(Cause::IdleTimeout) => &mut self.idle_timeout,
            Reason::We(Cause::Shutdown) => &mut self.shutdown,
            Reason::SendTimeout(_) => &mut self.send_timeout,
            Reason::Error(_) => &mut self.error,
        } += 1;
    }
}

/// The reasons that occurred, as the closing records name them.
impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.peer, "peer"),
            (self.line_limit, "line limit"),
            (self.idle_timeout, "idle timeout"),
            (self.send_timeout, "send timeout"),
            (self.shutdown, "shutdown"),
            (self.error, "error"),
        ];
        let mut comma = "";
        for (count, reason) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{comma}{count} by {reason}")?;
            comma = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(errno: i32) -> Reason {
        io::Error::from_raw_os_error(errno).into()
    }

    #[test]
    fn a_timeout_is_a_send_timeout() {
        assert_eq!(reason(libc::ETIMEDOUT).to_string(), "send timeout");
    }

    #[test]
    fn a_soft_error_is_a_send_timeout_and_named() {
        let unreachable = reason(libc::EHOSTUNREACH).to_string();
        assert_eq!(unreachable, "send timeout (No route to host)");
        let mut closes = Closes::default();
        for errno in [
            libc::EACCES,
            libc::ECONNREFUSED,
            libc::EHOSTDOWN,
            libc::EHOSTUNREACH,
            #[cfg(target_os = "linux")]
            libc::EINVAL,
            libc::ENETUNREACH,
            #[cfg(target_os = "linux")]
            libc::ENONET,
            libc::ENOPROTOOPT,
            libc::EOPNOTSUPP,
            libc::EPROTO,
        ] {
            let before = closes.send_timeout;
            closes.count(&reason(errno));
            assert_eq!(closes.send_timeout, before + 1, "errno {errno}");
        }
    }

    #[test]
    fn a_hard_error_is_an_error() {
        for errno in [
            libc::ECONNABORTED,
            libc::ECONNRESET,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::ENOTCONN,
            libc::EPIPE,
        ] {
            assert!(matches!(reason(errno), Reason::Error(_)), "errno {errno}");
        }
        let reset = reason(libc::ECONNRESET).to_string();
        assert!(reset.starts_with("error (Connection reset"), "{reset}");
    }
}
