//! The command line of `echoline ping`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Command;
use echoline::HostPort;
use echoline::client::{self, ProxyHeader};

use crate::environment;
use crate::rows::{self, Row, number, number_in, read_as};

pub const ABOUT: &str = "Check a line echo: send lines, compare echoes, count packets";

const EXIT_STATUS: &str = "\
Exit status: 0 if every line came back right and expectations were met, 1 if not,
2 after a usage error, 3 if no connection could be made.";

/// What the command line says.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    pub addr: HostPort,
    pub count: Option<u64>,
    pub interval: Duration,
    pub size: u32,
    pub deadline: Option<Duration>,
    pub timeout: Duration,
    pub quiet: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    pub burst: u64,
    pub open_loop: bool,
    pub half_close: bool,
    pub connections: u64,
    pub expect_close: bool,
    pub expect_packets: Option<u64>,
    pub prefix: String,
    pub count_prefixes: bool,
    pub skip_lines: u64,
    pub proxy_header: Option<ProxyHeader>,
    pub timestamps: bool,
    pub json: bool,
    pub histogram: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            addr: HostPort::localhost(3000),
            count: None,
            interval: Duration::from_secs(1),
            size: 64,
            deadline: None,
            timeout: Duration::from_secs(2),
            quiet: false,
            ipv4: false,
            ipv6: false,
            burst: 1,
            open_loop: false,
            half_close: false,
            connections: 1,
            expect_close: false,
            expect_packets: None,
            prefix: String::new(),
            count_prefixes: false,
            skip_lines: 0,
            proxy_header: None,
            timestamps: false,
            json: false,
            histogram: false,
        }
    }
}

type R = Row<Options>;

#[rustfmt::skip]
pub const ROWS: &[R] = &[
    R::argument("addr", "HOST:PORT", "Server to connect to",
        |o, text| read_as(text).map(|addr| o.addr = addr)),
    R::value("count", "N", "Stop after this many lines per connection",
        |o, text| number_in(text, 1..=u64::MAX).map(|n| o.count = Some(n)))
        .short('c'),
    R::value("interval", "SECS", "Time between lines, or connections; 0: the next line as soon as the echo is there",
        |o, text| seconds(text).map(|time| o.interval = time))
        .short('i').default(|o| o.interval.as_secs().to_string()),
    R::value("size", "BYTES", "Bytes per line, newline included",
        |o, text| number_in(text, 1..=1 << 30).map(|n| o.size = n))
        .short('s').default(|o| o.size.to_string()),
    R::value("deadline", "SECS", "Stop after this time",
        |o, text| seconds(text).map(|time| o.deadline = Some(time)))
        .short('w'),
    R::value("timeout", "SECS", "How long an echo, a connect and the server's FIN may take",
        |o, text| timeout(text).map(|time| o.timeout = time))
        .short('W').default(|o| o.timeout.as_secs().to_string()),
    R::switch("quiet", "Print the summary only", |o| o.quiet = true).short('q'),
    R::switch("ipv4", "Connect to IPv4 addresses only", |o| o.ipv4 = true)
        .short('4').conflicts_with("ipv6"),
    R::switch("ipv6", "Connect to IPv6 addresses only", |o| o.ipv6 = true).short('6'),
    R::value("burst", "N", "Send this many lines with one write, then wait for their echoes",
        |o, text| number_in(text, 1..=u64::MAX).map(|n| o.burst = n))
        .default(|o| o.burst.to_string()),
    R::switch("open-loop", "Send each line when it is due, also while echoes are missing",
        |o| o.open_loop = true),
    R::switch("half-close", "Send the FIN with the last line, then expect every echo and the server's FIN",
        |o| o.half_close = true),
    R::value("connections", "N", "Open this many connections: in turn with one line each unless --count says more; with --interval 0, side by side",
        |o, text| number_in(text, 1..=1_000_000).map(|n| o.connections = n))
        .default(|o| o.connections.to_string()),
    R::switch("expect-close", "Fail if the server does not close after the client",
        |o| o.expect_close = true),
    R::value("expect-packets", "N", "Fail if an echo takes more or fewer data packets",
        |o, text| number(text).map(|n| o.expect_packets = Some(n))),
    R::value("prefix", "TEXT", "Expect this text before each echoed line",
        |o, text| read_as(text).map(|text| o.prefix = text))
        .default(|o| o.prefix.clone()),
    R::switch("count-prefixes", "Accept any text before each echoed line, and count the echoes by it",
        |o| o.count_prefixes = true)
        .conflicts_with("prefix"),
    R::value("skip-lines", "N", "Ignore this many lines at first, such as a greeting",
        |o, text| read_as(text).map(|n| o.skip_lines = n))
        .default(|o| o.skip_lines.to_string()),
    R::value("proxy-header", "v1|v2[=CLIENT:PORT]", "Begin each connection with a PROXY protocol header; without a client it says UNKNOWN or LOCAL",
        |o, text| read_as(text).map(|header| o.proxy_header = Some(header))),
    R::switch("timestamps", "Print the time before each line, in seconds since 1970",
        |o| o.timestamps = true)
        .short('D'),
    R::switch("json", "Print a JSON object per line and for the summary", |o| o.json = true),
    R::switch("histogram", "Draw the distribution of the round-trip times", |o| o.histogram = true),
];

/// Adds the options to the subcommand.
pub fn define(command: Command) -> Command {
    let command = rows::define_with_defaults(command, ROWS);
    let variables = environment::help(&command, &environment::subcommand_prefix("ping"));
    command.after_help(format!("{variables}\n\n{EXIT_STATUS}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    let max = echoline::MAX_TIMEOUT.as_secs_f64();
    if !(0.0..=max).contains(&seconds) {
        return Err(format!("{text} is not in 0..={max}"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = seconds(text)?;
    if timeout < Duration::from_millis(1) {
        return Err("under 1 ms".into());
    }
    Ok(timeout)
}

impl Options {
    /// # Errors
    ///
    /// What is wrong if the options do not agree with each other.
    pub fn check(&self) -> Result<(), String> {
        if self.open_loop && self.interval.is_zero() {
            return Err("--open-loop needs an --interval above 0".into());
        }
        // A name that does not resolve is no usage error: connecting says so.
        if let Some(header) = self.proxy_header
            && header.client.is_some()
            && let Ok(addrs) = self.reachable_addrs()
            && !addrs.iter().any(|addr| header.fits(*addr))
        {
            let addr = &self.addr;
            return Err(format!(
                "--proxy-header needs a client of the family of {addr}"
            ));
        }
        Ok(())
    }

    /// The addresses to connect to. A PROXY header has one family for client and server.
    pub fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addrs = self.reachable_addrs()?;
        addrs.retain(|addr| self.proxy_header.is_none_or(|header| header.fits(*addr)));
        Ok(addrs)
    }

    /// The addresses of the families that are wanted.
    fn reachable_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addrs = self
            .addr
            .connect_addrs()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {}: {e}", self.addr)))?;
        addrs.retain(|addr| !(self.ipv4 && addr.is_ipv6() || self.ipv6 && addr.is_ipv4()));
        if addrs.is_empty() {
            let family = if self.ipv4 { "IPv4" } else { "IPv6" };
            let text = format!("{} has no {family} address", self.addr);
            return Err(io::Error::other(text));
        }
        Ok(addrs)
    }

    /// Whether a missing FIN of the server is a fault.
    pub fn expects_close(&self) -> bool {
        self.expect_close || self.half_close
    }

    fn side_by_side(&self) -> bool {
        self.interval.is_zero() && self.connections > 1
    }

    /// `--count`, or one burst for each of several connections in turn.
    pub fn lines_per_connection(&self) -> Option<u64> {
        let in_turn = self.connections > 1 && !self.side_by_side();
        self.count.or(in_turn.then_some(self.burst))
    }

    /// The options of the client.
    pub fn client(&self) -> client::Options {
        let mut options = client::Options::default();
        options.line_len = self.size as usize;
        options.prefix = if self.count_prefixes {
            client::Prefix::Any
        } else {
            client::Prefix::Fixed(self.prefix.clone().into_bytes())
        };
        options.count = self.lines_per_connection();
        options.interval = self.interval;
        options.burst = self.burst;
        options.timeout = self.timeout;
        options.deadline = self.deadline;
        options.open_loop = self.open_loop;
        options.skip_lines = self.skip_lines;
        options.proxy_header = self.proxy_header;
        options.half_close = self.half_close;
        options.connections = self.connections;
        options.side_by_side = self.side_by_side();
        options.expected_segments = self.expect_packets;
        options
    }
}
