//! The options of streams, and what the kernel does for a stream that has them.

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

/// Time between two keepalive probes that are not answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Keepalive probes without an answer after which the kernel gives up, unless
/// `TCP_USER_TIMEOUT` says when.
const KEEPALIVE_PROBES: u32 = 6;

/// The options that all streams have. Accepted sockets inherit them from the listener
/// when their handshake completes (tcp(7), socket(7)), so a connection costs no
/// `setsockopt`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamOptions {
    /// How long a peer may acknowledge and take nothing; `None`: as long as the kernel
    /// tries.
    pub send_timeout: Option<Duration>,
    /// The idle time before the first keepalive probe, in whole seconds; `None`: no
    /// probes.
    pub keepalive: Option<Duration>,
}

/// What the kernel does for a stream. One byte, as each connection has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// It counts segments (`TCP_INFO`) and keeps the send timeout (`TCP_USER_TIMEOUT`), as
    /// Linux does for TCP.
    Full,
    /// It counts segments.
    CountsOnly,
    /// Neither. With MPTCP, `TCP_INFO` is about the first subflow
    /// (`mptcp_getsockopt_first_sf_only` in net/mptcp/sockopt.c).
    Neither,
}

impl Support {
    fn new(socket: &Socket, keeps_send_timeout: bool) -> Support {
        match keeps_send_timeout {
            _ if is_mptcp(socket) => Support::Neither,
            true => Support::Full,
            false => Support::CountsOnly,
        }
    }

    /// That for a stream without a send timeout.
    #[cfg(feature = "client")]
    pub fn of(socket: &Socket) -> Support {
        Support::new(socket, false)
    }

    pub fn has_tcp_info(self) -> bool {
        self != Support::Neither
    }

    pub fn keeps_send_timeout(self) -> bool {
        self == Support::Full
    }
}

impl StreamOptions {
    /// Sets the options on a listener, or on a stream that has not inherited them, as far
    /// as the kernel takes them. `report` gets the others. MPTCP refuses `SO_OOBINLINE`
    /// and `TCP_USER_TIMEOUT`.
    pub fn set(self, socket: &Socket, report: impl Fn(&str, &io::Error)) -> Support {
        let is_set = |name, result: io::Result<()>| match result {
            Ok(()) => true,
            Err(e) => {
                report(name, &e);
                false
            }
        };
        // A line does not wait for the ACK of the line before it.
        is_set("TCP_NODELAY", socket.set_tcp_nodelay(true));
        // Urgent bytes are data like any other (RFC 6093, section 5).
        is_set("SO_OOBINLINE", socket.set_out_of_band_inline(true));
        // Finds a peer that has vanished while no output is pending.
        is_set("keepalive", set_keepalive(socket, self.keepalive));
        // Finds a peer that has vanished, or takes nothing, while output is
        // pending. It limits keepalive's waiting as well (tcp(7)).
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let keeps_send_timeout = is_set(
            "TCP_USER_TIMEOUT, so a timer of the server keeps the send timeout",
            socket.set_tcp_user_timeout(self.send_timeout),
        );
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let keeps_send_timeout = false;
        Support::new(socket, keeps_send_timeout)
    }
}

fn set_keepalive(socket: &Socket, idle: Option<Duration>) -> io::Result<()> {
    let Some(idle) = idle else {
        return socket.set_keepalive(false);
    };
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(idle)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )
}

/// Whether `socket` is MPTCP's (RFC 8684), as those of a program under `mptcpize` are. A
/// listener of MPTCP accepts TCP connections as well, and theirs are TCP sockets.
pub(crate) fn is_mptcp(socket: &Socket) -> bool {
    #[cfg(target_os = "linux")]
    return matches!(socket.protocol(), Ok(Some(socket2::Protocol::MPTCP)));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}
