//! All listeners of a server: which are ready, which is next, and the pause when
//! no connection can be accepted.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::Registry;
use mio::net::TcpStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::address::HostPort;
use crate::error::with_context;
use crate::net::bind::bind_all;
use crate::net::listener::{Listener, is_connection_error};
use crate::net::options::{StreamOptions, Support};
use crate::record;
use crate::records;
use crate::server::log_limit::LogLimit;
use crate::server::token::EventSource;

/// So many connection errors in a row are taken for a lack of resources.
const MAX_CONSECUTIVE_ERRORS: usize = 1000;

/// The listeners of a server.
#[derive(Debug)]
pub(crate) struct Listeners {
    all: Vec<Listener>,
    /// The server holds copies of sockets that outlive it.
    inherited: bool,
    /// The listeners that may have connections in their backlog, each once, the next
    /// one first. They take turns, and the others cost nothing.
    ///
    /// An event puts a listener in, and an empty backlog takes it out. An accept that
    /// fails for lack of resources does not, although the edge is spent.
    ready: VecDeque<usize>,
    /// By index: whether the listener is in `ready`.
    is_ready: Vec<bool>,
    paused: bool,
    /// Pauses so far.
    pauses: u64,
    /// A pause has been logged since the backlogs were last empty.
    exhausted: bool,
    /// For the warnings of pauses.
    log_limit: LogLimit,
    /// Connection errors since the last connection.
    consecutive_errors: usize,
}

/// The result of an accept.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(TcpStream, SocketAddr, Support),
    /// The backlogs are empty; an event will report the next connection.
    WouldBlock,
    /// A connection was aborted before its accept; the next may be fine.
    ConnectionError(io::Error),
    /// Resources have run out. Accepting is paused, and connections wait in the
    /// backlog.
    Exhausted,
}

impl Listeners {
    /// Binds all addresses that `addrs` stand for.
    ///
    /// An address family that the machine lacks is skipped if the same host has
    /// another.
    ///
    /// # Errors
    ///
    /// If a name does not resolve or an address cannot be bound; the text says
    /// which and why. If `addrs` is empty.
    pub fn bind(
        addrs: &[HostPort],
        reuse_port: bool,
        options: StreamOptions,
    ) -> io::Result<Listeners> {
        let mut all = Vec::new();
        for addr in addrs {
            let sockets = addr
                .resolve()
                .map_err(|e| with_context(&e, format_args!("cannot resolve {addr}")))?;
            let bind = |addr| Listener::bind(addr, reuse_port, options);
            all.append(&mut bind_all(&sockets, "listen on", bind)?);
        }
        Listeners::new(all, false)
    }

    /// Takes sockets that listen already.
    ///
    /// # Errors
    ///
    /// If one of `sockets` is not a TCP socket that listens; the text has its file
    /// descriptor. If `sockets` is empty.
    pub fn inherit(sockets: Vec<TcpListener>, options: StreamOptions) -> io::Result<Listeners> {
        let inherit = |socket: TcpListener| {
            let fd = socket.as_raw_fd();
            Listener::inherit(socket, options).map_err(|e| {
                with_context(&e, format_args!("cannot listen on file descriptor {fd}"))
            })
        };
        let all: io::Result<Vec<Listener>> = sockets.into_iter().map(inherit).collect();
        Listeners::new(all?, true)
    }

    fn new(all: Vec<Listener>, inherited: bool) -> io::Result<Listeners> {
        if all.is_empty() {
            let what = "no address to listen on";
            return Err(io::Error::new(ErrorKind::InvalidInput, what));
        }
        Ok(Listeners {
            is_ready: vec![false; all.len()],
            all,
            inherited,
            ready: VecDeque::new(),
            paused: false,
            pauses: 0,
            exhausted: false,
            log_limit: LogLimit::default(),
            consecutive_errors: 0,
        })
    }

    /// Registers all listeners.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (i, listener) in self.all.iter_mut().enumerate() {
            listener.register(registry, EventSource::Listener(i).into())?;
        }
        Ok(())
    }

    /// # Errors
    ///
    /// If no file descriptor is free for a connection, as accept(2) would find.
    pub fn check_descriptors(&self) -> io::Result<()> {
        let copy = self.all[0].as_fd().try_clone_to_owned();
        let no_accept = |e| with_context(&e, format_args!("cannot accept connections"));
        copy.map(drop).map_err(no_accept)
    }

    /// Whether the backlogs outlive the server.
    pub fn are_inherited(&self) -> bool {
        self.inherited
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The addresses as bound.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(Listener::addr)
    }

    /// The addresses of those whose streams may use several paths (MPTCP).
    pub fn mptcp_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        let listeners = self.all.iter().filter(|listener| listener.is_mptcp());
        listeners.map(Listener::addr)
    }

    /// Records an event of listener `i`; it may have been closed since.
    pub fn mark_ready(&mut self, i: usize) {
        let Some(is_ready) = self.is_ready.get_mut(i) else {
            return;
        };
        if !std::mem::replace(is_ready, true) {
            self.ready.push_back(i);
        }
    }

    /// Ends a pause, and has every listener tried.
    pub fn mark_all_ready(&mut self) {
        self.paused = false;
        (0..self.all.len()).for_each(|i| self.mark_ready(i));
    }

    /// Whether a connection may wait, and accepting is not paused.
    pub fn can_accept(&self) -> bool {
        !self.ready.is_empty() && !self.paused
    }

    /// Pauses so far.
    pub fn pauses(&self) -> u64 {
        self.pauses
    }

    /// Ends a pause. The next accept may begin another.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Has the kernel drop the SYNs that ask for connections.
    pub fn drop_syns(&self) -> io::Result<()> {
        self.all.iter().try_for_each(Listener::drop_syns)
    }

    /// Closes all listeners. The kernel resets the connections in their backlogs
    /// (`inet_csk_listen_stop` in `net/ipv4/inet_connection_sock.c`), unless the sockets
    /// are inherited. epoll would go on to report a socket that is open elsewhere
    /// (epoll(7), question 6), so they are deregistered first.
    pub fn close(&mut self, registry: &Registry) {
        for listener in &mut self.all {
            if let Err(error) = listener.deregister(registry) {
                let (addr, error) = (listener.addr(), &error);
                record!(records::ListenerDeregister { addr, error });
            }
        }
        self.all.clear();
        self.ready.clear();
        self.is_ready.clear();
    }

    /// Accepts one connection from the next listener.
    pub fn accept(&mut self) -> Accepted {
        while let Some(i) = self.ready.pop_front() {
            let accepted = self.all[i].accept();
            let would_block = matches!(&accepted, Err(e) if e.kind() == ErrorKind::WouldBlock);
            if would_block || (accepted.is_ok() && !self.all[i].has_pending()) {
                self.is_ready[i] = false;
            } else {
                self.ready.push_back(i);
            }
            if self.ready.is_empty() {
                self.backlogs_are_empty();
            }
            if !would_block {
                return self.classify(accepted);
            }
        }
        Accepted::WouldBlock
    }

    /// Ends the time for which one warning is enough.
    fn backlogs_are_empty(&mut self) {
        if std::mem::take(&mut self.exhausted) {
            record!(records::AcceptResumed {});
        }
    }

    fn classify(&mut self, accepted: io::Result<(TcpStream, SocketAddr, Support)>) -> Accepted {
        match accepted {
            Ok((stream, peer, support)) => {
                self.consecutive_errors = 0;
                Accepted::Connection(stream, peer, support)
            }
            Err(e)
                if is_connection_error(&e) && self.consecutive_errors < MAX_CONSECUTIVE_ERRORS =>
            {
                self.consecutive_errors += 1;
                Accepted::ConnectionError(e)
            }
            Err(e) => {
                // accept(2) allocates a descriptor before it looks at the backlog.
                self.pause_if_pending(&e);
                if self.paused {
                    Accepted::Exhausted
                } else {
                    Accepted::WouldBlock
                }
            }
        }
    }

    /// Pauses accepting if connections wait. Otherwise an event will report the
    /// next connection.
    pub fn pause_if_pending(&mut self, cause: &dyn fmt::Display) {
        let listeners = self.ready.iter().map(|&i| &self.all[i]);
        let mut fds: Vec<PollFd<'_>> = listeners.map(|l| PollFd::new(l, PollFlags::IN)).collect();
        let pending = poll(&mut fds, Some(&Timespec::default()));
        if pending.is_ok_and(|pending| pending == 0) {
            self.ready.clear();
            self.is_ready.fill(false);
            self.backlogs_are_empty();
        } else if !self.paused {
            self.pause(cause);
        }
    }

    /// Pauses accepting, with one warning until the backlogs are empty again, and at
    /// most one per interval.
    fn pause(&mut self, cause: &dyn fmt::Display) {
        self.paused = true;
        self.pauses += 1;
        if !self.exhausted && self.log_limit.check(Instant::now()).is_some() {
            self.exhausted = true;
            record!(records::AcceptPaused { cause });
        }
    }
}
