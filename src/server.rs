//! The loop: the `Poll`, the slab, the only insert and the only remove.

use std::collections::VecDeque;
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
use crate::connection::{Cause, Common, Connection, Ending, LINGER, Reason, Verdict};
use crate::deadlines::Deadlines;
use crate::listener::{Accepted, Listeners, explain};
use crate::signals::{Request, Signals};
use crate::totals::{Tally, Totals};

/// A connection's token is its key in the slab, so everything else has its
/// token at the other end of the range: listener `i` has `LISTENERS - i`.
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const LISTENERS: usize = usize::MAX - 2;

/// Events taken per turn at most.
const EVENTS: usize = 1024;

/// Connections accepted per turn at most, so that a storm of
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
    listeners: Listeners,
    connections: Slab<Connection>,
    /// The still-ready list: keys of connections that have used up their read
    /// budget. No event will announce what they left unread.
    ready: VecDeque<usize>,
    deadlines: Deadlines<Alarm>,
    /// There is an alarm to accept again.
    resume_armed: bool,
    life: Life,
    common: Common,
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
    /// Asks the server to stop; [`Server::run`] returns when it has. Asked
    /// again while it is stopping, it closes all connections at once. Does
    /// nothing if it has stopped already.
    ///
    /// # Errors
    ///
    /// When the loop cannot be woken.
    pub fn shutdown(&self) -> io::Result<()> {
        self.waker.wake()
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
        let mut listeners = Listeners::bind(&config.listen)?;
        let loop_error = |e| explain(&e, format_args!("cannot set up the event loop"));
        let poll = Poll::new().map_err(loop_error)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(loop_error)?;
        listeners
            .register(poll.registry(), |i| Token(LISTENERS - i))
            .map_err(loop_error)?;
        Ok(Server {
            waker: Arc::new(waker),
            poll,
            signals: None,
            listeners,
            connections: Slab::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(),
            resume_armed: false,
            life: Life::Serving,
            common: Common {
                buffer: vec![0; READ_BUDGET].into_boxed_slice(),
                max_line: config.max_line,
                packet_per_line: config.packet_per_line,
            },
            closed: Totals::default(),
            started: Instant::now(),
        })
    }

    /// The addresses as bound, in the order of the configuration; port 0 has
    /// become a real one.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addrs().collect()
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
        let signals = Signals::register(self.poll.registry(), SIGNALS)
            .map_err(|e| explain(&e, format_args!("cannot handle signals")))?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Serves until a [`Handle`] or a signal stops the server.
    ///
    /// What has been read by then is still echoed: each connection gets its
    /// FIN after that and up to 2 s to take it. Asked to stop again meanwhile,
    /// the server closes all connections at once.
    ///
    /// # Errors
    ///
    /// When polling fails; nothing that a peer does makes it fail.
    pub fn run(mut self) -> io::Result<Totals> {
        for addr in self.listeners.addrs() {
            info!("listening on {addr}");
        }
        let mut events = Events::with_capacity(EVENTS);
        while self.life != Life::Over {
            self.turn(&mut events)?;
        }
        for key in self.keys() {
            self.cut_off(key);
        }
        let totals = self.totals();
        info!("totals: {totals}");
        Ok(totals)
    }

    /// One turn. Accepting comes after the connections: a key that was freed
    /// is not used again while an event for it, or its place in the still-ready
    /// list, is still to come.
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
        if !self.ready.is_empty() || self.listeners.may_accept() {
            return Some(Duration::ZERO);
        }
        self.deadlines
            .next()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Runs a connection: for an event, or as one of the still-ready list.
    fn run_connection(&mut self, key: usize, event: Option<&Event>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.listeners.notice(LISTENERS - key);
        };
        match event {
            Some(event) => connection.notice(event),
            None => connection.queued = false,
        }
        if connection.queued {
            return; // Its turn comes with the list: one read per turn.
        }
        let verdict = connection.run(&mut self.common);
        if !matches!(verdict, Verdict::Keep) {
            self.carry_out(verdict, key);
        }
    }

    #[inline(never)] // Rare: the usual path is shorter without it.
    fn carry_out(&mut self, verdict: Verdict, key: usize) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Again => self.enqueue(key),
            Verdict::Linger => {
                let alarm = Alarm::Linger(key, self.connections[key].since);
                self.deadlines.arm(Instant::now() + LINGER, alarm);
                self.enqueue(key);
            }
            Verdict::Close(ending) => self.close(key, &ending),
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

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            if !self.listeners.may_accept() {
                break;
            }
            match self.listeners.accept() {
                Accepted::Peer(stream, peer) => self.insert(stream, peer),
                Accepted::Lost(e) => debug!("a connection was lost before its accept: {e}"),
                Accepted::Exhausted => self.arm_resume(),
                Accepted::Nobody => {}
            }
        }
    }

    /// Accepting has paused: it goes on at the next close or after a while.
    fn arm_resume(&mut self) {
        if !self.resume_armed {
            self.resume_armed = true;
            self.deadlines.arm(Instant::now() + PAUSE, Alarm::Resume);
        }
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
    fn close(&mut self, key: usize, ending: &Ending) {
        let mut connection = self.connections.remove(key);
        let tally = Tally {
            packets: ending.packets,
            ..connection.tally()
        };
        if let Err(e) = self.poll.registry().deregister(&mut connection.stream) {
            warn!("{} cannot deregister: {e}", connection.peer);
        }
        self.closed.add(&tally);
        self.listeners.resume(); // There is a descriptor to spare again.
        info!("{} closed by {}: {tally}", connection.peer, ending.reason);
    }

    /// Acts on what is due. Reads the clock only if something may be.
    fn expire(&mut self) {
        if self.deadlines.next().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(alarm) = self.deadlines.pop_due(now) {
            match alarm {
                Alarm::Resume => {
                    self.resume_armed = false;
                    self.listeners.resume();
                }
                Alarm::Linger(key, since) => self.expire_linger(key, since),
                Alarm::End => self.life = Life::Over,
            }
        }
    }

    fn expire_linger(&mut self, key: usize, since: Instant) {
        if let Some(connection) = self.connections.get(key)
            && connection.since == since
        {
            self.cut_off(key);
        }
    }

    /// Closes a connection that has run out of time.
    fn cut_off(&mut self, key: usize) {
        let ending = self.connections[key].ending(Reason::We(Cause::Shutdown));
        self.close(key, &ending);
    }

    /// Does what the signals since the last turn ask for, each thing once.
    fn obey_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let requests: Vec<Request> = signals.pending().collect();
        if requests.contains(&Request::Report) {
            info!("totals: {}", self.totals());
        }
        let stop = requests.iter().find_map(|request| match request {
            Request::Stop(signal) => Some(*signal),
            Request::Report => None,
        });
        if let Some(signal) = stop {
            self.stop(signal);
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
        self.listeners.close();
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
            totals.add(&connection.tally());
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
