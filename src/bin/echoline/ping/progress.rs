//! The progress of a quiet run, in one line on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::options::Options;

/// Time between two updates.
const INTERVAL: Duration = Duration::from_millis(100);

/// Echoes between two looks at the clock.
const STEP: u64 = 64;

/// A line on stderr that is written over and over.
pub struct Progress {
    /// Lines of the whole run.
    lines: Option<u64>,
    deadline: Option<Duration>,
    echoed: u64,
    started: Instant,
    updated: Instant,
}

impl Progress {
    /// For quiet runs with an end, where stderr is a terminal.
    pub fn start(options: &Options) -> Option<Progress> {
        let lines = options.lines_per_connection();
        let lines = lines.and_then(|lines| lines.checked_mul(options.connections));
        let has_end = lines.is_some() || options.deadline.is_some();
        if !has_end || !options.quiet || options.json || !io::stderr().is_terminal() {
            return None;
        }
        let now = Instant::now();
        Some(Progress {
            lines,
            deadline: options.deadline,
            echoed: 0,
            started: now,
            updated: now,
        })
    }

    /// Counts an echo.
    pub fn count(&mut self) {
        self.echoed += 1;
        let slow = self.lines.is_some_and(|lines| lines < STEP);
        if (slow || self.echoed.is_multiple_of(STEP)) && self.updated.elapsed() >= INTERVAL {
            self.updated = Instant::now();
            self.draw();
        }
    }

    fn draw(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let of = self
            .lines
            .map_or(String::new(), |lines| format!(" of {lines}"));
        let end = self.deadline.map_or(String::new(), |deadline| {
            format!(" of {:.0}", deadline.as_secs_f64())
        });
        let text = format!("\r{}{of} lines in {seconds:.1}{end} s\x1b[K", self.echoed);
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Clears the line.
    pub fn clear(self) {
        if self.updated > self.started {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
