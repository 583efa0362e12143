//! The server: its public interface, and the loop.
//!
//! One run of the loop: poll -> connection events -> run queue -> accepts -> timers
//! -> commands.

mod connections;
mod control;
mod limits;
mod listeners;
mod timers;
mod token;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::config::Config;
use crate::connection::decoder::InputBuffer;
use crate::connection::reason::{CloseReason, Closed, LocalClose};
use crate::connection::{Context, Outcome};
use crate::error::with_context;
use crate::stats::{Plural, Totals};

use connections::Connections;
use control::{Command, Control, State};
use limits::{ConnectionLimits, effective_max_connections};
use listeners::{Accepted, Listeners};
use timers::{Timer, Timers};
use token::Source;

pub use control::Handle;
pub use limits::raise_fd_limit;

/// Events taken per run of the loop.
const EVENT_CAPACITY: usize = 1024;

/// Connections accepted per run, so that a flood of connects does not delay the
/// connections that are open.
const MAX_ACCEPTS_PER_RUN: usize = 256;

/// Timers that expire per run, so that no setting can starve the loop.
const MAX_TIMERS_PER_RUN: usize = 1024;

/// Bytes that one connection reads per run: its share if it floods. All connections
/// share one buffer of this length.
const READ_BUFFER_LEN: usize = 64 * 1024;

/// Partial lines of up to this length are joined with the next read in the read
/// buffer; longer ones in their own.
const READ_BUFFER_HEADROOM: usize = 4 * 1024;

/// The log target of the totals that SIGUSR1 asked for. A logger can print them at
/// every level; all other records have a module path as their target.
pub const TOTALS_TARGET: &str = "echoline::totals";

/// A bound line echo server: [`bind`](Server::bind) it, then
/// [`run`](Server::run) it.
pub struct Server {
    poll: Poll,
    control: Control,
    listeners: Listeners,
    limits: ConnectionLimits,
    connections: Connections,
    timers: Timers,
    context: Context,
    drain_timeout: Duration,
    /// How long to poll without sleeping after an event, and the time of the last
    /// event.
    busy_poll: Option<(Duration, Instant)>,
}

impl Server {
    /// Binds all addresses of `config`. The kernel completes connections from now
    /// on; [`run`](Server::run) serves them.
    ///
    /// # Errors
    ///
    /// If a setting is out of range (`InvalidInput`), a name does not resolve or an
    /// address cannot be bound; the text says which and why.
    pub fn bind(config: &Config) -> io::Result<Server> {
        config.validate()?;
        let mut listeners = Listeners::bind(&config.listen, config.send_timeout)?;
        let loop_error = |e| with_context(&e, format_args!("cannot set up the event loop"));
        let poll = Poll::new().map_err(loop_error)?;
        let control = Control::new(poll.registry()).map_err(loop_error)?;
        listeners.register(poll.registry()).map_err(loop_error)?;
        let max_connections = effective_max_connections(config.max_connections, listeners.len());
        Ok(Server {
            poll,
            control,
            listeners,
            limits: ConnectionLimits::new(max_connections, config.max_per_ip),
            connections: Connections::new(config.log_empty),
            timers: Timers::new(config.idle_timeout),
            context: Context {
                input: InputBuffer::new(READ_BUFFER_LEN, READ_BUFFER_HEADROOM),
                max_line: config.max_line,
                segment_per_line: config.packet_per_line,
                log_empty: config.log_empty,
                open: 0,
                now: 0,
            },
            drain_timeout: config.drain_timeout,
            busy_poll: (!config.busy_poll.is_zero()).then(|| (config.busy_poll, Instant::now())),
        })
    }

    /// The addresses as bound, in the order of the configuration, with the port that
    /// the kernel chose for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addrs().collect()
    }

    /// A handle that stops the server.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.control.handle()
    }

    /// Lets SIGINT, SIGTERM and SIGHUP stop the server, and SIGUSR1 log its totals.
    ///
    /// The handlers belong to the process, so an embedder may do without. A SIGHUP
    /// that is ignored stays ignored (nohup).
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.control
            .handle_signals(self.poll.registry())
            .map_err(|e| with_context(&e, format_args!("cannot handle signals")))
    }

    /// Serves until a [`Handle`] or a signal stops the server; blocks the calling
    /// thread in `poll` while nothing happens.
    ///
    /// A stop accepts what waits in the backlogs, echoes every complete line that
    /// has arrived and sends each peer a FIN. The server returns when the last peer
    /// has closed, or after [`drain_timeout`](Config::drain_timeout).
    ///
    /// # Errors
    ///
    /// If polling fails, which no peer can cause; or if the server is asked to stop
    /// again while it is stopping, with the number of connections aborted.
    pub fn run(mut self) -> io::Result<Totals> {
        for addr in self.listeners.addrs() {
            info!("listening on {addr}");
        }
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        while matches!(self.control.state, State::Running | State::Draining) {
            self.run_once(&mut events)?;
        }
        self.finish()
    }

    /// Accepting comes after all connection events of the batch, so that a slab key
    /// freed in the batch is not reused while a stale event or a place in the run
    /// queue still refers to it.
    fn run_once(&mut self, events: &mut Events) -> io::Result<()> {
        if let Err(e) = self.poll.poll(events, self.poll_timeout()) {
            if e.kind() == io::ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(e);
        }
        self.update_times(events.is_empty());
        let scheduled = self.connections.scheduled();
        for event in &*events {
            self.dispatch(event);
        }
        for _ in 0..scheduled {
            if let Some((key, connection)) = self.connections.next_scheduled() {
                match connection.run(&mut self.context) {
                    Outcome::Wait => {}
                    outcome => self.apply(outcome, key),
                }
            }
        }
        if self.listeners.can_accept() {
            self.accept();
        }
        if self.timers.is_armed() {
            self.expire_timers();
        }
        if self.control.has_commands() {
            self.apply_commands();
        }
        if self.control.state == State::Draining && self.connections.is_empty() {
            self.control.state = State::Stopped;
        }
        Ok(())
    }

    /// Zero while there is work, or was within the busy-poll time; `None` (no limit)
    /// if no timer is armed.
    fn poll_timeout(&self) -> Option<Duration> {
        let busy = self
            .busy_poll
            .is_some_and(|(duration, last_event)| last_event.elapsed() < duration);
        if busy || self.connections.scheduled() > 0 || self.listeners.can_accept() {
            return Some(Duration::ZERO);
        }
        self.timers.next_timeout()
    }

    fn update_times(&mut self, no_event: bool) {
        if self.timers.is_armed() {
            self.context.now = self.timers.update_clock();
        }
        if let Some((_, last_event)) = &mut self.busy_poll
            && !no_event
        {
            *last_event = Instant::now();
        }
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token().into() {
            Source::Connection(key) => self.on_connection_event(key, event),
            Source::Listener(i) => self.listeners.mark_ready(i),
            Source::Waker => self.control.on_waker(),
            Source::Signals => self.control.on_signals(),
        }
    }

    fn on_connection_event(&mut self, key: usize, event: &Event) {
        if let Some(connection) = self.connections.record_event(key, event) {
            match connection.run(&mut self.context) {
                Outcome::Wait => {}
                outcome => self.apply(outcome, key),
            }
        }
    }

    #[cold]
    fn apply(&mut self, outcome: Outcome, key: usize) {
        match outcome {
            Outcome::Wait => {}
            Outcome::Reschedule => self.connections.schedule(key),
            Outcome::Linger => {
                if self.control.state == State::Running {
                    self.arm_linger(key);
                }
                self.connections.schedule(key);
            }
            Outcome::Close(closed) => self.close(key, &closed),
        }
    }

    fn arm_linger(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            self.timers.arm_linger(key, connection.accepted_at);
        }
    }

    fn accept(&mut self) {
        for _ in 0..MAX_ACCEPTS_PER_RUN {
            if let Some(limit) = self.limits.limit_reached(self.connections.len()) {
                // No timer: only a close ends this pause.
                let cause = format_args!("connection limit {limit} reached");
                return self.listeners.pause_if_pending(&cause);
            }
            if !self.listeners.can_accept() {
                return;
            }
            match self.listeners.accept() {
                Accepted::Connection(stream, peer) => self.open(stream, peer),
                Accepted::ConnectionError(e) => debug!("connection aborted before accept: {e}"),
                Accepted::Exhausted => self.timers.arm_retry_accept(),
                Accepted::WouldBlock => {}
            }
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr) {
        if !self.limits.try_acquire(peer) {
            return;
        }
        let now = self.timers.arm_idle(self.connections.vacant_key());
        let accepted_at = self.timers.clock().nanos();
        let registry = self.poll.registry();
        match self
            .connections
            .insert(registry, stream, peer, accepted_at, now)
        {
            Ok(()) => self.context.open = self.connections.len(),
            Err(e) => {
                warn!("{peer} refused: cannot register: {e}");
                self.limits.release(peer);
            }
        }
    }

    fn close(&mut self, key: usize, closed: &Closed) {
        let now = self.timers.clock().nanos();
        let registry = self.poll.registry();
        let peer = self.connections.remove(registry, key, closed, now);
        self.context.open = self.connections.len();
        self.limits.release(peer);
        self.listeners.resume(); // A file descriptor is free again.
    }

    /// Closes a connection whose time is up.
    fn abort(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            let closed = connection.closed(CloseReason::Local(LocalClose::Shutdown));
            self.close(key, &closed);
        }
    }

    fn expire_timers(&mut self) {
        let now = self.timers.clock().now();
        for _ in 0..MAX_TIMERS_PER_RUN {
            let Some(timer) = self.timers.pop_expired(now) else {
                return;
            };
            match timer {
                Timer::RetryAccept => self.listeners.resume(),
                Timer::Linger(key, accepted_at) if self.is_current(key, accepted_at) => {
                    self.abort(key);
                }
                Timer::Linger(..) => {} // Closed since.
                Timer::Idle(key) => self.expire_idle(key),
                Timer::DrainTimeout => self.control.state = State::Stopped,
            }
        }
    }

    /// Whether the connection with this key is still the one accepted then.
    fn is_current(&mut self, key: usize, accepted_at: u64) -> bool {
        let connection = self.connections.get_mut(key);
        connection.is_some_and(|connection| connection.accepted_at == accepted_at)
    }

    fn expire_idle(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let idle_for = connection.idle_for(self.context.now);
        if self.timers.check_idle(key, idle_for) {
            connection.drain(LocalClose::IdleTimeout);
            self.connections.schedule(key);
        }
    }

    #[cold]
    fn apply_commands(&mut self) {
        for command in self.control.take_commands() {
            match (command, self.control.state) {
                (Command::LogTotals, _) => {
                    info!(target: TOTALS_TARGET, "totals: {}", self.totals());
                }
                (Command::Shutdown(cause), State::Running) => self.drain(cause),
                (Command::Shutdown(cause), _) => self.control.state = State::Aborted(cause),
            }
        }
    }

    /// Begins to stop: accepts the backlogs, closes the listeners and drains all
    /// connections.
    fn drain(&mut self, cause: &'static str) {
        let deadline = Instant::now() + self.drain_timeout;
        self.accept_backlog(deadline);
        info!("{cause}: stopping ({} open)", self.connections.len());
        self.control.state = State::Draining;
        self.timers.arm_drain_timeout(deadline);
        self.listeners.close();
        for key in self.connections.keys() {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.drain(LocalClose::Shutdown);
                self.connections.schedule(key);
            }
        }
    }

    /// Accepts what waits in the backlogs, as closing a listener resets it. Ends
    /// when they are empty or the limits allow no more; and, as connections may keep
    /// coming, after as many as the backlogs hold, or at the deadline.
    fn accept_backlog(&mut self, deadline: Instant) {
        self.listeners.mark_all_ready();
        for _ in 0..=self.listeners.backlog() / MAX_ACCEPTS_PER_RUN {
            self.accept();
            if !self.listeners.can_accept() || Instant::now() >= deadline {
                return;
            }
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            uptime: self.timers.clock().uptime(),
            refused: self.limits.refused(),
            ..self.connections.totals(self.timers.clock().nanos())
        }
    }

    /// Aborts the connections that are left, and logs the totals.
    fn finish(mut self) -> io::Result<Totals> {
        let left = Plural(self.connections.len() as u64, "connection");
        if !self.connections.is_empty() {
            warn!("{left} aborted");
        }
        for key in self.connections.keys() {
            self.abort(key);
        }
        let totals = self.totals();
        info!("totals: {totals}");
        match self.control.state {
            State::Aborted(cause) => {
                let text = format!("{cause} while stopping: {left} aborted");
                Err(io::Error::other(text))
            }
            _ => Ok(totals),
        }
    }
}
