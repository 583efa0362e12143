//! The server: its parts and its public interface.

mod connection;
mod connections;
mod control;
mod descriptors;
mod drain;
mod event_loop;
mod handle;
mod limits;
mod listeners;
mod log_limit;
mod observer;
mod timers;
mod token;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::config::{Config, MAX_PREFIX_LEN};
use crate::error::{RunError, with_context};
use crate::net::options::StreamOptions;
use crate::record;
use crate::records;
use crate::server::connection::Context;
use crate::server::connection::decoder::InputBuffer;
use crate::server::connection::encoder::LineEncoder;
use crate::server::connection::header::PartialHeaders;
use crate::stats::Totals;

use connections::Connections;
use control::Control;
use descriptors::effective_max_connections;
use limits::ConnectionLimits;
use listeners::Listeners;
use observer::Observed;
use timers::{Timeouts, Timers};

pub use descriptors::raise_fd_limit;
pub(crate) use drain::Peers;
pub use handle::Handle;
pub use observer::Observer;

/// Events taken per run of the loop.
const EVENT_CAPACITY: usize = 1024;

/// Bytes that one connection reads per run: its share if it floods. All connections
/// share one buffer of this length.
const READ_BUFFER_LEN: usize = 64 * 1024;

/// What is over 128 KiB is mapped by itself (`M_MMAP_THRESHOLD`, mallopt(3)) and takes no
/// memory before it is used.
const MAPPED_LEN: usize = 136 * 1024;

/// Partial lines of up to this length are joined with the next read in the read
/// buffer, and longer ones in their own. A copy of 4 KiB costs less than a read.
const MAX_PREPEND: usize = 4 * 1024;

/// Bytes of lines with their prefixes that are sent together. A line of the default limit
/// fits with any prefix.
const MAX_ENCODED_PART: usize = READ_BUFFER_LEN + MAX_PREFIX_LEN;

/// The log target of the totals that SIGUSR1 asked for. A logger can print them at
/// every level; all other records have a module path as their target.
pub const TOTALS_TARGET: &str = "echoline::totals";

/// A line echo server: [`bind`](Server::bind) it, or [give it
/// listeners](Server::from_listeners), then [`run`](Server::run) it.
// All its public methods are in this file, as rustdoc shows those of other files first.
pub struct Server {
    poll: Poll,
    control: Control,
    listeners: Listeners,
    /// Other processes may listen on the same addresses.
    shares_ports: bool,
    limits: ConnectionLimits,
    connections: Connections,
    timers: Timers,
    context: Context,
    drain_timeout: Duration,
    /// Connections begin with a PROXY header.
    proxy_protocol: bool,
    /// How long to poll without sleeping after an event, and the time of the last
    /// event.
    busy_poll: Option<(Duration, Instant)>,
    observer: Option<Observed>,
    /// Busy polling or the observer takes note of events.
    follows_activity: bool,
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
        let listeners = Listeners::bind(&config.listen, config.reuse_port, stream_options(config))?;
        Server::new(config, listeners)
    }

    /// Serves sockets that listen already, such as those of socket activation, instead
    /// of the addresses of `config`.
    ///
    /// The sockets become non-blocking, and get the options that streams inherit. A
    /// shutdown leaves the connections in the backlogs to the next process that has the
    /// sockets; if none has, the kernel resets them.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, `listeners` is empty, or one of them is not a TCP
    /// socket that listens; the text says which and why. If
    /// [`reuse_port`](Config::reuse_port) is set, which has to come before the bind.
    pub fn from_listeners(config: &Config, listeners: Vec<TcpListener>) -> io::Result<Server> {
        config.validate()?;
        if config.reuse_port {
            let what = "reuse_port has to be set before the bind";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let listeners = Listeners::inherit(listeners, stream_options(config))?;
        Server::new(config, listeners)
    }

    fn new(config: &Config, mut listeners: Listeners) -> io::Result<Server> {
        warn_of_lost_settings(config, &listeners);
        let loop_error = |e| with_context(&e, format_args!("cannot set up the event loop"));
        let poll = Poll::new().map_err(loop_error)?;
        let control = Control::new(poll.registry()).map_err(loop_error)?;
        listeners.register(poll.registry()).map_err(loop_error)?;
        let max_connections = effective_max_connections(config.max_connections, listeners.len());
        Ok(Server {
            poll,
            control,
            listeners,
            shares_ports: config.reuse_port,
            limits: ConnectionLimits::new(max_connections, config.max_per_ip),
            connections: Connections::new(config.log_empty),
            timers: Timers::new(Timeouts {
                idle: config.idle_timeout,
                header: config.proxy_timeout,
                send: config.send_timeout,
            }),
            context: Context {
                headers: PartialHeaders::default(),
                input: InputBuffer::new(read_buffer(), MAX_PREPEND),
                encoder: LineEncoder::new(config.packet_per_line, &config.prefix, MAX_ENCODED_PART),
                max_line: config.max_line,
                log_empty: config.log_empty,
                open: 0,
                now: 0,
            },
            drain_timeout: config.drain_timeout,
            proxy_protocol: config.proxy_protocol,
            busy_poll: (!config.busy_poll.is_zero()).then(|| (config.busy_poll, Instant::now())),
            observer: None,
            follows_activity: !config.busy_poll.is_zero(),
        })
    }

    /// The addresses as bound, in the order of the configuration, with the port that
    /// the kernel chose for port 0.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.addrs().collect()
    }

    /// A handle that stops the server, and asks for its totals.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.control.handle()
    }

    /// Lets SIGINT, SIGTERM and SIGHUP stop the server, and SIGUSR1 log its totals.
    ///
    /// The handlers belong to the process, so an embedder may do without. The signals are
    /// unblocked in the calling thread. A SIGHUP that is ignored stays ignored (nohup).
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.control
            .handle_signals(self.poll.registry())
            .map_err(|e| with_context(&e, format_args!("cannot handle signals")))
    }

    /// Has the server tell `observer` what it does while it [runs](Server::run).
    pub fn set_observer(&mut self, observer: impl Observer + 'static) {
        self.observer = Some(Observed::new(observer));
        self.follows_activity = true;
    }

    /// Has a SIGHUP logged, and otherwise ignored, if signals are
    /// [handled](Server::handle_signals). A service manager and its tools send it to have a
    /// service read its settings again (daemon(7)), and there are none to read.
    pub fn ignore_sighup(&mut self) {
        self.control.ignores_sighup = true;
    }

    /// Serves until a [`Handle`] or a signal stops the server; blocks the calling
    /// thread in `poll` while nothing happens.
    ///
    /// A stop accepts what waits in the backlogs (unless the listeners were
    /// [given](Server::from_listeners)), echoes every complete line that
    /// has arrived and sends each peer a FIN. The server returns when the last peer
    /// has closed, or after [`drain_timeout`](Config::drain_timeout).
    ///
    /// # Errors
    ///
    /// If the server cannot begin to serve, polling fails, or the server is asked to stop
    /// again while it is stopping; see [`RunError`].
    pub fn run(mut self) -> Result<Totals, RunError> {
        self.begin()?;
        self.serve(Peers::Awaited)
    }

    /// Does what can fail before the loop. Handles can ask for totals from now on.
    ///
    /// # Errors
    ///
    /// [`RunError::Start`].
    pub(crate) fn begin(&mut self) -> Result<(), RunError> {
        self.check_observer().map_err(RunError::Start)?;
        let descriptors = self.listeners.check_descriptors();
        descriptors.map_err(RunError::Start)?;
        self.control.start();
        for addr in self.listeners.addrs() {
            record!(records::Listening { addr });
        }
        self.observe_listening();
        Ok(())
    }

    /// Runs the loop in the thread that has [begun](Server::begin).
    ///
    /// # Errors
    ///
    /// Those of [`run`](Server::run).
    pub(crate) fn serve(mut self, peers: Peers) -> Result<Totals, RunError> {
        let mut events = Events::with_capacity(EVENT_CAPACITY);
        while self.control.phase.is_running() {
            self.run_once(&mut events).map_err(RunError::Poll)?;
            if peers == Peers::Dismissed {
                self.dismiss_peers();
            }
        }
        self.finish()
    }

    fn totals(&self) -> Totals {
        Totals {
            uptime: self.timers.clock().uptime(),
            refused: self.limits.refused(),
            accept_pauses: self.listeners.pauses(),
            ..self.connections.totals(self.timers.clock().nanos())
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addrs", &self.local_addrs())
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

/// A server runs in another thread than the one that binds it, and any thread may stop it.
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_shared<T: Clone + Send + Sync>() {}
    is_send::<Server>();
    is_shared::<Handle>();
};

fn stream_options(config: &Config) -> StreamOptions {
    StreamOptions {
        send_timeout: config.send_timeout,
        keepalive: config.keepalive,
    }
}

/// Warns of what the settings ask for and the sockets do not give, or what they leave open.
fn warn_of_lost_settings(config: &Config, listeners: &Listeners) {
    let mptcp = listeners.mptcp_addrs().filter(|_| config.packet_per_line);
    for addr in mptcp {
        record!(records::SharedPackets { addr });
    }
    if config.keepalive.is_none() && config.idle_timeout.is_none() {
        record!(records::QuietPeersStay {});
    }
    if config.proxy_protocol {
        if config.proxy_timeout.is_none() && config.idle_timeout.is_none() {
            record!(records::EndlessHeader {});
        }
    } else if config.proxy_timeout != Config::default().proxy_timeout {
        record!(records::IdleProxyTimeout {});
    }
}

/// A buffer that takes no memory before the first read.
fn read_buffer() -> Vec<u8> {
    let mut bytes = vec![0; MAPPED_LEN];
    bytes.truncate(READ_BUFFER_LEN);
    bytes
}
