//! The command line. Nothing else knows clap.

use clap::{ArgAction, Parser};
use echoline::{Config, ListenAddr, MAX_LINE_LIMIT};
use log::LevelFilter;

const AFTER_HELP: &str = "\
Signals:
  SIGINT, SIGTERM, SIGHUP  stop cleanly
  SIGUSR1                  log the totals

Exit status: 0 after a clean stop, 1 when the server could not run, 2 for wrong
usage. RUST_LOG=<error|warn|info|debug|trace> overrides the log level.";

/// TCP line echo daemon: one echoed line, one packet.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, args_override_self = true)]
pub struct Cli {
    /// Listen here (repeatable)
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        default_value = "localhost:3000"
    )]
    listen: Vec<ListenAddr>,

    /// One packet per echoed line
    #[arg(long)]
    packet_per_line: bool,

    /// Longest line, newline included
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 65536,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=MAX_LINE_LIMIT as i64)
    )]
    max_line: u32,

    /// -v logs each message, -vv each event
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long)]
    quiet: bool,
}

impl Cli {
    /// The server's settings.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.listen.clone_from(&self.listen);
        config.max_line = self.max_line as usize;
        config.packet_per_line = self.packet_per_line;
        config
    }

    /// How much is logged.
    pub fn log_level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        }
    }
}

/// The command line as given. Otherwise what to say instead of running: help
/// or the version (`Ok`), or what is wrong with the command line, in one line.
pub fn parse() -> Result<Cli, Result<String, String>> {
    Cli::try_parse().map_err(|e| {
        let text = e.to_string();
        if !e.use_stderr() {
            return Ok(text);
        }
        let what = text.split("\n\n").next().unwrap_or_default().trim_end();
        let what = what.strip_prefix("error: ").unwrap_or(what);
        let what = what.replace('\n', "\\n");
        Err(format!("{what} (see echoline --help)"))
    })
}
