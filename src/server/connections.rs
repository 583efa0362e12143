//! The open connections: the slab, the run queue, the only insert and the only
//! remove.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::event::Event;
use mio::{Interest, Registry};
use slab::Slab;

use crate::clock::Nanos;
use crate::record;
use crate::records;
use crate::server::MAPPED_LEN;
use crate::server::connection::Connection;
use crate::server::connection::message_log::log_connected;
use crate::server::connection::reason::{CloseCause, Closed, LocalClose};
use crate::server::log_limit::LogLimit;
use crate::server::token::EventSource;
use crate::stats::{ConnectionStats, Totals};

/// Bytes allocated at the start for what has an entry per slot. What grew in the heap would
/// lie between the buffers of the connections, and keep the allocator from returning their
/// memory.
const INITIAL_BYTES: usize = MAPPED_LEN;

/// Entries of the run queue allocated at the start. Its ring buffer touches all of
/// them in time, so it is small; it grows when more connections are scheduled.
const INITIAL_RUN_QUEUE: usize = 1024;

/// A connection and no other, past ones included: its slab key, and the nanosecond of its
/// accept, as no two accepts have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    key: usize,
    accepted_at: Nanos,
}

#[cfg(test)]
impl ConnectionId {
    pub fn of(key: usize, accepted_at: Nanos) -> ConnectionId {
        ConnectionId { key, accepted_at }
    }
}

/// The open connections of a server. A connection's slab key is its token.
pub(crate) struct Connections {
    slab: Slab<Connection>,
    /// Connections to run without an event: most have used up their budget, and no
    /// event will report what they have left to read or write.
    run_queue: VecDeque<usize>,
    /// By key: whether the connection is in the run queue.
    scheduled: Vec<bool>,
    /// Whether to log connections without a byte at info level.
    log_empty: bool,
    /// For the warnings of connections without a PROXY header.
    log_limit: LogLimit,
    /// What the closed connections did.
    totals: Totals,
}

/// What others keep for a connection that was removed, for them to give back.
#[derive(Debug)]
pub(crate) struct Removed {
    pub peer: SocketAddr,
    /// Its place under the limit of its address was taken.
    pub admitted: bool,
    pub accepted_at: Nanos,
}

impl From<&Connection> for Removed {
    fn from(connection: &Connection) -> Removed {
        Removed {
            peer: connection.peer,
            admitted: connection.admitted,
            accepted_at: connection.accepted_at,
        }
    }
}

impl Connections {
    pub fn new(log_empty: bool) -> Connections {
        Connections {
            slab: Slab::with_capacity(INITIAL_BYTES / size_of::<Connection>()),
            run_queue: VecDeque::with_capacity(INITIAL_RUN_QUEUE),
            scheduled: Vec::with_capacity(INITIAL_BYTES),
            log_empty,
            log_limit: LogLimit::default(),
            totals: Totals::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut Connection> {
        self.slab.get_mut(key)
    }

    /// The connection with this key, for later.
    pub fn id(&self, key: usize) -> Option<ConnectionId> {
        let accepted_at = self.slab.get(key)?.accepted_at;
        Some(ConnectionId { key, accepted_at })
    }

    /// The key of a connection, if it is still open.
    pub fn key(&self, id: ConnectionId) -> Option<usize> {
        (self.id(id.key)? == id).then_some(id.key)
    }

    /// The key that the next connection gets.
    pub fn vacant_key(&self) -> usize {
        self.slab.vacant_key()
    }

    /// Registers the stream of `connection` for both directions, once and for good (no
    /// `epoll_ctl` per line), then inserts the connection under [`vacant_key`].
    ///
    /// # Errors
    ///
    /// If `registry` does not take the stream.
    ///
    /// [`vacant_key`]: Self::vacant_key
    pub fn insert(&mut self, registry: &Registry, mut connection: Connection) -> io::Result<()> {
        let entry = self.slab.vacant_entry();
        let key = entry.key();
        let stream = connection.socket.stream_mut();
        registry.register(stream, EventSource::Connection(key).into(), interests())?;
        entry.insert(connection);
        if self.scheduled.len() <= key {
            self.scheduled.resize(key + 1, false);
        }
        Ok(())
    }

    /// Admits a connection of a known peer, with an acquired place under the limit of its
    /// address, and logs it.
    pub fn admit(&mut self, key: usize) {
        let open = self.slab.len();
        let connection = &mut self.slab[key];
        connection.admitted = true;
        if self.log_empty {
            log_connected(connection.peer, open);
        }
    }

    /// Deregisters, closes, counts and logs a connection.
    ///
    /// # Panics
    ///
    /// If there is no connection with this key.
    pub fn remove(
        &mut self,
        registry: &Registry,
        key: usize,
        closed: &Closed,
        now: Nanos,
    ) -> Removed {
        let connection = self.take(registry, key);
        let removed = Removed::from(&connection);
        let peer = removed.peer;
        let is_empty = !connection.has_received();
        let stats = ConnectionStats {
            segments: closed.segments,
            ..connection.stats(now)
        };
        drop(connection);
        self.totals.add(&stats);
        self.totals.empty += u64::from(is_empty);
        self.totals.closes.count(closed.cause.reason());
        if let CloseCause::Local(LocalClose::ProxyHeader(error)) = &closed.cause
            && let Some(others) = self.log_limit.check(Instant::now())
        {
            record!(records::NoHeader {
                peer,
                error,
                others
            });
        }
        let (cause, stats) = (&closed.cause, &stats);
        if is_empty && !self.log_empty {
            record!(records::ClosedEmpty { peer, cause, stats });
        } else {
            record!(records::Closed { peer, cause, stats });
        }
        removed
    }

    /// Deregisters a connection and takes it out.
    ///
    /// # Panics
    ///
    /// If there is no connection with this key.
    pub fn take(&mut self, registry: &Registry, key: usize) -> Connection {
        let mut connection = self.slab.remove(key);
        if let Err(error) = registry.deregister(connection.socket.stream_mut()) {
            let (peer, error) = (connection.peer, &error);
            record!(records::CannotDeregister { peer, error });
        }
        connection
    }

    /// Appends a connection to the run queue, once.
    pub fn schedule(&mut self, key: usize) {
        if !std::mem::replace(&mut self.scheduled[key], true) {
            self.run_queue.push_back(key);
        }
    }

    /// The length of the run queue.
    pub fn scheduled(&self) -> usize {
        self.run_queue.len()
    }

    /// Takes the first connection out of the run queue, if it is still open.
    pub fn next_scheduled(&mut self) -> Option<(usize, &mut Connection)> {
        let key = self.run_queue.pop_front()?;
        self.scheduled[key] = false;
        Some((key, self.slab.get_mut(key)?))
    }

    /// Records an event. Returns the connection if it is to run now: not if it was
    /// closed earlier in the batch, and not if it is scheduled, as a connection runs
    /// once per run of the loop.
    pub fn record_event(&mut self, key: usize, event: &Event) -> Option<&mut Connection> {
        let connection = self.slab.get_mut(key)?;
        record!(records::ConnectionEvent {
            peer: connection.peer,
            event
        });
        connection.socket.update_readiness(event.into());
        let is_scheduled = !self.run_queue.is_empty() && self.scheduled[key];
        (!is_scheduled).then_some(connection)
    }

    /// What all connections did, closed ones and open ones.
    pub fn totals(&self, now: Nanos) -> Totals {
        let open = self.slab.len();
        let mut totals = Totals {
            accepted: open as u64 + self.totals.closes.total(),
            open,
            ..self.totals
        };
        for (_, connection) in &self.slab {
            totals.add(&connection.stats(now));
        }
        totals
    }
}

/// Both directions, and urgent data where the selector reports it.
fn interests() -> Interest {
    let interests = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interests = interests | Interest::PRIORITY;
    interests
}
