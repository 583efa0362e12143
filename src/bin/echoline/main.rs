//! The `echoline` daemon around the library.

mod cli;
mod environment;
mod health;
mod log_filter;
mod logger;
#[cfg(test)]
mod manual;
mod metrics;
mod packets;
mod ping;
mod records;
mod rows;
mod server_options;
mod systemd;

use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use echoline::{Server, record};
use log::Level;

use crate::cli::{Cli, Exit};
use crate::health::Check;
use crate::metrics::Metrics;
use crate::server_options::ServerOptions;
use crate::systemd::ServiceManager;

const CANNOT_BIND_INHERITED: &str =
    "cannot be used with the sockets that systemd has opened (LISTEN_FDS) (see echoline --help)";

fn main() -> ExitCode {
    match cli::parse() {
        Ok(Cli::Serve(server)) => serve(&server).unwrap_or_else(|e| fail(1, &e)),
        Ok(Cli::Ping(options)) => match ping::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(e) => fail(3, &e),
        },
        Ok(Cli::Packets(options)) => {
            packets::run(&options).map_or_else(|e| fail(3, &e), ExitCode::from)
        }
        Ok(Cli::Health(options)) => check(&options),
        Err(Exit::Print(text)) => succeed(&text),
        Err(Exit::UsageError(error)) => fail(2, &error),
    }
}

fn check(options: &ServerOptions) -> ExitCode {
    match Check::of(options).map(|check| check.run()) {
        Ok(Ok(healthy)) => succeed(&format!("healthy: {healthy}\n")),
        Ok(Err(unhealthy)) => fail(1, &unhealthy),
        Err(usage) => fail(2, &usage),
    }
}

fn serve(cli: &cli::Server) -> io::Result<ExitCode> {
    let inherited = systemd::inherited_listeners()?;
    if let (Some(option), false) = (cli.binding_options.first(), inherited.is_empty()) {
        return Ok(fail(2, &format_args!("{option} {CANNOT_BIND_INHERITED}")));
    }
    run(cli, inherited)?;
    Ok(ExitCode::SUCCESS)
}

fn run(cli: &cli::Server, inherited: Vec<TcpListener>) -> io::Result<()> {
    logger::init(&cli.log_filter);
    for directive in &cli.log_filter.malformed {
        let directive = directive.escape_debug();
        record!(records::MalformedDirective { directive });
    }
    for name in &cli.unknown_variables {
        let name = name.to_string_lossy();
        let name = name.escape_debug();
        record!(records::UnknownVariable { name });
    }
    if let Err(e) = echoline::raise_fd_limit() {
        record!(records::FdLimit { error: &e });
    }
    let service_manager = ServiceManager::from_environment().unwrap_or_else(|e| {
        record!(records::CannotNotify { error: &e });
        None
    });
    let metrics = cli
        .options
        .metrics
        .as_ref()
        .map(Metrics::bind)
        .transpose()?;
    let mut config = cli.options.config.clone();
    let mut server = if inherited.is_empty() {
        Server::bind(&config)?
    } else {
        for variable in &cli.binding_variables {
            record!(records::OverriddenVariable { variable });
        }
        config.reuse_port = false;
        Server::from_listeners(&config, inherited)?
    };
    server.handle_signals()?;
    if systemd::runs_as_service() {
        server.ignore_sighup();
    }
    if let Some(service_manager) = service_manager {
        server.set_observer(service_manager);
    }
    if let Some(metrics) = metrics {
        metrics.serve(server.handle())?;
    }
    server.run()?;
    Ok(())
}

/// Says on stdout what was asked for.
fn succeed(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes()); // A closed pipe is no failure.
    ExitCode::SUCCESS
}

/// Says on stderr, with one write, why the program ends with `status`.
fn fail(status: u8, error: &dyn fmt::Display) -> ExitCode {
    let mut stderr = io::stderr();
    if logger::is_writable(&stderr) {
        let priority = logger::priority_prefix(&stderr, Level::Error);
        let _ = stderr.write_all(format!("{priority}echoline: {error}\n").as_bytes());
    }
    ExitCode::from(status)
}
