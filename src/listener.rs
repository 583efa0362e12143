//! Bound sockets: setting up, accepting, and what an accept error means.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::ListenAddr;

/// Connections that the kernel keeps waiting for us, at most; it lowers the
/// figure to `net.core.somaxconn` (listen(2)), 4096 by default since Linux 5.4.
pub(crate) const BACKLOG: u16 = 4096;

/// All listening sockets: who waits on which, and whether anyone may come in.
#[derive(Debug)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    /// Indices of the listeners that may have connections waiting, each once.
    /// The front is next: all of them take turns, and the others cost nothing.
    ready: VecDeque<usize>,
    /// Accepting has paused.
    paused: bool,
    /// The system has lacked resources since everybody who waited was in.
    is_short: bool,
    /// Connections lost since one was accepted.
    lost: usize,
}

/// When so many connections in a row were lost, it is not the connections.
const MAX_LOST: usize = 1000;

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// The address as bound: port 0 has become a real one.
    addr: SocketAddr,
    /// Connections may be waiting: an event said so, and no accept has said
    /// otherwise. An accept that fails for want of resources does not change
    /// it, though it used up the edge. True for those in the queue only.
    ready: bool,
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
    /// The system lacks what a connection needs. Accepting has paused: those
    /// who connect wait in the backlog.
    Exhausted,
}

impl Listeners {
    /// Binds all that `addrs` stand for.
    ///
    /// An address family that the machine does not have is skipped where the
    /// same host has another.
    ///
    /// # Errors
    ///
    /// When a name does not resolve or an address cannot be bound; the text
    /// says which and why.
    pub fn bind(addrs: &[ListenAddr], send_timeout: Option<Duration>) -> io::Result<Listeners> {
        let mut all = Vec::new();
        for addr in addrs {
            let sockets = addr
                .resolve()
                .map_err(|e| explain(&e, format_args!("cannot resolve {addr}")))?;
            all.append(&mut bind_host(&sockets, send_timeout)?);
        }
        Ok(Listeners {
            all,
            ready: VecDeque::new(),
            paused: false,
            is_short: false,
            lost: 0,
        })
    }

    /// Has `registry` report `token(i)` when someone connects to listener `i`.
    pub fn register(
        &mut self,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
    ) -> io::Result<()> {
        for (i, listener) in self.all.iter_mut().enumerate() {
            registry.register(&mut listener.socket, token(i), Interest::READABLE)?;
        }
        Ok(())
    }

    /// The addresses as bound.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|listener| listener.addr)
    }

    /// Takes note of an event for listener `i`, if there is one.
    pub fn notice(&mut self, i: usize) {
        if let Some(listener) = self.all.get_mut(i)
            && !std::mem::replace(&mut listener.ready, true)
        {
            self.ready.push_back(i);
        }
    }

    /// Has all listeners tried, whatever has or has not happened.
    pub fn knock(&mut self) {
        self.paused = false;
        for i in 0..self.all.len() {
            self.notice(i);
        }
    }

    /// Whether someone may be waiting and may come in.
    pub fn may_accept(&self) -> bool {
        !self.ready.is_empty() && !self.paused
    }

    /// Accepting goes on; it may turn out that it cannot yet.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Closes all listeners. Those who wait in a backlog are reset (tcp(7)).
    pub fn close(&mut self) {
        self.all.clear();
        self.ready.clear();
    }

    /// Takes one waiting connection, from each listener in turn.
    pub fn accept(&mut self) -> Accepted {
        while let Some(i) = self.ready.pop_front() {
            let listener = &mut self.all[i];
            let accepted = listener.accept();
            if matches!(&accepted, Err(e) if e.kind() == ErrorKind::WouldBlock) {
                listener.ready = false;
                continue;
            }
            self.ready.push_back(i);
            return match accepted {
                Ok((stream, peer)) => {
                    self.lost = 0;
                    Accepted::Peer(stream, peer)
                }
                Err(e) if is_lost(&e) && self.lost < MAX_LOST => {
                    self.lost += 1;
                    Accepted::Lost(e)
                }
                Err(e) => {
                    self.pause(&e);
                    Accepted::Exhausted
                }
            };
        }
        if self.is_short {
            self.is_short = false;
            log::info!("accepting goes on");
        }
        Accepted::Nobody
    }

    /// Pauses accepting if connections wait. Otherwise an event will report the
    /// next connection.
    pub fn pause_if_awaited(&mut self, cause: &dyn fmt::Display) {
        let sockets = self.ready.iter().map(|&i| &self.all[i].socket);
        let mut fds: Vec<PollFd<'_>> = sockets.map(|s| PollFd::new(s, PollFlags::IN)).collect();
        let waiting = poll(&mut fds, Some(&Timespec::default()));
        if waiting.is_ok_and(|waiting| waiting == 0) {
            for i in self.ready.drain(..) {
                self.all[i].ready = false;
            }
        } else if !self.paused {
            self.pause(cause);
        }
    }

    /// Pauses accepting. Warns once, however often, until all who wait are in.
    fn pause(&mut self, cause: &dyn fmt::Display) {
        self.paused = true;
        if !self.is_short {
            self.is_short = true;
            log::warn!("accepting pauses: {cause}");
        }
    }
}

/// Binds one host's addresses.
fn bind_host(sockets: &[SocketAddr], send_timeout: Option<Duration>) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut skipped = None;
    for &addr in sockets {
        match Listener::bind(addr, send_timeout) {
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
pub(crate) fn explain(cause: &io::Error, what: std::fmt::Arguments<'_>) -> io::Error {
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
    fn bind(addr: SocketAddr, send_timeout: Option<Duration>) -> io::Result<Listener> {
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
        // Inherited: a peer that vanished while nothing was owed to it...
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(60))
                .with_interval(Duration::from_secs(10))
                .with_retries(6),
        )?;
        // ... and one that vanished, or takes nothing, while something was. It
        // ends keepalive's waiting as well (tcp(7)).
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(send_timeout)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = send_timeout;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG.into())?;
        let socket = TcpListener::from_std(socket.into());
        let addr = socket.local_addr()?;
        Ok(Listener {
            socket,
            addr,
            ready: false,
        })
    }

    fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.socket.accept() {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                accepted => return accepted,
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
    fn accepted_sockets_inherit_what_is_set_on_the_listener() {
        let timeout = Duration::from_secs(7);
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(timeout)).unwrap();
        let _client = std::net::TcpStream::connect(listener.addr).unwrap();
        // The handshake is over, so the connection waits to be accepted.
        let (stream, _) = listener.accept().unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = socket2::SockRef::from(&stream);
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(timeout));
            assert_eq!(
                socket.tcp_keepalive_time().unwrap(),
                Duration::from_secs(60)
            );
            assert_eq!(
                socket.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(10)
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
        }
    }

    #[test]
    fn a_lost_connection_is_told_from_a_lack_of_resources() {
        let of = |errno| is_lost(&io::Error::from_raw_os_error(errno));
        assert!(of(libc::ECONNABORTED) && of(libc::EPROTO) && of(libc::ENETDOWN));
        assert!(!of(libc::EMFILE) && !of(libc::ENFILE) && !of(libc::ENOBUFS) && !of(libc::ENOMEM));
    }
}
