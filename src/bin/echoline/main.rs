//! The `echoline` daemon around the library.

mod cli;
mod logger;
mod ping;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use echoline::Server;

use crate::cli::{Cli, Command, Exit};

fn main() -> ExitCode {
    match cli::parse() {
        Ok(Cli {
            command: Some(Command::Ping(options)),
            ..
        }) => match ping::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(e) => fail(3, &e),
        },
        Ok(cli) => run(&cli).map_or_else(|e| fail(1, &e), |()| ExitCode::SUCCESS),
        Err(Exit::Print(text)) => {
            let _ = io::stdout().write_all(text.as_bytes()); // A closed pipe is no failure.
            ExitCode::SUCCESS
        }
        Err(Exit::UsageError(error)) => fail(2, &error),
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    logger::init(cli.log_level);
    if let Err(e) = echoline::raise_fd_limit() {
        log::warn!("cannot raise the limit on file descriptors: {e}");
    }
    let mut server = Server::bind(&cli.config())?;
    server.handle_signals()?;
    server.run().map(drop)
}

/// Says on stderr, with one write, why the program ends with `status`.
fn fail(status: u8, error: &dyn fmt::Display) -> ExitCode {
    let mut stderr = io::stderr();
    if logger::is_writable(&stderr) {
        let _ = stderr.write_all(format!("echoline: {error}\n").as_bytes());
    }
    ExitCode::from(status)
}
