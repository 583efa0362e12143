//! The loop, and what it does with connections.
//!
//! One run: poll -> connection events -> run queue -> requests -> accepts -> timers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Events;
use mio::event::Event;
use mio::net::TcpStream;

use crate::net::options::Support;
use crate::record;
use crate::records;
use crate::server::Server;
use crate::server::connection::proxy_header::HeaderError;
use crate::server::connection::reason::{CloseCause, Closed, LocalClose};
use crate::server::connection::{Connection, Outcome};
use crate::server::connections::ConnectionId;
use crate::server::control::Phase;
use crate::server::listeners::Accepted;
use crate::server::timers::Timer;
use crate::server::token::EventSource;

/// Connections accepted per run, so that a flood of connects does not delay the
/// connections that are open.
pub(super) const MAX_ACCEPTS_PER_RUN: usize = 256;

/// Timers that expire per run, so that no setting can starve the loop.
const MAX_TIMERS_PER_RUN: usize = 1024;

impl Server {
    /// Polls once and does all work that is due.
    ///
    /// Accepting comes after all connection events of the batch, so that a slab key
    /// freed in the batch is not reused while a stale event is still to come. It comes
    /// after the requests, so that a shutdown leaves new connections in an inherited
    /// backlog. A place in
    /// the run queue may outlive its connection; the next one with its key runs once
    /// more for that, which is harmless.
    pub(super) fn run_once(&mut self, events: &mut Events) -> io::Result<()> {
        if let Err(e) = self.poll.poll(events, self.poll_timeout()) {
            if e.kind() != io::ErrorKind::Interrupted {
                return Err(e);
            }
            events.clear(); // The timers go on.
        }
        self.update_times(events);
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
        if self.control.has_requests() {
            self.apply_requests();
        }
        if self.listeners.can_accept() {
            self.accept();
        }
        if self.timers.is_armed() {
            self.expire_timers();
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

    fn update_times(&mut self, events: &Events) {
        if self.timers.is_armed() {
            self.context.now = self.timers.update_clock();
        }
        if self.follows_activity && !events.is_empty() {
            self.record_activity();
        }
    }

    fn record_activity(&mut self) {
        if let Some((_, last_event)) = &mut self.busy_poll {
            *last_event = Instant::now();
        }
        if self.observer.is_some() {
            self.timers.arm_progress();
        }
    }

    fn dispatch(&mut self, event: &Event) {
        match event.token().into() {
            EventSource::Connection(key) => self.on_connection_event(key, event),
            EventSource::Listener(i) => self.listeners.mark_ready(i),
            EventSource::Waker => self.control.on_waker(),
            EventSource::Signals => self.control.on_signals(),
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
            Outcome::Blocked => self.arm_send(key),
            Outcome::Reschedule => self.connections.schedule(key),
            Outcome::Linger => {
                self.arm_linger(key);
                self.connections.schedule(key);
            }
            Outcome::Admit => self.admit(key),
            Outcome::Close(closed) => self.close(key, &closed),
        }
    }

    fn arm_linger(&mut self, key: usize) {
        if let Some(id) = self.connections.id(key) {
            self.timers.arm_linger(id);
        }
    }

    fn arm_send(&mut self, key: usize) {
        if let Some(now) = self.timers.arm_send(key)
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.begin_blocked(now);
        }
    }

    pub(super) fn accept(&mut self) {
        for _ in 0..MAX_ACCEPTS_PER_RUN {
            if let Some(limit) = self.limits.limit_reached(self.connections.len()) {
                // No timer is armed: a close ends this pause.
                let cause = format_args!("connection limit {limit} reached");
                return self.listeners.pause_if_pending(&cause);
            }
            if !self.listeners.can_accept() {
                return;
            }
            match self.listeners.accept() {
                Accepted::Connection(stream, peer, support) => self.open(stream, peer, support),
                Accepted::ConnectionError(e) => {
                    record!(records::AbortedBeforeAccept { error: &e });
                }
                Accepted::Exhausted => self.timers.arm_retry_accept(),
                Accepted::WouldBlock => {}
            }
        }
    }

    fn open(&mut self, stream: TcpStream, peer: SocketAddr, support: Support) {
        if !self.proxy_protocol && !self.limits.try_acquire(peer) {
            return;
        }
        let key = self.connections.vacant_key();
        let now = self.timers.arm_idle(key);
        let accepted_at = self.timers.clock().nanos();
        let mut connection = Connection::new(stream, peer, accepted_at, now);
        connection.socket.set_support(support);
        if self.proxy_protocol {
            connection.await_header();
        }
        if let Err(e) = self.connections.insert(self.poll.registry(), connection) {
            record!(records::CannotRegister { peer, error: &e });
            if !self.proxy_protocol {
                self.limits.release(peer);
            }
            return;
        }
        self.context.open = self.connections.len();
        if self.proxy_protocol {
            self.timers.arm_header(key);
        } else {
            self.connections.admit(key);
        }
    }

    /// Lets a connection begin after its PROXY header, or refuses it.
    fn admit(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if self.limits.try_acquire(connection.peer) {
            self.connections.admit(key);
            self.connections.schedule(key); // Lines may follow the header.
        } else {
            drop(self.connections.take(self.poll.registry(), key));
            self.on_closed();
        }
    }

    fn close(&mut self, key: usize, closed: &Closed) {
        let now = self.timers.clock().nanos();
        let registry = self.poll.registry();
        let removed = self.connections.remove(registry, key, closed, now);
        self.context.headers.forget(removed.accepted_at);
        if removed.admitted {
            self.limits.release(removed.peer);
        }
        self.on_closed();
    }

    /// Does what is due after each close.
    fn on_closed(&mut self) {
        self.context.open = self.connections.len();
        self.listeners.resume(); // A file descriptor is free again.
        if self.observer.is_some() {
            self.timers.arm_progress(); // A timer closes connections without an event.
        }
        self.stop_if_drained();
    }

    /// Closes a connection that has run out of time.
    pub(super) fn abort(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            let closed = connection.closed(CloseCause::Local(LocalClose::Shutdown));
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
                Timer::Linger(id) => self.expire_linger(id),
                Timer::Header(key) => self.expire_header(key),
                Timer::Idle(key) => self.expire_idle(key),
                Timer::Send(key) => self.expire_send(key),
                Timer::Leave => self.on_left(),
                Timer::DrainTimeout if self.control.phase.is_running() => {
                    self.control.phase = Phase::Stopped;
                }
                Timer::DrainTimeout => {} // Aborted in the same run.
                Timer::Progress => self.observe_progress(),
                Timer::Heartbeat => self.observe_heartbeat(),
            }
        }
    }

    /// Closes a connection that has lingered long enough, unless it has closed since.
    fn expire_linger(&mut self, id: ConnectionId) {
        if let Some(key) = self.connections.key(id) {
            self.abort(key);
        }
    }

    /// Ends a connection that still awaits its PROXY header, unless the rest has arrived.
    fn expire_header(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.awaits_header()
            && self.timers.rearm_header(key, connection.accepted_at)
        {
            connection.begin_close(LocalClose::ProxyHeader(HeaderError::Timeout));
            self.connections.schedule(key);
        }
    }

    fn expire_idle(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let idle_for = connection.idle_for(self.context.now);
        if self.timers.rearm_idle(key, idle_for) {
            connection.begin_close(LocalClose::IdleTimeout);
            self.connections.schedule(key);
        }
    }

    /// Closes a connection whose peer has taken nothing for too long.
    fn expire_send(&mut self, key: usize) {
        let now = self.context.now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(blocked_for) = connection.blocked_for(now)
            && self.timers.rearm_send(key, blocked_for)
        {
            let closed = connection.closed(CloseCause::SendTimeout(None));
            self.close(key, &closed);
        }
    }
}
