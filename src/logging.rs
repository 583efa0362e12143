//! The daemon's logger: `simple_logger`, to stdout.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

const NAME: &str = env!("CARGO_PKG_NAME");

/// Prints our own records under the daemon's name: the rooms that they come
/// from are nobody's business outside.
struct Logger(SimpleLogger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !record.target().starts_with(NAME) {
            return self.0.log(record);
        }
        let metadata = Metadata::builder()
            .level(record.level())
            .target(NAME)
            .build();
        self.0.log(
            &Record::builder()
                .metadata(metadata)
                .args(*record.args())
                .build(),
        );
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Begins to log at `level`, unless `RUST_LOG` names another.
pub fn init(level: LevelFilter) {
    let mut logger = SimpleLogger::new()
        .with_level(level)
        .env()
        .with_colors(io::stdout().is_terminal());
    if stdout_is_journal().unwrap_or(false) {
        logger = logger.without_timestamps();
    }
    log::set_max_level(logger.max_level());
    log::set_boxed_logger(Box::new(Logger(logger))).expect("no other logger is set");
}

/// Whether journald reads stdout and adds its own timestamps: `JOURNAL_STREAM`
/// holds the device and inode of its socket (systemd.exec(5)).
fn stdout_is_journal() -> io::Result<bool> {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else {
        return Ok(false);
    };
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata()?;
    Ok(journal == format!("{}:{}", stdout.dev(), stdout.ino()))
}
