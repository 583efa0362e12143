//! Bound sockets: setting up, accepting, and what an accept error means.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ListenAddr;

/// Connections that the kernel keeps waiting for us, at most; it lowers the
/// figure to `net.core.somaxconn` (listen(2)), 4096 by default since Linux 5.4.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    /// Connections may be waiting: an event said so, and no accept has said
    /// otherwise. An accept that fails for want of resources does not change
    /// it, though it used up the edge.
    pub ready: bool,
}

/// What an accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A connection.
    Peer(TcpStream, SocketAddr),
    /// Nobody waits; an event will tell when somebody does.
    Nobody,
    /// One waiting connection was lost on its way; the next may be well.
    Lost(io::Error),
    /// The system lacks what a connection needs; those that wait can wait.
    Exhausted(io::Error),
}

/// Binds all that `addrs` stand for.
///
/// An address family that the machine does not have is skipped where the same
/// host has another.
///
/// # Errors
///
/// When a name does not resolve or an address cannot be bound; the text says
/// which and why.
pub(crate) fn bind_all(addrs: &[ListenAddr]) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for addr in addrs {
        let sockets = addr
            .resolve()
            .map_err(|e| explain(&e, format_args!("cannot resolve {addr}")))?;
        listeners.append(&mut bind_host(&sockets)?);
    }
    Ok(listeners)
}

fn bind_host(sockets: &[SocketAddr]) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut skipped = None;
    for &addr in sockets {
        match Listener::bind(addr) {
            Ok(listener) => listeners.push(listener),
            Err(e) => {
                let error = explain(&e, format_args!("cannot listen on {addr}"));
                if !lacks_family(&e) {
                    return Err(error);
                }
                log::debug!("{error}");
                skipped = Some(error);
            }
        }
    }
    match skipped {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

/// The same kind of error, with what could not be done before its cause.
fn explain(cause: &io::Error, what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(cause.kind(), format!("{what}: {cause}"))
}

/// Whether a bind failed because the machine has no such family or address:
/// a kernel without IPv6, or IPv6 switched off (no `::1` on loopback).
fn lacks_family(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

impl Listener {
    /// A non-blocking socket that listens on `addr`. What accepted sockets
    /// inherit from it (Linux, tcp(7) and socket(7)) is set once, here.
    fn bind(addr: SocketAddr) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?; // 0.0.0.0 and [::] are two listeners.
        }
        // Inherited: a line never waits for the ACK of the one before.
        socket.set_tcp_nodelay(true)?;
        // Inherited: an urgent byte is data like any other (RFC 6093, 5), so
        // that it is echoed too.
        socket.set_out_of_band_inline(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let addr = socket.local_addr()?;
        Ok(Listener {
            socket,
            addr,
            ready: false,
        })
    }

    /// The address as bound: port 0 has become a real one.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has `registry` report `token` when a connection comes in.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token, Interest::READABLE)
    }

    /// Takes one waiting connection.
    pub fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, peer)) => return Accepted::Peer(stream, peer),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Accepted::Nobody;
                }
                Err(e) if is_lost(&e) => return Accepted::Lost(e),
                Err(e) => return Accepted::Exhausted(e),
            }
        }
    }
}

/// Errors of the one connection that was to be accepted: accept(2) passes
/// pending network errors of the new socket on, to be treated like a retry.
const LOST: &[i32] = &[
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

fn is_lost(e: &io::Error) -> bool {
    e.raw_os_error().is_some_and(|errno| LOST.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_told_from_a_lack_of_resources() {
        let of = |errno| is_lost(&io::Error::from_raw_os_error(errno));
        assert!(of(libc::ECONNABORTED) && of(libc::EPROTO) && of(libc::ENETDOWN));
        assert!(!of(libc::EMFILE) && !of(libc::ENFILE) && !of(libc::ENOBUFS) && !of(libc::ENOMEM));
    }
}
