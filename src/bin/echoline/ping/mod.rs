//! `echoline ping`: the verifying client on the command line.

pub mod json;
pub mod options;
mod progress;
mod report;

use std::io;

use echoline::client::Client;

use options::Options;
use report::Report;

/// Runs the client; returns whether every expectation was met.
///
/// # Errors
///
/// If no connection can be made.
pub fn run(options: &Options) -> io::Result<bool> {
    // Without it, connections above the soft limit fail, and are counted so.
    let _ = echoline::raise_fd_limit();
    let mut client = Client::new(&options.addrs()?, options.client())?;
    client.handle_signals()?;
    let mut report = Report::new(options);
    let statistics = client.run(|event| report.event(event))?;
    report.summary(&statistics);
    let has_fins = !options.expects_close() || statistics.closes.missing == 0;
    Ok(statistics.is_perfect() && has_fins)
}
