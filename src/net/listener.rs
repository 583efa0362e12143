//! A listening socket: the options that accepted sockets inherit, and what the
//! errors of bind and accept mean.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::net::EDGE_TRIGGERED;

/// The listen backlog. The kernel lowers it to `net.core.somaxconn` (listen(2)),
/// which is 4096 by default since Linux 5.4.
pub(crate) const BACKLOG: u16 = 4096;

/// A bound listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Binds a non-blocking socket to `addr` and listens. Accepted sockets inherit
    /// the options set here (tcp(7), socket(7)), so a connection costs no
    /// `setsockopt`.
    pub fn bind(addr: SocketAddr, send_timeout: Option<Duration>) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?; // 0.0.0.0 and [::] are two listeners.
        }
        // A line does not wait for the ACK of the line before it.
        socket.set_tcp_nodelay(true)?;
        // Urgent bytes are data like any other (RFC 6093, section 5).
        socket.set_out_of_band_inline(true)?;
        // Finds a peer that has vanished while no output is pending.
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_mins(1))
                .with_interval(Duration::from_secs(10))
                .with_retries(6),
        )?;
        // Finds a peer that has vanished, or takes nothing, while output is
        // pending. It limits keepalive's waiting as well (tcp(7)).
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(send_timeout)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = send_timeout;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG.into())?;
        let socket = TcpListener::from_std(socket.into());
        let addr = socket.local_addr()?;
        Ok(Listener { socket, addr })
    }

    /// The address as bound, with the port that the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has `registry` report connections as `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Has the next connection reported although no accept would block.
    pub fn rearm(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if EDGE_TRIGGERED {
            return Ok(());
        }
        registry.reregister(&mut self.socket, token, Interest::READABLE)
    }

    /// Accepts a connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2), except `Interrupted`.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.socket.accept() {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                accepted => return accepted,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an error of accept(2) belongs to the connection that was to be accepted:
/// Linux passes pending network errors of the new socket on, and the next accept
/// may succeed.
pub(crate) fn is_connection_error(e: &io::Error) -> bool {
    const CONNECTION_ERRORS: &[i32] = &[
        libc::ECONNABORTED,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EPERM,
        libc::EPROTO,
        libc::ETIMEDOUT,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::ENONET,
    ];
    e.raw_os_error()
        .is_some_and(|errno| CONNECTION_ERRORS.contains(&errno))
}

/// Whether a bind failed because the machine lacks the address family or address:
/// a kernel without IPv6, or one with IPv6 switched off (no `::1` on loopback).
pub(crate) fn lacks_family(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_is_set_on_the_listener() {
        let timeout = Duration::from_secs(7);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(timeout)).unwrap();
        let _client = std::net::TcpStream::connect(listener.addr).unwrap();
        // The handshake is complete, so the connection is in the backlog.
        let (stream, _) = listener.accept().unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(timeout));
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_mins(1));
            assert_eq!(
                socket.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(10)
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
        }
    }

    #[test]
    fn connection_errors_are_told_from_a_lack_of_resources() {
        let of = |errno| is_connection_error(&io::Error::from_raw_os_error(errno));
        assert!(of(libc::ECONNABORTED) && of(libc::EPROTO) && of(libc::ENETDOWN));
        assert!(!of(libc::EMFILE) && !of(libc::ENFILE) && !of(libc::ENOBUFS) && !of(libc::ENOMEM));
    }
}
