//! The loop: the `Poll`, the slab, the only insert and the only remove.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{Level, debug, info, log, trace, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::admission::Admission;
use crate::alarms::{Alarm, Alarms};
use crate::config::Config;
use crate::connection::{Common, Connection, Moment, Verdict};
use crate::descriptors::effective_max_connections;
use crate::ending::{Cause, Ending, Reason};
use crate::listener::{Accepted, BACKLOG, Listeners, explain};
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

/// Timers that expire per run of the loop at most: no setting makes them keep
/// the loop from its events.
const MAX_TIMERS_PER_RUN: usize = 1024;

/// Room for connections from the start. It takes no memory before it is used,
/// and being over 128 KiB it is mapped for itself (`M_MMAP_THRESHOLD`,
/// mallopt(3)): growing in the heap instead, it would leave holes among the
/// connections' buffers, which keep the allocator from giving these back.
const ROOM: usize = 1024;

/// What one connection reads per turn at most, in bytes: the share of a
/// flooding client. The one buffer is shared by all connections.
const READ_BUDGET: usize = 64 * 1024;

/// The target of the totals that SIGUSR1 asked for, for loggers that are to print
/// them at every level; all other records have module paths.
pub const TOTALS_TARGET: &str = "echoline::totals";

/// A bound line echo server: [`bind`](Server::bind) it, then
/// [`run`](Server::run) it.
pub struct Server {
    poll: Poll,
    waker: Arc<Waker>,
    signals: Option<Signals>,
    listeners: Listeners,
    admission: Admission,
    connections: Slab<Connection>,
    /// The still-ready list: keys of connections that have used up their read
    /// budget. No event will announce what they left unread.
    ready: VecDeque<usize>,
    alarms: Alarms,
    /// A handle, or a signal, asks for something.
    called: bool,
    /// It is a handle.
    woken: bool,
    life: Life,
    drain_timeout: Duration,
    /// For how long to poll without sleeping after an event, and when the last
    /// one was.
    busy_poll: Option<(Duration, Instant)>,
    common: Common,
    closed: Totals,
}

/// How far the server's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Serving,
    /// Nobody comes in, everybody is sent off; there is a deadline.
    Stopping,
    /// Ended in time, or at the deadline.
    Over,
    /// Ended at once, by this second request to stop.
    Aborted(&'static str),
}

/// Stops a running server from another thread.
#[derive(Debug, Clone)]
pub struct Handle {
    waker: Arc<Waker>,
}

impl Handle {
    /// Asks the server to stop; [`Server::run`] returns when it has. Asked
    /// again while it is stopping, it cuts off all connections at once. Does
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
        let mut listeners = Listeners::bind(&config.listen, config.send_timeout)?;
        let loop_error = |e| explain(&e, format_args!("cannot set up the event loop"));
        let poll = Poll::new().map_err(loop_error)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(loop_error)?;
        listeners
            .register(poll.registry(), |i| Token(LISTENERS - i))
            .map_err(loop_error)?;
        let others = listeners.addrs().count();
        let max_connections = effective_max_connections(config.max_connections, others);
        Ok(Server {
            waker: Arc::new(waker),
            poll,
            signals: None,
            listeners,
            admission: Admission::new(max_connections, config.max_per_ip),
            connections: Slab::with_capacity(ROOM),
            ready: VecDeque::new(),
            alarms: Alarms::new(config.idle_timeout),
            called: false,
            woken: false,
            life: Life::Serving,
            drain_timeout: config.drain_timeout,
            busy_poll: (!config.busy_poll.is_zero()).then(|| (config.busy_poll, Instant::now())),
            common: Common {
                buffer: vec![0; READ_BUDGET].into_boxed_slice(),
                max_line: config.max_line,
                packet_per_line: config.packet_per_line,
                now: 0,
                open: 0,
                log_empty: config.log_empty,
            },
            closed: Totals::default(),
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
    /// Who waits in a backlog by then is accepted, and every complete line that
    /// has arrived is echoed; then each connection gets its FIN, and the server
    /// ends when the last peer has closed, or after
    /// [`drain_timeout`](Config::drain_timeout).
    ///
    /// # Errors
    ///
    /// When polling fails; nothing that a peer does makes it fail. When the
    /// server was asked to stop again while it was stopping: the text says how
    /// many connections were cut off.
    pub fn run(mut self) -> io::Result<Totals> {
        for addr in self.listeners.addrs() {
            info!("listening on {addr}");
        }
        let mut events = Events::with_capacity(EVENTS);
        while matches!(self.life, Life::Serving | Life::Stopping) {
            self.turn(&mut events)?;
        }
        let left = self.connections.len();
        if left > 0 {
            warn!("{left} connections cut off");
        }
        for key in self.keys() {
            self.cut_off(key);
        }
        let totals = self.totals();
        info!("totals: {totals}");
        match self.life {
            Life::Aborted(cause) => Err(io::Error::other(format!(
                "{cause} while stopping: {left} connections cut off"
            ))),
            _ => Ok(totals),
        }
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
        if self.alarms.is_any_set() {
            self.common.now = self.alarms.read_clock();
        }
        if let Some((_, last_event)) = &mut self.busy_poll
            && !events.is_empty()
        {
            *last_event = Instant::now();
        }
        let left_over = self.ready.len();
        for event in &*events {
            self.run_connection(event.token().0, Some(event));
        }
        for _ in 0..left_over {
            if let Some(key) = self.ready.pop_front() {
                self.run_connection(key, None);
            }
        }
        if self.listeners.may_accept() {
            self.accept();
        }
        self.expire();
        if std::mem::take(&mut self.called) {
            self.obey();
        }
        if self.life == Life::Stopping && self.connections.is_empty() {
            self.life = Life::Over;
        }
        Ok(())
    }

    /// How long the poll may sleep: not at all while there is work or work was
    /// a moment ago (busy polling), and for ever when nothing has a deadline.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.listeners.may_accept() {
            return Some(Duration::ZERO);
        }
        if let Some((busy_poll, last_event)) = self.busy_poll
            && last_event.elapsed() < busy_poll
        {
            return Some(Duration::ZERO);
        }
        self.alarms.wait()
    }

    /// Runs a connection: for an event, or as one of the still-ready list.
    fn run_connection(&mut self, key: usize, event: Option<&Event>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.notice_other(key);
        };
        match event {
            Some(event) => {
                trace!("{} event: {event:?}", connection.peer);
                connection.notice(event.into());
            }
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

    /// Takes note of an event for something else, or for a connection that is
    /// gone. What it asks for is done at its place in the turn.
    fn notice_other(&mut self, key: usize) {
        match Token(key) {
            WAKER => (self.called, self.woken) = (true, true),
            SIGNALS => self.called = true,
            Token(key) => self.listeners.notice(LISTENERS - key),
        }
    }

    #[inline(never)] // Rare: the usual path is shorter without it.
    fn carry_out(&mut self, verdict: Verdict, key: usize) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Again => self.enqueue(key),
            Verdict::Linger => {
                if self.life == Life::Serving {
                    let since = self.connections[key].since;
                    self.alarms.set_linger(key, since);
                }
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
            if let Some(limit) = self.admission.limit_reached(self.connections.len()) {
                // No alarm: only a close makes room.
                let cause = format_args!("{limit} connections are open, the limit");
                return self.listeners.pause_if_awaited(&cause);
            }
            if !self.listeners.may_accept() {
                return;
            }
            match self.listeners.accept() {
                Accepted::Peer(stream, peer) => self.insert(stream, peer),
                Accepted::Lost(e) => debug!("a connection was lost before its accept: {e}"),
                Accepted::Exhausted => self.alarms.set_resume(),
                Accepted::Nobody => {}
            }
        }
    }

    /// The only way in: a key is reserved, the stream registered for good
    /// (no `epoll_ctl` per line), and only then the connection inserted.
    fn insert(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        if !self.admission.admit(peer) {
            return;
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let registry = self.poll.registry();
        if let Err(e) = registry.register(&mut stream, Token(key), interests()) {
            warn!("{peer} refused: cannot register: {e}");
            self.admission.leave(peer);
            return;
        }
        let now = self.alarms.set_idle(key);
        let since = self.alarms.moment();
        entry.insert(Connection::new(stream, peer, since, now));
        self.closed.accepted += 1;
        self.common.open = self.connections.len();
        if self.common.log_empty {
            info!("{peer} connected ({} open)", self.common.open);
        }
    }

    /// The only way out: deregisters, closes, counts and logs.
    fn close(&mut self, key: usize, ending: &Ending) {
        let mut connection = self.connections.remove(key);
        let tally = Tally {
            packets: ending.packets,
            ..connection.tally(self.alarms.moment())
        };
        if let Err(e) = self.poll.registry().deregister(&mut connection.stream) {
            warn!("{} cannot deregister: {e}", connection.peer);
        }
        self.closed.add(&tally);
        self.closed.closes.count(&ending.reason);
        self.closed.empty += u64::from(connection.is_empty());
        self.common.open = self.connections.len();
        let level = if connection.is_empty() && !self.common.log_empty {
            Level::Debug
        } else {
            Level::Info
        };
        let peer = connection.peer;
        drop(connection);
        self.admission.leave(peer);
        self.listeners.resume(); // There is a descriptor to spare again.
        log!(level, "{peer} closed by {}: {tally}", ending.reason);
    }

    /// Acts on what is due.
    fn expire(&mut self) {
        for _ in 0..MAX_TIMERS_PER_RUN {
            let Some(alarm) = self.alarms.pop_due() else {
                return;
            };
            match alarm {
                Alarm::Resume => self.listeners.resume(),
                Alarm::Linger(key, since) if self.is_same(key, since) => self.cut_off(key),
                Alarm::Linger(..) => {} // Closed meanwhile.
                Alarm::Idle(key) => self.expire_idle(key),
                Alarm::End => self.life = Life::Over,
            }
        }
    }

    /// Whether the connection with this key is still the one accepted `since`.
    fn is_same(&self, key: usize, since: Moment) -> bool {
        self.connections
            .get(key)
            .is_some_and(|connection| connection.since == since)
    }

    /// Ends the connection with this key, if there is one, if it has been
    /// silent for too long.
    fn expire_idle(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let idle_for = connection.idle_for(self.common.now);
        if self.alarms.is_idle(key, idle_for) {
            connection.drain(Cause::IdleTimeout);
            self.enqueue(key);
        }
    }

    /// Closes a connection that has run out of time: its own, if we had ended it
    /// before, or else the server's.
    fn cut_off(&mut self, key: usize) {
        let ending = self.connections[key].ending(Reason::We(Cause::Shutdown));
        self.close(key, &ending);
    }

    /// Does what handles and signals have asked for since the last turn, each
    /// thing once.
    fn obey(&mut self) {
        let mut stop = std::mem::take(&mut self.woken).then_some("shutdown requested");
        let mut report = false;
        for request in self.signals.iter_mut().flat_map(Signals::pending) {
            match request {
                Request::Report => report = true,
                Request::Stop(signal) => stop = stop.or(Some(signal)),
            }
        }
        if report {
            info!(target: TOTALS_TARGET, "totals: {}", self.totals());
        }
        if let Some(cause) = stop {
            self.stop(cause);
        }
    }

    /// Begins to stop: those who wait come in, nobody else does, and everybody
    /// is sent off. The second call ends it there.
    fn stop(&mut self, cause: &'static str) {
        if self.life != Life::Serving {
            self.life = Life::Aborted(cause);
            return;
        }
        let deadline = Instant::now() + self.drain_timeout;
        self.accept_backlog(deadline);
        info!("{cause}: stopping ({} open)", self.connections.len());
        self.life = Life::Stopping;
        self.alarms.set_end(deadline);
        self.listeners.close();
        for key in self.keys() {
            self.connections[key].drain(Cause::Shutdown);
            self.enqueue(key);
        }
    }

    /// Accepts what waits in the backlogs, as closing a listener resets it. Ends
    /// when nothing waits, when the limits allow no more, when as many were
    /// accepted as backlogs hold (connections may keep coming), or at the
    /// deadline.
    fn accept_backlog(&mut self, deadline: Instant) {
        self.listeners.knock();
        let waiting = usize::from(BACKLOG) * self.listeners.addrs().count();
        for _ in 0..=waiting / ACCEPTS {
            self.accept();
            if !self.listeners.may_accept() || Instant::now() >= deadline {
                return;
            }
        }
    }

    fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals {
            open: self.connections.len(),
            uptime: self.alarms.uptime(),
            refused: self.admission.refused(),
            ..self.closed
        };
        let now = self.alarms.moment();
        for (_, connection) in &self.connections {
            totals.add(&connection.tally(now));
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
