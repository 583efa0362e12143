//! The daemon's logger: `simple_logger`, to stdout, behind a guard.
//!
//! A record never blocks the loop and never ends the process. `simple_logger`
//! prints with `println!`, which blocks while nobody reads the pipe or the
//! terminal is stopped, and panics when the write fails; so the guard asks
//! first whether stdout takes a record, and survives the panic. What is lost
//! is counted, and reported when printing works again.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};

use echoline::TOTALS_TARGET;
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::dup2_stdout;
use rustix::termios::ttyname;
use simple_logger::SimpleLogger;

/// Our own records are printed under this name: the rooms that they come from
/// are nobody's business outside.
const NAME: &str = env!("CARGO_PKG_NAME");

struct Guard {
    /// Prints whatever it is given.
    logger: SimpleLogger,
    level: LevelFilter,
    /// Records lost since one was printed. One that failed in the middle, as
    /// on a full disk, may still come out of stdout's buffer later.
    lost: AtomicU64,
}

impl Log for Guard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level || metadata.target() == TOTALS_TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            if !self.print(Level::Warn, NAME, format_args!("{lost} log records lost")) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.lost.fetch_sub(lost, Ordering::Relaxed);
        }
        let ours = record.target().starts_with(NAME);
        let target = if ours { NAME } else { record.target() };
        if !self.print(record.level(), target, *record.args()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

impl Guard {
    /// Prints a record if that can be done at once; says whether it was.
    fn print(&self, level: Level, target: &str, args: std::fmt::Arguments<'_>) -> bool {
        let metadata = Metadata::builder().level(level).target(target).build();
        let record = Record::builder().metadata(metadata).args(args).build();
        let print = AssertUnwindSafe(|| self.logger.log(&record));
        takes_a_record(&io::stdout()) && {
            PRINTING.set(true);
            let result = panic::catch_unwind(print);
            PRINTING.set(false);
            result.is_ok()
        }
    }
}

thread_local! {
    /// A panic now is a failed write, and is dealt with.
    static PRINTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a write of a record to `sink` would not block. A pipe that polls
/// writable takes `PIPE_BUF` bytes, 4096 on Linux (pipe(7)), more than a record
/// has; a file always takes it or fails. A broken pipe polls as an error, and
/// the write finds that out. A terminal may poll writable and still block: see
/// [`unblock_terminal`].
pub fn takes_a_record(sink: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(sink, PollFlags::OUT)];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Makes stdout non-blocking if it is a terminal. That is a property of the
/// open file, which the shell shares, so the terminal is opened anew.
fn unblock_terminal() -> io::Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let name = ttyname(&stdout, Vec::new())?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        dup2_stdout(open(name, flags, Mode::empty())?)?;
    }
    Ok(())
}

/// Begins to log at `level`; the totals that SIGUSR1 asks for, at any level.
pub fn init(level: LevelFilter) {
    // Without a name, or the permission, it stays as it is.
    let _ = unblock_terminal();
    let mut logger = SimpleLogger::new().with_colors(io::stdout().is_terminal());
    if stdout_is_journal().unwrap_or(false) {
        logger = logger.without_timestamps();
    }
    let lost = AtomicU64::new(0);
    let guard = Guard {
        logger,
        level,
        lost,
    };
    log::set_boxed_logger(Box::new(guard)).expect("no other logger is set");
    log::set_max_level(level.max(LevelFilter::Info)); // The level of the totals.

    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if !PRINTING.get() {
            hook(info);
        }
    }));
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
