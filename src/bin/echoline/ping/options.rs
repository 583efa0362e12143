//! The command line of `echoline ping`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use echoline::HostPort;
use echoline::client;

const AFTER_HELP: &str = "\
Environment:
  ECHOLINE_PING_COUNT, ECHOLINE_PING_INTERVAL, ECHOLINE_PING_SIZE,
  ECHOLINE_PING_DEADLINE, ECHOLINE_PING_TIMEOUT, ECHOLINE_PING_QUIET,
  ECHOLINE_PING_IPV4, ECHOLINE_PING_IPV6, ECHOLINE_PING_BURST,
  ECHOLINE_PING_HALF_CLOSE, ECHOLINE_PING_CONNECTIONS,
  ECHOLINE_PING_EXPECT_PACKETS, ECHOLINE_PING_PREFIX,
  ECHOLINE_PING_COUNT_PREFIXES, ECHOLINE_PING_JSON,
  ECHOLINE_PING_HISTOGRAM
           options that the command line leaves out; switches take 1 or 0

Exit status: 0 if every line came back right and expectations were met, 1 if not,
2 after a usage error, 3 if no connection could be made.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Server to connect to
    #[arg(value_name = "HOST:PORT")]
    pub addr: HostPort,

    /// Stop after this many lines per connection
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Time between lines; 0: the next line as soon as the echo is there
    #[arg(short, long, value_name = "SECS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,

    /// Bytes per line, newline included
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub size: u32,

    /// Stop after this time
    #[arg(short = 'w', long, value_name = "SECS", value_parser = seconds)]
    pub deadline: Option<Duration>,

    /// How long an echo, a connect and the server's FIN may take
    #[arg(short = 'W', long, value_name = "SECS", default_value = "2", value_parser = timeout)]
    pub timeout: Duration,

    /// Print the summary only
    #[arg(short, long)]
    pub quiet: bool,

    /// Connect to IPv4 addresses only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Connect to IPv6 addresses only
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// Send this many lines with one write, then wait for their echoes
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: u64,

    /// Half-close after the last line, then expect every echo and the server's FIN
    #[arg(long)]
    pub half_close: bool,

    /// Open this many connections: in turn with one line each unless --count says
    /// more; with --interval 0, side by side
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub connections: u64,

    /// Fail if an echo takes more or fewer data packets
    #[arg(long, value_name = "N")]
    pub expect_packets: Option<u64>,

    /// Expect this text before each echoed line
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,

    /// Accept any text before each echoed line, and count the echoes by it
    #[arg(long, conflicts_with = "prefix")]
    pub count_prefixes: bool,

    /// Print a JSON object per line and for the summary
    #[arg(long)]
    pub json: bool,

    /// Draw the distribution of the round-trip times
    #[arg(long)]
    pub histogram: bool,
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
    /// The addresses of the families that are wanted.
    pub fn addrs(&self) -> io::Result<Vec<SocketAddr>> {
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
        options.half_close = self.half_close;
        options.connections = self.connections;
        options.side_by_side = self.side_by_side();
        options.count_segments = !self.quiet || self.expect_packets.is_some();
        options.expected_segments = self.expect_packets;
        options
    }
}
