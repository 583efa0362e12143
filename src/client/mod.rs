//! A client that checks a line echo: whether lines come back right, how fast, and in
//! how many segments.
//!
//! It can be pointed at any server that echoes lines. [`Client::new`], then
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
//! let statistics = Client::new(&[addr], options)?.run(|event| println!("{event:?}"))?;
//! assert_eq!((statistics.sent, statistics.echoed), (10, 10));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # How it works
//!
//! As the server does: one mio loop, in which every step is a state of a connection, from
//! the connect to the last FIN, and every step is bounded in work, memory and time. So a
//! signal or the deadline acts at once, whatever the server does.
//!
//! The loop (`run`) has a run queue and a budget of lines per turn. A connection (`session`)
//! is one enum over a socket; it asks a `schedule` when to send, cuts what it reads into
//! lines (`input`), and has them compared (`verifier`) with those that are outstanding
//! (`lines`), by the number that stands in each (`pattern`). All but the first two are pure.

mod close;
mod distribution;
mod event;
mod input;
mod lines;
mod options;
mod pattern;
mod proxy_header;
mod run;
mod schedule;
mod session;
mod statistics;
mod verifier;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use mio::Poll;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::signals::Signals;

use run::{Run, SIGNALS};
use session::Shared;

pub use close::{Close, Closes, Ending, Failure};
pub use distribution::{Distribution, Tally};
pub use event::Event;
pub use options::{Options, Prefix};
pub use proxy_header::{ProxyHeader, ProxyVersion};
pub use statistics::{PrefixCounts, RoundTrips, Statistics};
pub use verifier::Fault;

/// Input is read in pieces of this length.
const READ_BUFFER_LEN: usize = 64 * 1024;

/// A client that is ready to connect.
pub struct Client {
    poll: Poll,
    addrs: Vec<SocketAddr>,
    options: Options,
    signals: Option<Signals>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("addrs", &self.addrs)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the first of `addrs` that accepts. All connections go to the same
    /// address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if an option is out of range, there is no address, or one is not of
    /// the family of [`Options::proxy_header`]; or if there cannot be a poll instance.
    pub fn new(addrs: &[SocketAddr], options: Options) -> io::Result<Client> {
        options.validate()?;
        if addrs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address"));
        }
        let header = options.proxy_header;
        if header.is_some_and(|header| addrs.iter().any(|addr| !header.fits(*addr))) {
            let why = "the server and the client of proxy_header are of different families";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Client {
            poll: Poll::new()?,
            addrs: addrs.to_vec(),
            options,
            signals: None,
        })
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

    /// Connects, sends lines and checks their echoes until all connections have ended;
    /// `report` gets the events.
    ///
    /// # Errors
    ///
    /// That of the last address if the first connection cannot be established, and
    /// `Interrupted` if the client is stopped before; `Unsupported` if segments are expected
    /// and the kernel does not count them; else if polling fails.
    pub fn run(self, mut report: impl FnMut(Event)) -> io::Result<Statistics> {
        let mut statistics = Statistics::new();
        let mut shared = Shared {
            options: &self.options,
            statistics: &mut statistics,
            report: &mut report,
            buffer: vec![0; READ_BUFFER_LEN],
            stopping: false,
            holding: self.options.side_by_side,
            budget: 0,
        };
        Run::start(self.poll, self.signals, &self.addrs, &self.options)?.run(&mut shared)?;
        Ok(statistics)
    }
}
