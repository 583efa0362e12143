//! The command line.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use echoline::{Config, HostPort, MAX_KEEPALIVE, MAX_LINE_LIMIT, MAX_PREFIX_LEN, MAX_TIMEOUT};
use log::LevelFilter;

use crate::environment;
use crate::log_filter::LogFilter;
#[cfg(feature = "capture")]
use crate::packets;
use crate::ping;

const AFTER_HELP: &str = "\
Signals:
  SIGINT, SIGTERM, SIGHUP  stop cleanly; a second one stops at once
                           (SIGHUP is ignored under nohup and systemd)
  SIGUSR1                  log the totals, at every log level

Environment:
  ECHOLINE_LISTEN, ECHOLINE_REUSE_PORT, ECHOLINE_PACKET_PER_LINE,
  ECHOLINE_PREFIX, ECHOLINE_MAX_LINE,
  ECHOLINE_MAX_CONNECTIONS, ECHOLINE_MAX_PER_IP, ECHOLINE_IDLE_TIMEOUT,
  ECHOLINE_SEND_TIMEOUT, ECHOLINE_KEEPALIVE, ECHOLINE_DRAIN_TIMEOUT,
  ECHOLINE_BUSY_POLL, ECHOLINE_PROXY_PROTOCOL, ECHOLINE_PROXY_TIMEOUT,
  ECHOLINE_METRICS, ECHOLINE_NO_LOG_EMPTY, ECHOLINE_VERBOSE, ECHOLINE_QUIET
           options that the command line leaves out; switches take 1 or 0,
           ECHOLINE_LISTEN several addresses with commas between them
  RUST_LOG=<off|error|warn|info|debug|trace>
           overrides the log level; so does echoline=LEVEL, with commas between
           directives, and those for other crates are ignored

Exit status: 0 after a clean stop, 1 if the server could not run or was ended by
a second signal, 2 after a usage error.";

/// The options about binding addresses: identifier, option, variable.
const BINDING: [(&str, &str, &str); 2] = [
    ("listen", "--listen", "ECHOLINE_LISTEN"),
    ("reuse_port", "--reuse-port", "ECHOLINE_REUSE_PORT"),
];

const PORT_ZERO: &str = "--reuse-port cannot be used with port 0, for which each process gets a port of its own (see echoline --help)";

const HEALTH_HELP: &str = "\
The options and variables are those of the server, so that one environment serves both.
With --metrics, /healthz is asked; else one line is sent to the first listen address,
as --prefix, --proxy-protocol and --max-line want it. The other options have no effect.
The check takes 2 s at most.

Exit status: 0 if the server is well, 1 if not, 2 after a usage error, such as port 0.";

/// The command line of the daemon. Its description is that of the package.
#[derive(Debug, Parser)]
#[command(about, version, after_help = AFTER_HELP, args_override_self = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub server: ServerOptions,
}

/// The options of the server.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct ServerOptions {
    /// Address to listen on, repeatable; a port alone means all addresses
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "localhost:3000"
    )]
    listen: Vec<HostPort>,

    /// Share the addresses with other processes that have this option
    #[arg(long)]
    reuse_port: bool,

    /// One packet per echoed line
    #[arg(long)]
    packet_per_line: bool,

    /// Put this text before each echoed line
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = prefix)]
    prefix: String,

    /// Longest line, newline included
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 65536,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=MAX_LINE_LIMIT as i64)
    )]
    max_line: u32,

    /// Most open connections; 0: as many as file descriptors allow
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    max_connections: usize,

    /// Most open connections from one address; 0: no limit
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    max_per_ip: usize,

    /// Expect a PROXY protocol header, which names the client, on each connection
    #[arg(long)]
    proxy_protocol: bool,

    /// How long a PROXY protocol header may take; 0: only the idle timeout
    #[arg(long, default_value_t = 3, allow_negative_numbers = true)]
    #[arg(value_name = "SECS", value_parser = timeout())]
    proxy_timeout: u64,

    /// Close a connection that sends nothing for this long; 0: never
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_name = "SECS", value_parser = timeout())]
    idle_timeout: u64,

    /// Close a connection if its peer takes nothing for this long; 0: never
    #[arg(long, default_value_t = 60, allow_negative_numbers = true)]
    #[arg(value_name = "SECS", value_parser = timeout())]
    send_timeout: u64,

    /// Idle time before the first keepalive probe; 0: no probes
    #[arg(long, default_value_t = 60, allow_negative_numbers = true)]
    #[arg(value_name = "SECS", value_parser = keepalive())]
    keepalive: u64,

    /// How long a stop may take
    #[arg(long, default_value_t = 5, allow_negative_numbers = true)]
    #[arg(value_name = "SECS", value_parser = timeout())]
    drain_timeout: u64,

    /// Poll this long after an event before sleeping
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_name = "MICROS", value_parser = clap::value_parser!(u32))]
    busy_poll: u32,

    /// Do not log connections that never send a byte
    #[arg(long)]
    no_log_empty: bool,

    /// Serve /metrics, /healthz and /readyz over HTTP; a port alone means all addresses
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<HostPort>,

    /// -v logs each message, -vv each event
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long)]
    quiet: bool,

    /// Options of the command line that are about binding addresses.
    #[arg(skip)]
    pub binding_options: Vec<&'static str>,

    /// Variables that are about binding addresses.
    #[arg(skip)]
    pub binding_variables: Vec<&'static str>,

    /// The levels of `RUST_LOG`, or else of the options.
    #[arg(skip = LogFilter::from(LevelFilter::Info))]
    pub log_filter: LogFilter,

    /// Variables that look like options and are none.
    #[arg(skip)]
    pub unknown_variables: Vec<OsString>,
}

/// What to run instead of the server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a line echo: send lines, compare echoes, count packets
    Ping(ping::options::Options),

    #[cfg(feature = "capture")]
    /// Count the packets of a capture, and say which carried which line
    Packets(packets::options::Options),

    /// Check the server that has these options and variables
    #[command(after_help = HEALTH_HELP)]
    Health(Box<ServerOptions>),
}

/// What to do instead of running the server.
#[derive(Debug)]
pub enum Exit {
    /// Print help or the version.
    Print(String),
    /// Say in one line what is wrong with the command line.
    UsageError(String),
}

fn prefix(text: &str) -> Result<String, String> {
    if text.contains('\n') {
        return Err("it has a newline".into());
    }
    if text.len() > MAX_PREFIX_LEN {
        let len = text.len();
        return Err(format!("{len} bytes are more than {MAX_PREFIX_LEN}"));
    }
    Ok(text.to_owned())
}

fn timeout() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=MAX_TIMEOUT.as_secs())
}

fn keepalive() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=MAX_KEEPALIVE.as_secs())
}

impl ServerOptions {
    /// The settings of the server.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.listen.clone_from(&self.listen);
        config.reuse_port = self.reuse_port;
        config.max_line = self.max_line as usize;
        config.packet_per_line = self.packet_per_line;
        config.prefix = self.prefix.clone().into_bytes();
        config.max_connections = self.max_connections;
        config.max_per_ip = self.max_per_ip;
        config.proxy_protocol = self.proxy_protocol;
        let unless_zero = |secs| (secs > 0).then(|| Duration::from_secs(secs));
        config.idle_timeout = unless_zero(self.idle_timeout);
        config.send_timeout = unless_zero(self.send_timeout);
        config.proxy_timeout = unless_zero(self.proxy_timeout);
        config.keepalive = unless_zero(self.keepalive);
        config.busy_poll = Duration::from_micros(self.busy_poll.into());
        config.log_empty = !self.no_log_empty;
        config.drain_timeout = Duration::from_secs(self.drain_timeout);
        config
    }

    /// The first address to listen on. There is one: the option has a default.
    pub fn first_addr(&self) -> &HostPort {
        &self.listen[0]
    }

    /// Whether the port of an address would be shared that the kernel chooses.
    fn shares_port_zero(&self) -> bool {
        self.reuse_port && self.listen.iter().any(|addr| addr.port() == 0)
    }

    fn level_of_options(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        }
    }
}

/// Parses the command line and the environment.
pub fn parse() -> Result<Cli, Exit> {
    let mut matches = definition()
        .try_get_matches_from_mut(env::args_os())
        .map_err(|e| exit(&e))?;
    let mut unknown_variables = Vec::new();
    if environment::has_own_variables() {
        let command = definition();
        unknown_variables = environment::unknown_variables(&command);
        let completed = environment::complete(command, &matches);
        matches = completed.map_err(|e| usage_error(&e))?;
    }
    let binding_options = binding(&matches, ValueSource::CommandLine);
    let binding_variables = binding(&matches, ValueSource::EnvVariable);
    let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(|e| exit(&e))?;
    let directives = env::var_os("RUST_LOG").unwrap_or_default();
    let server = &mut cli.server;
    let level = LogFilter::from(server.level_of_options());
    server.log_filter = level.with(&directives.to_string_lossy());
    server.unknown_variables = unknown_variables;
    server.binding_options = binding_options;
    server.binding_variables = binding_variables;
    if server.shares_port_zero() {
        return Err(Exit::UsageError(PORT_ZERO.to_owned()));
    }
    Ok(cli)
}

/// The options about binding addresses that `source` gives, by their names there.
fn binding(matches: &ArgMatches, source: ValueSource) -> Vec<&'static str> {
    let is_given = |(id, ..): &(&str, &str, &str)| matches.value_source(id) == Some(source);
    let given = BINDING.into_iter().filter(is_given);
    let of_environment = source == ValueSource::EnvVariable;
    given
        .map(|(_, option, variable)| if of_environment { variable } else { option })
        .collect()
}

/// The definition of the command line. Out of line, as the code is large.
#[inline(never)]
fn definition() -> clap::Command {
    Cli::command()
}

fn exit(e: &clap::Error) -> Exit {
    let text = e.to_string();
    if e.use_stderr() {
        usage_error(&text)
    } else {
        Exit::Print(text)
    }
}

/// What is wrong, from clap's message of several paragraphs.
fn usage_error(text: &str) -> Exit {
    let what = text.split("\n\n").next().unwrap_or_default().trim_end();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let what = what.replace('\n', "\\n");
    Exit::UsageError(format!("{what} (see echoline --help)"))
}
