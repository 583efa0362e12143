//! `--metrics`: the totals over HTTP, and probes, served by a thread of their own.
//!
//! The thread waits in poll(2) for all its sockets and for the loop's answer, so neither
//! a slow scraper nor a stuck loop delays another exchange.
//! It has at most [`MAX_EXCHANGES`] connections, and a new one replaces the oldest, so
//! idle ones keep no scrape out. It asks the loop for its totals at most ten times a
//! second, however many requests come.
//!
//! The thread logs nothing: the check that stdout is writable holds for one thread
//! only. It ends with the process.
//!
//! `tiny_http` is not used, as it starts a thread per connection, without a limit or a
//! timeout.

mod accept;
mod exchange;
mod exposition;
mod http;
mod response;
mod source;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use echoline::{Handle, HostPort, record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use exchange::Exchange;
use source::Source;

use crate::records;

/// Connections at a time. The file descriptors that the library keeps free suffice for
/// them.
const MAX_EXCHANGES: usize = 8;

/// The wait after an accept that failed: poll would report the same connection at once.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

const BACKLOG: i32 = 128;

/// The listeners for scrapes.
pub struct Metrics {
    listeners: Vec<TcpListener>,
    /// Carries the news that the loop has answered.
    wake: (PipeReader, PipeWriter),
}

impl Metrics {
    /// Binds all addresses that `addr` stands for, without those of a family that the
    /// machine lacks.
    ///
    /// To be called before the server is bound: the limit on connections takes
    /// the descriptors into account that are open then.
    ///
    /// # Errors
    ///
    /// If the name does not resolve, or an address cannot be bound; the text says which
    /// and why.
    pub fn bind(addr: &HostPort) -> io::Result<Metrics> {
        let cannot_serve =
            |e: io::Error| io::Error::new(e.kind(), format!("cannot serve metrics on {addr}: {e}"));
        let addrs = addr.resolve().map_err(cannot_serve)?;
        Ok(Metrics {
            listeners: echoline::listen_on(&addrs, "serve metrics on", BACKLOG)?,
            wake: io::pipe().map_err(cannot_serve)?,
        })
    }

    /// Starts the thread, which asks `server` for its totals.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn serve(self, server: Handle) -> io::Result<()> {
        for listener in &self.listeners {
            let addr = listener.local_addr()?;
            record!(records::MetricsListening { addr });
        }
        let source = Source::new(server, self.wake);
        thread::Builder::new()
            .name("metrics".to_string())
            .spawn(move || run(&self.listeners, source))
            .map_err(|e| io::Error::new(e.kind(), format!("cannot serve metrics: {e}")))?;
        Ok(())
    }
}

fn run(listeners: &[TcpListener], mut source: Source) -> ! {
    // The oldest first.
    let mut exchanges = VecDeque::new();
    loop {
        let ready = wait(listeners, &source, &exchanges);
        let (ready_listeners, ready) = ready.split_at(listeners.len());
        if ready[0] {
            source.receive();
        }
        let mut ready = ready[1..].iter();
        exchanges.retain_mut(|exchange: &mut Exchange| {
            exchange.advance(ready.next() == Some(&true), &mut source)
        });
        for (listener, _) in listeners
            .iter()
            .zip(ready_listeners)
            .filter(|(_, ready)| **ready)
        {
            accept(listener, &mut exchanges);
        }
    }
}

/// Waits for events. Returns what has one: the listeners, then the source, then the
/// exchanges.
fn wait(listeners: &[TcpListener], source: &Source, exchanges: &VecDeque<Exchange>) -> Vec<bool> {
    let accepting = listeners
        .iter()
        .map(|listener| PollFd::new(listener, PollFlags::IN));
    let exchanging = exchanges.iter().map(Exchange::poll_fd);
    let mut fds: Vec<PollFd<'_>> = accepting
        .chain([source.poll_fd()])
        .chain(exchanging)
        .collect();
    let timeout = exchanges.iter().map(Exchange::time_left).min();
    let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
    // Without an event, as after a signal, all are false.
    let _ = poll(&mut fds, timeout.as_ref());
    fds.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// Accepts one connection. It replaces the oldest if there are too many.
fn accept(listener: &TcpListener, exchanges: &mut VecDeque<Exchange>) {
    if exchanges.len() == MAX_EXCHANGES {
        exchanges.pop_front();
    }
    match listener
        .accept()
        .and_then(|(stream, _)| Exchange::new(stream))
    {
        Ok(exchange) => exchanges.push_back(exchange),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(_) => thread::sleep(ACCEPT_RETRY_DELAY),
    }
}
