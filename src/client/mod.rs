//! A client that checks a line echo: whether lines come back right, how fast, and in
//! how many segments.
//!
//! It can be pointed at any server that echoes lines. [`Client::connect`], then
//! [`Client::run`]:
//!
//! ```
//! use echoline::client::{Client, Options};
//!
//! # let echo = echoline::testing::Echo::start();
//! # let addr = echo.addr();
//! let mut options = Options::default();
//! options.count = Some(10);
//! options.interval = std::time::Duration::ZERO;
//! let statistics = Client::connect(&[addr], options)?.run(|event| println!("{event:?}"))?;
//! assert_eq!((statistics.sent, statistics.echoed), (10, 10));
//! # Ok::<(), std::io::Error>(())
//! ```

mod event;
mod options;
mod pattern;
mod session;
mod statistics;
mod verifier;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::with_context;
use crate::signals::Signals;

use session::{Session, Shared};

pub use event::Event;
pub use options::{Options, Prefix};
pub use statistics::{Close, Closes, PrefixCounts, RoundTrips, Statistics};
pub use verifier::Fault;

/// Events taken per poll.
const EVENT_CAPACITY: usize = 1024;

/// Input is read in pieces of this length.
const READ_BUFFER_LEN: usize = 64 * 1024;

/// Above all session numbers.
const SIGNALS: Token = Token(usize::MAX);

/// A connected client.
pub struct Client {
    poll: Poll,
    addr: SocketAddr,
    options: Options,
    sessions: BTreeMap<u64, Session>,
    /// Connections opened so far, failed ones included.
    opened: u64,
    deadline: Option<Instant>,
    signals: Option<Signals>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("addr", &self.addr)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the first of `addrs` that accepts. Further connections go to the
    /// same address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if an option is out of range; `Unsupported` if segments are expected
    /// and the kernel does not count them; else that of the last address.
    pub fn connect(addrs: &[SocketAddr], options: Options) -> io::Result<Client> {
        options.validate()?;
        let mut last_error = io::Error::new(io::ErrorKind::InvalidInput, "no address");
        for &addr in addrs {
            match Session::connect(addr, 1, &options) {
                Ok(first) if options.expected_segments.is_some() && !first.counts_segments() => {
                    let why = "cannot count packets: the kernel does not (TCP_INFO)";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                }
                Ok(first) => return Client::new(addr, first, options),
                Err(e) => last_error = with_context(&e, format_args!("cannot connect to {addr}")),
            }
        }
        Err(last_error)
    }

    fn new(addr: SocketAddr, first: Session, options: Options) -> io::Result<Client> {
        let mut client = Client {
            poll: Poll::new()?,
            addr,
            deadline: options.deadline.map(|after| Instant::now() + after),
            options,
            sessions: BTreeMap::new(),
            opened: 0,
            signals: None,
        };
        client.add(first)?;
        Ok(client)
    }

    /// The address that the client is connected to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets SIGINT and SIGTERM stop the client as its deadline does; a second signal
    /// stops it at once. The handlers belong to the process, and the signals are unblocked
    /// in the calling thread.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        let signals = Signals::register(&[SIGINT, SIGTERM], self.poll.registry(), SIGNALS)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Sends lines and checks their echoes until all connections have ended; `report`
    /// gets the events.
    ///
    /// # Errors
    ///
    /// If polling fails.
    pub fn run(mut self, mut report: impl FnMut(Event)) -> io::Result<Statistics> {
        let mut statistics = Statistics::new();
        statistics.connections = 1;
        let options = self.options.clone();
        let mut shared = Shared {
            options: &options,
            statistics: &mut statistics,
            report: &mut report,
            buffer: vec![0; READ_BUFFER_LEN],
            stopping: false,
        };
        while options.side_by_side && self.opened < options.connections {
            self.open_next(&mut shared)?;
        }
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        let mut next_timeout = Instant::now();
        while !self.sessions.is_empty() {
            let timeout = next_timeout.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => result?,
            }
            for event in &events {
                self.dispatch(event, &mut shared)?;
            }
            if Instant::now() >= next_timeout {
                self.run_all(&mut shared)?;
            }
            next_timeout = self.next_timeout(&shared);
        }
        Ok(statistics)
    }
}

impl Client {
    /// Opens one more connection; a failure counts as a failed connection.
    fn open_next(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        let number = self.opened + 1;
        if let Ok(session) = Session::connect(self.addr, number, &self.options) {
            shared.statistics.connections += 1;
            return self.add(session);
        }
        self.opened = number;
        shared.statistics.record_close(Close::Failed);
        let close = Close::Failed;
        (shared.report)(Event::Closed {
            connection: number,
            close,
        });
        Ok(())
    }

    fn add(&mut self, mut session: Session) -> io::Result<()> {
        self.opened += 1;
        let token = Token(usize::try_from(self.opened).unwrap_or(usize::MAX));
        let interests = Interest::READABLE | Interest::WRITABLE;
        let stream = session.socket.stream_mut();
        self.poll.registry().register(stream, token, interests)?;
        self.sessions.insert(self.opened, session);
        Ok(())
    }

    fn dispatch(&mut self, event: &mio::event::Event, shared: &mut Shared<'_>) -> io::Result<()> {
        if event.token() == SIGNALS {
            return self.on_signals(shared);
        }
        let number = event.token().0 as u64;
        if let Some(session) = self.sessions.get_mut(&number) {
            session.socket.update_readiness(event.into());
            self.run_session(number, shared)?;
        }
        Ok(())
    }

    /// Runs all sessions, as a timeout is due.
    fn run_all(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        let overdue = |deadline| Instant::now() >= deadline;
        shared.stopping |= self.deadline.is_some_and(overdue);
        for number in self.numbers() {
            self.run_session(number, shared)?;
        }
        Ok(())
    }

    fn run_session(&mut self, number: u64, shared: &mut Shared<'_>) -> io::Result<()> {
        let Some(session) = self.sessions.get_mut(&number) else {
            return Ok(());
        };
        if !session.run(shared) {
            return Ok(());
        }
        self.sessions.remove(&number);
        let in_turn = !self.options.side_by_side && !shared.stopping;
        while in_turn && self.sessions.is_empty() && self.opened < self.options.connections {
            self.open_next(shared)?;
        }
        Ok(())
    }

    fn on_signals(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        let mut signals = self.signals.iter_mut();
        if signals.all(|signals| signals.take().count() == 0) {
            return Ok(());
        }
        if std::mem::replace(&mut shared.stopping, true) {
            self.sessions.clear();
        }
        self.run_all(shared)
    }

    fn numbers(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }

    /// When a session or the deadline is due next.
    fn next_timeout(&self, shared: &Shared<'_>) -> Instant {
        let sessions = self.sessions.values();
        let next = sessions.map(|session| session.next_timeout(&self.options));
        let deadline = self.deadline.filter(|_| !shared.stopping);
        let far = Instant::now() + Duration::from_hours(1);
        next.chain(deadline).min().unwrap_or(far)
    }
}
