//! The daemon's logger: `simple_logger` to stdout, made non-blocking.
//!
//! `simple_logger` prints with `println!`, which blocks on a full pipe or a stopped
//! terminal and panics when the write fails. The wrapper polls stdout first and
//! catches the panic, so a record never blocks the loop and never ends the process.
//! Lost records are counted, and reported when printing works again.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};

use echoline::{Plural, TOTALS_TARGET};
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, Stat, fstat, open};
use rustix::stdio::dup2_stdout;
use rustix::termios::ttyname;
use simple_logger::SimpleLogger;

use crate::log_filter::LogFilter;
use crate::records::RecordsLost;

/// The target that records of this package are printed with, instead of the module
/// path.
const TARGET: &str = env!("CARGO_PKG_NAME");

/// Records lost since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Records lost since the start.
pub fn lost_records() -> u64 {
    LOST.load(Ordering::Relaxed)
}

struct NonBlockingLogger {
    /// Prints every record that it gets.
    inner: SimpleLogger,
    /// journald reads stdout.
    to_journal: bool,
    filter: LogFilter,
    /// Lost records that have been reported. A record that failed halfway, as on a full
    /// disk, may still leave stdout's buffer later.
    reported: AtomicU64,
}

impl Log for NonBlockingLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        metadata.level() <= self.filter.level_of(target) || target == TOTALS_TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let own = record.target().starts_with(TARGET);
        let target = if own { TARGET } else { record.target() };
        if !self.report_lost() || !self.print(record.level(), target, *record.args()) {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

impl NonBlockingLogger {
    /// Prints how many records were lost since the last report, if any. Returns false if that failed.
    fn report_lost(&self) -> bool {
        let lost = lost_records() - self.reported.load(Ordering::Relaxed);
        if lost == 0 {
            return true;
        }
        let record = RecordsLost {
            records: Plural(lost, "log record"),
        };
        let printed = self.print(RecordsLost::LEVEL, TARGET, format_args!("{record}"));
        if printed {
            self.reported.fetch_add(lost, Ordering::Relaxed);
        }
        printed
    }

    /// Prints a record if stdout takes it at once. Returns whether it was printed.
    fn print(&self, level: Level, target: &str, args: fmt::Arguments<'_>) -> bool {
        let metadata = Metadata::builder().level(level).target(target).build();
        let record = Record::builder().metadata(metadata).args(args).build();
        let print = AssertUnwindSafe(|| {
            if self.to_journal {
                // Stays in stdout's buffer, so the record is still one write.
                print!("{}", priority(level));
            }
            self.inner.log(&record);
        });
        is_writable(&io::stdout()) && {
            PRINTING.set(true);
            let result = panic::catch_unwind(print);
            PRINTING.set(false);
            result.is_ok()
        }
    }
}

thread_local! {
    /// A panic is a failed write, which `print` catches.
    static PRINTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a write of one record to `sink` would not block.
///
/// A pipe that polls writable takes `PIPE_BUF` bytes, 4096 on Linux (pipe(7)), which
/// is more than a record has. A file takes a record or fails at once. A broken pipe
/// polls as an error, which the write returns. A terminal may poll writable and still
/// block; see [`unblock_terminal`].
pub fn is_writable(sink: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(sink, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Makes stdout non-blocking if it is a terminal. The shell shares the open file
/// and with it the flag, so the terminal is opened again.
fn unblock_terminal() -> io::Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let name = ttyname(&stdout, Vec::new())?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        dup2_stdout(open(name, flags, Mode::empty())?)?;
    }
    Ok(())
}

/// Starts logging what `filter` lets through. Totals that SIGUSR1 asks for are logged at any level.
pub fn init(filter: &LogFilter) {
    // Without a name or the permission, the terminal stays as it is.
    let _ = unblock_terminal();
    let mut inner = SimpleLogger::new().with_colors(io::stdout().is_terminal());
    let to_journal = is_journal(&io::stdout());
    if to_journal {
        inner = inner.without_timestamps(); // journald adds its own.
    }
    let logger = NonBlockingLogger {
        inner,
        to_journal,
        filter: filter.clone(),
        reported: AtomicU64::new(0),
    };
    log::set_boxed_logger(Box::new(logger)).expect("no other logger is set");
    log::set_max_level(filter.most_verbose().max(LevelFilter::Info)); // Info is the level of totals.

    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if !PRINTING.get() {
            hook(info);
        }
    }));
}

/// How a record of this level begins where journald reads it (`sd-daemon(3)`).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// How a line for `sink` begins: with its priority if journald reads `sink`.
pub fn priority_prefix(sink: &impl AsFd, level: Level) -> &'static str {
    if is_journal(sink) {
        priority(level)
    } else {
        ""
    }
}

/// Whether journald reads `sink`: `JOURNAL_STREAM` holds the device and inode of its
/// socket (systemd.exec(5)).
fn is_journal(sink: &impl AsFd) -> bool {
    let stream = |stat: Stat| format!("{}:{}", stat.st_dev, stat.st_ino);
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|journal| fstat(sink).is_ok_and(|stat| stream(stat) == journal))
}
