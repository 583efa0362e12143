//! The loop of a client: what drives its sessions.
//!
//! One turn: poll -> events -> signals and the deadline -> timeouts -> new connections ->
//! sessions that can do something. All of these only wake sessions; the last runs them, each
//! once, within a budget of lines. What does not fit into it, and sessions that have more to
//! do, wait for the next turn, before which poll does not block. So a turn takes a bounded
//! time whatever the servers send, and signals and the deadline wait for one turn at most.
//!
//! The number of a connection is its token. Numbers are not used again, so that an event
//! cannot meet another connection than its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::client::close::{Close, Ending, Failure};
use crate::client::event::Event;
use crate::client::options::Options;
use crate::client::schedule::Connector;
use crate::client::session::{MAX_LINES_PER_RUN, Outcome, Session, Shared};
use crate::error::with_context;
use crate::net::options::Support;
use crate::net::socket::Socket;
use crate::signals::Signals;

/// Events taken per poll.
const EVENT_CAPACITY: usize = 1024;

/// Lines that are judged or given up per turn.
const MAX_LINES_PER_TURN: usize = 4 * MAX_LINES_PER_RUN;

/// Connections that are opened per turn.
const MAX_CONNECTS_PER_TURN: usize = 64;

/// Above all numbers of connections.
pub(crate) const SIGNALS: Token = Token(usize::MAX);

/// A session, and what the loop knows about it.
struct Entry {
    session: Session,
    /// It waits in the run queue.
    queued: bool,
    /// When its timer fires, at the latest when the session is due. It may be earlier: then
    /// it is set again.
    timer: Option<Instant>,
}

/// How far a run has come.
#[derive(PartialEq, Eq)]
enum Phase {
    /// No connection has been established.
    Starting,
    Running,
    /// The deadline has passed or a signal has come: what is outstanding is awaited.
    Stopping,
    /// A second signal has come.
    Aborted,
}

/// A running client.
pub(crate) struct Run<'a> {
    poll: Poll,
    signals: Option<Signals>,
    options: &'a Options,
    /// Addresses that have not been tried, the next one last.
    addrs: Vec<SocketAddr>,
    /// The address that is connected to.
    addr: SocketAddr,
    sessions: BTreeMap<u64, Entry>,
    queue: VecDeque<u64>,
    /// At most one per session.
    timers: BTreeSet<(Instant, u64)>,
    connector: Connector,
    deadline: Option<Instant>,
    phase: Phase,
    is_connected: bool,
    /// Sessions that are not connected yet.
    connecting: usize,
    /// Connections side by side send nothing until all are established, or have failed.
    holding: bool,
}

impl<'a> Run<'a> {
    /// Begins to connect to the first of `addrs`.
    ///
    /// # Errors
    ///
    /// If none can be connected to.
    pub fn start(
        poll: Poll,
        signals: Option<Signals>,
        addrs: &[SocketAddr],
        options: &'a Options,
    ) -> io::Result<Run<'a>> {
        let now = Instant::now();
        let mut addrs: Vec<_> = addrs.iter().rev().copied().collect();
        let no_address = || io::Error::new(ErrorKind::InvalidInput, "no address");
        let addr = addrs.pop().ok_or_else(no_address)?;
        let mut run = Run {
            poll,
            signals,
            options,
            addrs,
            addr,
            sessions: BTreeMap::new(),
            queue: VecDeque::new(),
            timers: BTreeSet::new(),
            connector: Connector::new(options, now),
            deadline: options.deadline.map(|after| now + after),
            phase: Phase::Starting,
            is_connected: false,
            connecting: 0,
            holding: options.side_by_side,
        };
        if let Err(e) = run.open(1) {
            run.try_next_addr(&e)?;
        }
        Ok(run)
    }

    /// Runs until all connections have ended.
    ///
    /// # Errors
    ///
    /// If polling fails, or if the first connection cannot be established.
    pub fn run(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        while self.phase != Phase::Aborted && self.has_more() {
            self.turn(&mut events, shared)?;
        }
        if self.is_connected {
            return Ok(());
        }
        let what = "stopped before a connection was established";
        Err(io::Error::new(ErrorKind::Interrupted, what))
    }

    fn has_more(&self) -> bool {
        let is_stopping = self.phase == Phase::Stopping;
        !self.sessions.is_empty() || !is_stopping && self.connector.due(0).is_some()
    }

    fn turn(&mut self, events: &mut Events, shared: &mut Shared<'_>) -> io::Result<()> {
        let timeout = self
            .next_timer()
            .map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        let mut signalled = false;
        for event in &*events {
            if event.token() == SIGNALS {
                signalled = true;
            } else if let Some(entry) = self.sessions.get_mut(&(event.token().0 as u64)) {
                entry.session.socket_mut().update_readiness(event.into());
                self.wake(event.token().0 as u64);
            }
        }
        let now = Instant::now();
        if signalled {
            self.on_signals(shared);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.stop(shared);
        }
        self.wake_overdue(now);
        self.open_due(now, shared);
        self.run_woken(shared)?;
        self.release(shared);
        Ok(())
    }

    /// When there is something to do without an event: at once if a session waits for its
    /// run.
    fn next_timer(&self) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(Instant::now());
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let goes_on = self.phase != Phase::Stopping;
        let connect = self.connector.due(self.sessions.len());
        let connect = connect.filter(|_| self.phase == Phase::Running);
        let deadline = self.deadline.filter(|_| goes_on);
        timer.into_iter().chain(connect).chain(deadline).min()
    }

    fn on_signals(&mut self, shared: &mut Shared<'_>) {
        let signals = self.signals.iter_mut().flat_map(Signals::take).count();
        if signals == 0 {
            return;
        }
        if self.phase == Phase::Stopping {
            self.phase = Phase::Aborted;
            self.sessions.clear();
        } else {
            self.stop(shared);
        }
    }

    /// Lets all sessions end when their outstanding echoes have come.
    fn stop(&mut self, shared: &mut Shared<'_>) {
        if matches!(self.phase, Phase::Stopping | Phase::Aborted) {
            return;
        }
        self.phase = Phase::Stopping;
        shared.stopping = true;
        self.wake_all();
    }

    /// Lets connections send when all are established.
    fn release(&mut self, shared: &mut Shared<'_>) {
        let is_opening = self.connecting > 0 || self.connector.due(self.sessions.len()).is_some();
        if self.holding && !is_opening {
            self.holding = false;
            shared.holding = false;
            self.wake_all();
        }
    }

    fn wake_all(&mut self) {
        let numbers: Vec<u64> = self.sessions.keys().copied().collect();
        for number in numbers {
            self.wake(number);
        }
    }

    /// Lets a session run in this turn.
    fn wake(&mut self, number: u64) {
        if let Some(entry) = self.sessions.get_mut(&number)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.queue.push_back(number);
        }
    }

    fn wake_overdue(&mut self, now: Instant) {
        while let Some(&(at, number)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(entry) = self.sessions.get_mut(&number) {
                entry.timer = None;
            }
            self.wake(number);
        }
    }

    /// Opens the connections that are due. One that fails is counted.
    fn open_due(&mut self, now: Instant, shared: &mut Shared<'_>) {
        for _ in 0..MAX_CONNECTS_PER_TURN {
            if self.phase != Phase::Running {
                return;
            }
            let open = self.sessions.len();
            let Some(number) = self.connector.next(now, open) else {
                return;
            };
            if let Err(e) = self.open(number) {
                self.record_not_connected(number, &e, now, shared);
            }
        }
    }

    /// Begins to connect.
    fn open(&mut self, number: u64) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        let token = Token(usize::try_from(number).unwrap_or(usize::MAX - 1));
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interests)?;
        let support = Support::of(&SockRef::from(&stream));
        let mut socket = Socket::new(stream);
        socket.set_support(support);
        let session = Session::new(socket, self.addr, number, self.options);
        let entry = Entry {
            session,
            queued: false,
            timer: None,
        };
        self.sessions.insert(number, entry);
        self.connecting += 1;
        self.set_timer(number);
        Ok(())
    }

    /// The first connection goes to the next address.
    ///
    /// # Errors
    ///
    /// That of the last address.
    fn try_next_addr(&mut self, error: &io::Error) -> io::Result<()> {
        let mut error = with_context(error, format_args!("cannot connect to {}", self.addr));
        while let Some(addr) = self.addrs.pop() {
            self.addr = addr;
            match self.open(1) {
                Ok(()) => return Ok(()),
                Err(e) => error = with_context(&e, format_args!("cannot connect to {addr}")),
            }
        }
        Err(error)
    }

    /// Runs sessions until none is left in the queue that was there at first, or the budget
    /// is used up.
    fn run_woken(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        shared.budget = MAX_LINES_PER_TURN;
        for _ in 0..self.queue.len() {
            if shared.budget == 0 {
                break;
            }
            let Some(number) = self.queue.pop_front() else {
                break;
            };
            self.run_session(number, shared)?;
        }
        Ok(())
    }

    fn run_session(&mut self, number: u64, shared: &mut Shared<'_>) -> io::Result<()> {
        let Some(entry) = self.sessions.get_mut(&number) else {
            return Ok(());
        };
        entry.queued = false;
        let was_connecting = entry.session.is_connecting();
        let outcome = entry.session.run(shared);
        // One that ends before it is established stays in this state.
        let has_ended = !matches!(outcome, Outcome::Wait | Outcome::Again);
        if was_connecting && (has_ended || !entry.session.is_connecting()) {
            self.connecting -= 1;
        }
        if shared.statistics.connections > 0 && self.phase == Phase::Starting {
            self.phase = Phase::Running;
            self.is_connected = true;
        }
        match outcome {
            Outcome::Wait => self.set_timer(number),
            Outcome::Again => self.wake(number),
            Outcome::Closed => {
                if let Some(session) = self.remove(number) {
                    self.connector.set_due(session.after_last());
                }
            }
            Outcome::Abandoned => drop(self.remove(number)),
            Outcome::NotConnected(e) => {
                self.remove(number);
                if self.is_connected {
                    self.record_not_connected(number, &e, Instant::now(), shared);
                } else if self.phase == Phase::Starting {
                    self.try_next_addr(&e)?;
                }
            }
            Outcome::Uncounted => {
                let why = "cannot count packets: the kernel does not (TCP_INFO)";
                return Err(io::Error::new(ErrorKind::Unsupported, why));
            }
        }
        Ok(())
    }

    /// The only end of a session, but for a second signal.
    fn remove(&mut self, number: u64) -> Option<Session> {
        let entry = self.sessions.remove(&number)?;
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, number));
        }
        Some(entry.session)
    }

    /// Counts a connection that was not established; the next in turn is due an interval
    /// later.
    fn record_not_connected(
        &mut self,
        connection: u64,
        error: &io::Error,
        now: Instant,
        shared: &mut Shared<'_>,
    ) {
        self.connector.set_due(now + self.options.interval);
        let ending = Ending {
            close: Close::Failed(Failure::of_connect(error)),
            last_line: 0,
            outstanding: 0,
        };
        shared.statistics.record_ending(ending);
        (shared.report)(Event::Closed { connection, ending });
    }

    /// Sets the session's timer, unless it fires before the session is due anyway.
    fn set_timer(&mut self, number: u64) {
        let sends = self.phase != Phase::Stopping && !self.holding;
        let Some(entry) = self.sessions.get_mut(&number) else {
            return;
        };
        let due = entry.session.due(self.options, sends);
        let Some(due) = due.filter(|due| entry.timer.is_none_or(|timer| timer > *due)) else {
            return;
        };
        if let Some(old) = entry.timer.replace(due) {
            self.timers.remove(&(old, number));
        }
        self.timers.insert((due, number));
    }
}
