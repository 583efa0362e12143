//! The command line: what it may be, and what it says.

use std::env;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::environment;
use crate::log_filter::LogFilter;
use crate::packets;
use crate::ping;
use crate::rows;
use crate::server_options::{self, BINDING, ServerOptions};

const SIGNALS: &str = "\
Signals:
  SIGINT, SIGTERM, SIGHUP  stop cleanly; a second one stops at once
                           (SIGHUP is ignored under nohup and systemd)
  SIGUSR1                  log the totals, at every log level";

const OTHER_VARIABLES: &str = ",
           ECHOLINE_LISTEN several addresses with commas between them
  RUST_LOG=<off|error|warn|info|debug|trace>
           overrides the log level; so does echoline=LEVEL, with commas between
           directives, and those for other crates are ignored";

const EXIT_STATUS: &str = "\
Exit status: 0 after a clean stop, 1 if the server could not run or was ended by
a second signal, 2 after a usage error.";

const HEALTH: &str = "Check the server that has these options and variables";

const HEALTH_HELP: &str = "\
The options and variables are those of the server, so that one environment serves both.
With --metrics, /healthz is asked; else one line is sent to the first listen address,
as --prefix, --proxy-protocol and --max-line want it. The other options have no effect.
The check takes 2 s at most.

Exit status: 0 if the server is well, 1 if not, 2 after a usage error, such as port 0.";

/// What to run.
#[derive(Debug)]
pub enum Cli {
    Serve(Box<Server>),
    Ping(Box<ping::options::Options>),
    Packets(packets::options::Options),
    /// Check the server that has these options.
    Health(Box<ServerOptions>),
}

/// What the command line and the environment say of the server.
#[derive(Debug)]
pub struct Server {
    pub options: ServerOptions,
    /// Options of the command line that are about binding addresses.
    pub binding_options: Vec<String>,
    /// Variables that are about binding addresses.
    pub binding_variables: Vec<String>,
    /// The levels of `RUST_LOG`, or else of the options.
    pub log_filter: LogFilter,
    /// Variables that look like options and are none.
    pub unknown_variables: Vec<OsString>,
}

/// What to do instead of running anything.
#[derive(Debug)]
pub enum Exit {
    /// Print help or the version.
    Print(String),
    /// Say in one line what is wrong with the command line.
    UsageError(String),
}

/// How much of the command line is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What the server needs: the options of a subcommand only if it is run, and no help.
    Parsing,
    Whole,
}

/// The definition of the command line. Its description is that of the package.
pub fn definition(extent: Extent) -> Command {
    let command = Command::new("echoline")
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true);
    let command = subcommands(extent).fold(command, Command::subcommand);
    if extent == Extent::Parsing {
        return rows::define(command, server_options::ROWS);
    }
    let command = rows::define_with_defaults(command, server_options::ROWS);
    let variables = environment::help(&command, environment::PREFIX);
    command.after_help(format!(
        "{SIGNALS}\n\n{variables}{OTHER_VARIABLES}\n\n{EXIT_STATUS}"
    ))
}

fn subcommands(extent: Extent) -> impl Iterator<Item = Command> {
    type Define = fn(Command) -> Command;
    let all = [
        (
            "ping",
            ping::options::ABOUT,
            ping::options::define as Define,
        ),
        ("packets", packets::options::ABOUT, packets::options::define),
        ("health", HEALTH, define_health),
    ];
    all.into_iter().map(move |(name, about, define)| {
        let command = Command::new(name).about(about);
        match extent {
            Extent::Parsing => command.defer(define),
            Extent::Whole => define(command),
        }
    })
}

fn define_health(command: Command) -> Command {
    rows::define_with_defaults(command, server_options::ROWS).after_help(HEALTH_HELP)
}

/// Parses the command line and the environment.
pub fn parse() -> Result<Cli, Exit> {
    let mut matches = match definition(Extent::Parsing).try_get_matches_from(env::args_os()) {
        Ok(matches) => matches,
        Err(e) if e.use_stderr() => return Err(usage_error(&e.to_string())),
        Err(_) => return Err(print()),
    };
    let mut unknown_variables = Vec::new();
    if environment::has_own_variables() {
        let command = definition(Extent::Whole);
        unknown_variables = environment::unknown_variables(&command);
        let completed = environment::complete(command, &matches);
        matches = completed.map_err(|e| usage_error(&e))?;
    }
    match matches.remove_subcommand() {
        None => serve(&matches, unknown_variables),
        Some((name, matches)) => Ok(match name.as_str() {
            "ping" => {
                let options: ping::options::Options = rows::read(&matches, ping::options::ROWS);
                options.check().map_err(|e| usage_error(&e))?;
                Cli::Ping(options.into())
            }
            "packets" => Cli::Packets(rows::read(&matches, packets::options::ROWS)),
            _ => Cli::Health(server_options(&matches)?.into()),
        }),
    }
}

fn serve(matches: &ArgMatches, unknown_variables: Vec<OsString>) -> Result<Cli, Exit> {
    let options = server_options(matches)?;
    let directives = env::var_os("RUST_LOG").unwrap_or_default();
    Ok(Cli::Serve(Box::new(Server {
        log_filter: LogFilter::from(options.level()).with(&directives.to_string_lossy()),
        unknown_variables,
        binding_options: binding(matches, ValueSource::CommandLine, |name| {
            format!("--{name}")
        }),
        binding_variables: binding(matches, ValueSource::EnvVariable, environment::variable),
        options,
    })))
}

/// The options of the server, if they agree with each other.
fn server_options(matches: &ArgMatches) -> Result<ServerOptions, Exit> {
    let options: ServerOptions = rows::read(matches, server_options::ROWS);
    let checked = options.config.validate();
    checked.map_err(|e| {
        let option = e.setting().replace('_', "-");
        usage_error(&format!("--{option} {}", e.why()))
    })?;
    Ok(options)
}

/// The options about binding addresses that `source` gives, by their names there.
fn binding(
    matches: &ArgMatches,
    source: ValueSource,
    name: impl Fn(&str) -> String,
) -> Vec<String> {
    let given = BINDING
        .iter()
        .filter(|name| matches.value_source(name) == Some(source));
    given.map(|option| name(option)).collect()
}

/// Help or the version, whichever is asked for.
fn print() -> Exit {
    let whole = definition(Extent::Whole).try_get_matches_from(env::args_os());
    Exit::Print(whole.err().map(|e| e.to_string()).unwrap_or_default())
}

/// What is wrong, from clap's message of several paragraphs.
fn usage_error(text: &str) -> Exit {
    let what = text.split("\n\n").next().unwrap_or_default().trim_end();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let what = what.replace('\n', "\\n");
    Exit::UsageError(format!("{what} (see echoline --help)"))
}
