//! The command line of `echoline packets`.

use std::path::PathBuf;

use clap::Command;
use echoline::capture;

use crate::environment;
use crate::rows::{self, Row, number_in};

pub const ABOUT: &str = "Count the packets of a capture, and say which carried which line";

const EXIT_STATUS: &str = "\
Exit status: 0 if every expectation that was given is met and no echo is wrong, 1 if
one is not, 2 after a usage error, 3 if the capture is unreadable or has no line echo,
4 if an expectation that was given cannot be decided.";

/// What the command line says.
#[derive(Debug, Default)]
pub struct Options {
    pub file: PathBuf,
    /// The options of the analysis.
    pub analysis: capture::Options,
    pub all: bool,
    pub quiet: bool,
    pub json: bool,
}

type R = Row<Options>;

#[rustfmt::skip]
pub const ROWS: &[R] = &[
    R::file("file", "FILE", "Capture in pcap or pcapng format; - is standard input",
        |o, path| o.file = path),
    R::value("port", "PORT", "The server's port, where the capture does not tell; other ports are left out",
        |o, text| number_in(text, 0..=u16::MAX).map(|n| o.analysis.port = Some(n))),
    R::value("expect-packets", "N", "Fail if an echo takes more or fewer data packets",
        |o, text| number_in(text, 1..=u64::MAX).map(|n| o.analysis.expectations.packets = Some(n))),
    R::switch("expect-close", "Fail if the server does not send a FIN after the client's",
        |o| o.analysis.expectations.close = true),
    R::value("max-connections", "N", "Most connections that are followed at a time",
        |o, text| number_in(text, 1..=10_000_000).map(|n| o.analysis.max_connections = n))
        .default(|o| o.analysis.max_connections.to_string()),
    R::switch("all", "Print every packet of every connection, in the order of the file",
        |o| o.all = true)
        .conflicts_with("quiet"),
    R::switch("quiet", "Print the totals only", |o| o.quiet = true).short('q'),
    R::switch("json", "Print a JSON object per packet, per connection and for the summary",
        |o| o.json = true),
];

/// Adds the options to the subcommand.
pub fn define(command: Command) -> Command {
    let command = rows::define_with_defaults(command, ROWS);
    let variables = environment::help(&command, &environment::subcommand_prefix("packets"));
    command.after_help(format!("{variables}\n\n{EXIT_STATUS}"))
}

impl Options {
    /// Whether anything is expected.
    pub fn expects(&self) -> bool {
        self.analysis.expectations.packets.is_some() || self.analysis.expectations.close
    }

    /// How messages name the capture.
    pub fn name(&self) -> String {
        if self.file.as_os_str() == "-" {
            return "standard input".to_owned();
        }
        self.file.display().to_string()
    }
}
