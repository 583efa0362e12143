//! The `echoline` daemon; the library does the work.

mod cli;
mod logging;

use std::io::{self, Write};
use std::process::ExitCode;

use echoline::Server;

use crate::cli::Cli;

fn main() -> ExitCode {
    match cli::parse() {
        Ok(cli) => run(&cli).map_or_else(|e| fail(1, &e), |()| ExitCode::SUCCESS),
        Err(Ok(text)) => {
            // Nobody reads it: no failure of ours.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Err(usage)) => fail(2, &usage),
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    logging::init(cli.log_level);
    if let Err(e) = echoline::raise_descriptor_limit() {
        log::warn!("the limit on descriptors cannot be raised: {e}");
    }
    let mut server = Server::bind(&cli.config())?;
    server.handle_signals()?;
    server.run().map(drop)
}

/// Says in one line, and one write, why the program ends with `status`.
fn fail(status: u8, why: &dyn std::fmt::Display) -> ExitCode {
    let mut stderr = io::stderr();
    if logging::takes_a_record(&stderr) {
        let _ = stderr.write_all(format!("echoline: {why}\n").as_bytes());
    }
    ExitCode::from(status)
}
