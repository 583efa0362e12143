//! The options of the server.

use std::time::Duration;

use echoline::{Config, HostPort};
use log::LevelFilter;

use crate::rows::{Row, number, read_as};

/// What the options of the server say.
#[derive(Debug, Default)]
pub struct ServerOptions {
    pub config: Config,
    pub metrics: Option<HostPort>,
    verbose: u8,
    quiet: bool,
}

/// The options about binding addresses.
pub const BINDING: [&str; 2] = ["listen", "reuse-port"];

type R = Row<ServerOptions>;

#[rustfmt::skip]
pub const ROWS: &[R] = &[
    R::value("listen", "HOST:PORT", "Address to listen on, repeatable; a port alone means all addresses",
        |s, text| addresses(text).map(|addrs| s.config.listen = addrs))
        .short('l').repeats()
        .default(|s| s.config.listen[0].to_string()),
    R::switch("reuse-port", "Share the addresses with other processes that have this option",
        |s| s.config.reuse_port = true),
    R::switch("packet-per-line", "One packet per echoed line",
        |s| s.config.packet_per_line = true),
    R::value("prefix", "TEXT", "Put this text before each echoed line",
        |s, text| s.set(|c| read_as::<String>(text).map(|text| c.prefix = text.into()))),
    R::value("max-line", "BYTES", "Longest line, newline included",
        |s, text| s.set(|c| number(text).map(|value| c.max_line = value)))
        .default(|s| s.config.max_line.to_string()),
    R::value("max-connections", "N", "Most open connections; 0: as many as file descriptors allow",
        |s, text| s.set(|c| unless_zero(text).map(|value| c.max_connections = value)))
        .default(|s| s.config.max_connections.unwrap_or(0).to_string()),
    R::value("max-per-ip", "N", "Most open connections from one address; 0: no limit",
        |s, text| s.set(|c| unless_zero(text).map(|value| c.max_per_ip = value)))
        .default(|s| s.config.max_per_ip.unwrap_or(0).to_string()),
    R::switch("proxy-protocol", "Expect a PROXY protocol header, which names the client, on each connection",
        |s| s.config.proxy_protocol = true),
    R::value("proxy-timeout", "SECS", "How long a PROXY protocol header may take; 0: only the idle timeout",
        |s, text| s.set(|c| timeout(text).map(|value| c.proxy_timeout = value)))
        .default(|s| seconds(s.config.proxy_timeout)),
    R::value("idle-timeout", "SECS", "Close a connection that sends nothing for this long; 0: never",
        |s, text| s.set(|c| timeout(text).map(|value| c.idle_timeout = value)))
        .default(|s| seconds(s.config.idle_timeout)),
    R::value("send-timeout", "SECS", "Close a connection if its peer takes nothing for this long; 0: never",
        |s, text| s.set(|c| timeout(text).map(|value| c.send_timeout = value)))
        .default(|s| seconds(s.config.send_timeout)),
    R::value("keepalive", "SECS", "Idle time before the first keepalive probe; 0: no probes",
        |s, text| s.set(|c| timeout(text).map(|value| c.keepalive = value)))
        .default(|s| seconds(s.config.keepalive)),
    R::value("drain-timeout", "SECS", "How long a stop may take",
        |s, text| s.set(|c| timeout(text).map(|time| c.drain_timeout = time.unwrap_or_default())))
        .default(|s| seconds(Some(s.config.drain_timeout))),
    R::value("busy-poll", "MICROS", "Poll this long after an event before sleeping",
        |s, text| s.set(|c| number(text).map(|n| c.busy_poll = Duration::from_micros(n))))
        .default(|s| s.config.busy_poll.as_micros().to_string()),
    R::switch("no-log-empty", "Do not log connections that never send a byte",
        |s| s.config.log_empty = false),
    R::value("metrics", "HOST:PORT", "Serve /metrics, /healthz and /readyz over HTTP; a port alone means all addresses",
        |s, text| read_as(text).map(|addr| s.metrics = Some(addr))),
    R::count("verbose", "-v logs each message, -vv each event",
        |s, count| s.verbose = count)
        .short('v').conflicts_with("quiet"),
    R::switch("quiet", "Log warnings and errors only",
        |s| s.quiet = true)
        .short('q'),
];

impl ServerOptions {
    /// Changes a setting, and checks all.
    fn set(
        &mut self,
        change: impl FnOnce(&mut Config) -> Result<(), String>,
    ) -> Result<(), String> {
        change(&mut self.config)?;
        self.config
            .validate()
            .map_err(|e| format!("it {}", e.why()))
    }

    /// The first address to listen on. There is one: the option has a default.
    pub fn first_addr(&self) -> &HostPort {
        &self.config.listen[0]
    }

    pub fn level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        }
    }
}

fn addresses(text: &str) -> Result<Vec<HostPort>, String> {
    text.split(',').map(read_as).collect()
}

fn unless_zero(text: &str) -> Result<Option<usize>, String> {
    number(text).map(|n| (n > 0).then_some(n))
}

fn timeout(text: &str) -> Result<Option<Duration>, String> {
    let seconds = number(text)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// The text of a timeout.
fn seconds(timeout: Option<Duration>) -> String {
    timeout.unwrap_or_default().as_secs().to_string()
}
