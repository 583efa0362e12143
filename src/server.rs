//! The loop: the `Poll`, the slab, the only insert and the only remove.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::config::Config;
use crate::connection::{Cause, Connection, LINGER, Reason, Tally, Verdict};
use crate::deadlines::Deadlines;
use crate::listener::{self, Accepted, Listener};
use crate::signals::{Request, Signals};

/// A connection's token is its key in the slab, so everything else has its
/// token at the other end of the range: listener `i` has `LISTENERS - i`.
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 2;

/// Events taken per turn at most.
const EVENTS: usize = 1024;

/// Connections accepted per listener and turn at most, so that a storm of
/// connects does not keep the connections waiting.
const ACCEPTS: usize = 256;

/// How long accepting pauses when the system lacks resources, unless a
/// connection closes before.
const PAUSE: Duration = Duration::from_secs(1);

/// What one connection reads per turn at most, in bytes: the share of a
/// flooding client. The one buffer is shared by all connections.
const READ_BUDGET: usize = 64 * 1024;

/// A bound line echo server: [`bind`](Server::bind) it, then
/// [`run`](Server::run) it.
pub struct Server {
    poll: Poll,
    waker: Arc<Waker>,
    signals: Option<Signals>,
    listeners: Vec<Listener>,
    connections: Slab<Connection>,
    /// The still-ready list: keys of connections that have used up their read
    /// budget. No event will announce what they left unread.
    ready: VecDeque<usize>,
    deadlines: Deadlines<Alarm>,
    /// Some listener is ready.
    knocked: bool,
    /// Accepting has paused: the system lacks resources.
    paused: bool,
    life: Life,
    buffer: Box<[u8]>,
    max_line: usize,
    closed: Totals,
    started: Instant,
}

/// What the server has deadlines for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// Accepting goes on.
    Resume,
    /// The connection with this key has lingered long enough, if it is still
    /// the one that was accepted then.
    Linger(usize, Instant),
    /// Stopping has taken long enough.
    End,
}

/// How far the server's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Serving,
    /// Nobody comes in, everybody is sent off; there is a deadline.
    Stopping,
    Over,
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    waker: Arc<Waker>,
}

impl Handle {
    /// Asks the server to stop; [`Server::run`] returns when it has. Does
    /// nothing if it has stopped already.
    ///
    /// # Errors
    ///
    /// When the loop cannot be woken.
    pub fn shutdown(&self) -> io::Result<()> {
        self.waker.wake()
    }
}

/// What a server did since it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: usize,
    /// Lines echoed, or about to be.
    pub lines: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes that the kernel took for sending.
    pub bytes_out: u64,
    /// Time since the server was bound.
    pub uptime: Duration,
}

impl Totals {
    fn add(&mut self, tally: Tally) {
        self.lines += tally.lines;
        self.bytes_in += tally.bytes_in;
        self.bytes_out += tally.bytes_out;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} open, {} lines, {} bytes in, {} bytes out, up {:.2} s",
            self.accepted,
            self.open,
            self.lines,
            self.bytes_in,
            self.bytes_out,
            self.uptime.as_secs_f64()
        )
    }
}

impl Server {
    /// Binds all addresses of `config`. From here on the kernel completes
    /// connections; [`run`](Server::run) serves them.
    ///
    /// # Errors
    ///
    /// When a setting is out of range, a name does not resolve or an address
    /// cannot be bound; the text says which and why.
    pub fn bind(config: &Config) -> io::Result<Server> {
        config.validate()?;
        let mut listeners = listener::bind_all(&config.listen)?;
        let poll = Poll::new()?;
        for (i, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(LISTENERS - i))?;
        }
        Ok(Server {
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
            poll,
            signals: None,
            listeners,
            connections: Slab::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            knocked: false,
            paused: false,
            life: Life::Serving,
            buffer: vec![0; READ_BUDGET].into_boxed_slice(),
            max_line: config.max_line,
            closed: Totals::default(),
            started: Instant::now(),
        })
    }

    /// The addresses as bound, in the order of the configuration; port 0 has
    /// become a real one.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::addr).collect()
    }

    /// A handle to stop the server with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            waker: Arc::clone(&self.waker),
        }
    }

    /// Has SIGINT, SIGTERM and SIGHUP stop this server and SIGUSR1 log its
    /// totals. The handlers are the process's; embedders may do without.
    ///
    /// # Errors
    ///
    /// When a handler cannot be installed.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::register(self.poll.registry(), SIGNALS)?);
        Ok(())
    }

    /// Serves until a [`Handle`] or a signal stops the server.
    ///
    /// What has been read by then is still echoed: each connection gets its
    /// FIN after that and up to 2 s to take it. Asked to stop a second time,
    /// the server closes all connections at once.
    ///
    /// # Errors
    ///
    /// When polling fails; nothing that a peer does makes it fail.
    pub fn run(mut self) -> io::Result<Totals> {
        for listener in &self.listeners {
            info!("listening on {}", listener.addr());
        }
        let mut events = Events::with_capacity(EVENTS);
        while self.life != Life::Over {
            self.turn(&mut events)?;
        }
        for key in self.keys() {
            self.close(key, &Reason::We(Cause::Shutdown));
        }
        let totals = self.totals();
        info!("totals: {totals}");
        Ok(totals)
    }

    /// One turn. Accepting comes after the connections' events: a key that
    /// was freed is not used again while an event for it is still to come.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        if let Err(e) = self.poll.poll(events, timeout) {
            if e.kind() == io::ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(e);
        }
        let (mut woken, mut signalled) = (false, false);
        let left_over = self.ready.len();
        for event in &*events {
            match event.token() {
                WAKER => woken = true,
                SIGNALS => signalled = true,
                Token(key) => self.run_connection(key, Some(event)),
            }
        }
        for _ in 0..left_over {
            if let Some(key) = self.ready.pop_front() {
                self.run_connection(key, None);
            }
        }
        self.accept();
        self.expire();
        if signalled {
            self.obey_signals();
        }
        if woken {
            self.stop("shutdown requested");
        }
        if self.life == Life::Stopping && self.connections.is_empty() {
            self.life = Life::Over;
        }
        Ok(())
    }

    /// How long the poll may sleep: not at all while there is work, and for
    /// ever when nothing has a deadline.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || (self.knocked && !self.paused) {
            return Some(Duration::ZERO);
        }
        self.deadlines
            .next()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Runs a connection: for an event, or as one of the still-ready list.
    fn run_connection(&mut self, key: usize, event: Option<&Event>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.notice_listener(key);
        };
        match event {
            Some(event) => connection.notice(event),
            None => connection.queued = false,
        }
        if connection.queued {
            return; // Its turn comes with the list: one read per turn.
        }
        match connection.run(&mut self.buffer, self.max_line) {
            Verdict::Keep => {}
            Verdict::Again => self.enqueue(key),
            Verdict::Linger => {
                let alarm = Alarm::Linger(key, connection.since);
                self.deadlines.arm(Instant::now() + LINGER, alarm);
                self.enqueue(key);
            }
            Verdict::Close(reason) => self.close(key, &reason),
        }
    }

    /// Puts a connection at the end of the still-ready list, once.
    fn enqueue(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.queued {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Takes note of an event for a listener; for a connection that is gone
    /// there is nothing to note.
    fn notice_listener(&mut self, key: usize) {
        if let Some(listener) = self.listeners.get_mut(LISTENERS - key) {
            listener.ready = true;
            self.knocked = true;
        }
    }

    fn accept(&mut self) {
        if !self.knocked || self.paused {
            return;
        }
        for i in 0..self.listeners.len() {
            for _ in 0..ACCEPTS {
                if !self.listeners[i].ready {
                    break;
                }
                match self.listeners[i].accept() {
                    Accepted::Peer(stream, peer) => self.insert(stream, peer),
                    Accepted::Nobody => break,
                    Accepted::Lost(e) => debug!("a connection was lost before its accept: {e}"),
                    Accepted::Exhausted(e) => return self.pause(&e),
                }
            }
        }
        self.knocked = self.listeners.iter().any(|listener| listener.ready);
    }

    /// Stops accepting for a while; those who connect wait in the backlog.
    fn pause(&mut self, cause: &io::Error) {
        warn!("accepting pauses: {cause}");
        self.paused = true;
        self.deadlines.arm(Instant::now() + PAUSE, Alarm::Resume);
    }

    /// The only way in: a key is reserved, the stream registered for good
    /// (no `epoll_ctl` per line), and only then the connection inserted.
    fn insert(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        let entry = self.connections.vacant_entry();
        let token = Token(entry.key());
        if let Err(e) = self
            .poll
            .registry()
            .register(&mut stream, token, interests())
        {
            warn!("{peer} refused: cannot register: {e}");
            return;
        }
        entry.insert(Connection::new(stream, peer));
        self.closed.accepted += 1;
        info!("{peer} connected ({} open)", self.connections.len());
    }

    /// The only way out: deregisters, closes, counts and logs.
    fn close(&mut self, key: usize, reason: &Reason) {
        let mut connection = self.connections.remove(key);
        if let Err(e) = self.poll.registry().deregister(&mut connection.stream) {
            warn!("{} cannot deregister: {e}", connection.peer);
        }
        let tally = connection.tally();
        self.closed.add(tally);
        self.paused = false; // There is a descriptor to spare again.
        info!(
            "{} closed by {reason}: {} lines, {} bytes in, {} bytes out, {:.2} s",
            connection.peer,
            tally.lines,
            tally.bytes_in,
            tally.bytes_out,
            connection.since.elapsed().as_secs_f64()
        );
    }

    /// Acts on what is due. Reads the clock only if something may be.
    fn expire(&mut self) {
        if self.deadlines.next().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(alarm) = self.deadlines.pop_due(now) {
            match alarm {
                Alarm::Resume => self.paused = false,
                Alarm::Linger(key, since) => self.expire_linger(key, since),
                Alarm::End => self.life = Life::Over,
            }
        }
    }

    fn expire_linger(&mut self, key: usize, since: Instant) {
        if let Some(connection) = self.connections.get(key)
            && connection.since == since
        {
            let reason = connection.reason_or(Reason::Peer);
            self.close(key, &reason);
        }
    }

    fn obey_signals(&mut self) {
        let requests: Vec<Request> = self
            .signals
            .as_mut()
            .map(|signals| signals.pending().collect())
            .unwrap_or_default();
        for request in requests {
            match request {
                Request::Report => info!("totals: {}", self.totals()),
                Request::Stop(signal) => self.stop(signal),
            }
        }
    }

    /// Begins to stop: nobody comes in, everybody is sent off. The second
    /// call ends it there.
    fn stop(&mut self, cause: &str) {
        if self.life != Life::Serving {
            self.life = Life::Over;
            return;
        }
        info!("{cause}: stopping ({} open)", self.connections.len());
        self.life = Life::Stopping;
        self.deadlines.arm(Instant::now() + LINGER, Alarm::End);
        self.listeners.clear();
        self.knocked = false;
        for key in self.keys() {
            self.connections[key].end(Cause::Shutdown);
            self.enqueue(key);
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals {
            open: self.connections.len(),
            uptime: self.started.elapsed(),
            ..self.closed
        };
        for (_, connection) in &self.connections {
            totals.add(connection.tally());
        }
        totals
    }
}

/// What a connection is registered for, once: both directions, and urgent
/// data where the selector can tell of it.
fn interests() -> Interest {
    let interests = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interests = interests | Interest::PRIORITY;
    interests
}
