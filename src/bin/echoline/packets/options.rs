//! The command line of `echoline packets`.

use std::path::PathBuf;

use clap::Args;
use echoline::capture;

const AFTER_HELP: &str = "\
Environment:
  ECHOLINE_PACKETS_PORT, ECHOLINE_PACKETS_EXPECT_PACKETS,
  ECHOLINE_PACKETS_EXPECT_CLOSE, ECHOLINE_PACKETS_MAX_CONNECTIONS,
  ECHOLINE_PACKETS_ALL, ECHOLINE_PACKETS_QUIET, ECHOLINE_PACKETS_JSON
           options that the command line leaves out; switches take 1 or 0

Exit status: 0 if every expectation that was given is met and no echo is wrong, 1 if
one is not, 2 after a usage error, 3 if the capture is unreadable or has no line echo,
4 if an expectation that was given cannot be decided.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Capture in pcap or pcapng format; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The server's port, where the capture does not tell; other ports are left out
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Fail if an echo takes more or fewer data packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub expect_packets: Option<u64>,

    /// Fail if the server does not send a FIN after the client's
    #[arg(long)]
    pub expect_close: bool,

    /// Most connections that are followed at a time
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub max_connections: u64,

    /// Print every packet of every connection, in the order of the file
    #[arg(long, conflicts_with = "quiet")]
    pub all: bool,

    /// Print the totals only
    #[arg(short, long)]
    pub quiet: bool,

    /// Print a JSON object per packet, per connection and for the summary
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// The options of the analysis.
    pub fn analysis(&self) -> capture::Options {
        let mut options = capture::Options::default();
        options.port = self.port;
        options.expectations.packets = self.expect_packets;
        options.expectations.close = self.expect_close;
        options.max_connections = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        options
    }

    /// Whether anything is expected.
    pub fn expects(&self) -> bool {
        self.expect_packets.is_some() || self.expect_close
    }

    /// How messages name the capture.
    pub fn name(&self) -> String {
        if self.file.as_os_str() == "-" {
            return "standard input".to_owned();
        }
        self.file.display().to_string()
    }
}
