//! The capture as a file or a stream, and until when a live one ran.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// A packet that arrives this long after its time is live.
const LIVE: Duration = Duration::from_secs(2);
/// Exit status after a second SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

pub struct Input {
    file: File,
    pub is_live: bool,
}

/// When the last packet of a live capture came.
#[derive(Default)]
pub struct Clock(Option<(i64, Instant)>);

impl Input {
    pub fn open(path: &Path) -> io::Result<Input> {
        let file = if path.as_os_str() == "-" {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let is_live = !kind.is_file();
        Ok(Input { file, is_live })
    }
}

/// Ctrl-C goes to tcpdump too, which then writes what it still has: the first is ignored until
/// the pipe ends, the second ends the program.
pub fn ignore_first_interrupt() -> io::Result<()> {
    let seen = Arc::new(AtomicBool::new(false));
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED, Arc::clone(&seen))?;
    flag::register(SIGINT, seen)?;
    Ok(())
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Clock {
    /// A packet of this time has come.
    pub fn packet(&mut self, time: i64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time_since = Duration::from_nanos(u64::try_from(time).unwrap_or(0));
        let is_live = now.abs_diff(time_since) < LIVE;
        self.0 = is_live.then(|| (time, Instant::now()));
    }

    /// Until when the capture ran, if its last packet came live: as a file that is piped shows
    /// nothing by the time that it takes.
    pub fn end(&self) -> Option<i64> {
        let (time, arrival) = self.0?;
        let since = i64::try_from(arrival.elapsed().as_nanos()).ok()?;
        time.checked_add(since)
    }
}
