//! `echoline packets`: the packets of a capture, and what they add up to.

mod input;
mod json;
pub mod options;
mod output;
mod rows;
mod sums;
mod words;

use std::io;

use echoline::capture::{Analysis, Reader, Summary, Verdict};

use input::{Clock, Input};
use options::Options;
use output::Output;

/// Reads the capture; returns the exit status.
///
/// # Errors
///
/// If the capture is unreadable, or has no line echo.
pub fn run(options: &Options) -> io::Result<u8> {
    let in_file = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", options.name()));
    let input = Input::open(&options.file).map_err(in_file)?;
    let is_live = input.is_live;
    if is_live {
        input::ignore_first_interrupt()?;
    }
    let mut reader = Reader::new(input).map_err(in_file)?;
    let mut analysis = Analysis::new(options.analysis);
    let mut output = Output::new(options, is_live);
    let (mut clock, mut packets) = (Clock::default(), 0);
    let damage = loop {
        match reader.next() {
            Ok(Some(record)) => {
                analysis.packet(&record, |event| output.event(&event));
                packets = record.number;
                if is_live {
                    clock.packet(record.time);
                }
            }
            Ok(None) => break None,
            Err(e) => break Some(e),
        }
    };
    let notes = reader.notes();
    let summary = analysis.finish(notes, clock.end(), damage.is_some(), |event| {
        output.event(&event);
    });
    output.summary(&summary, notes, packets);
    if notes.cut {
        warn(&format!("{}: the last record is cut", options.name()));
    }
    if let Some(damage) = damage {
        let name = options.name();
        let text = format!("{name}: unreadable after packet {packets}: {damage}");
        if !matches!(status(&summary), 1 | 4) {
            return Err(io::Error::new(damage.kind(), text));
        }
        warn(&text);
    }
    if summary.verdict == Verdict::NoEcho {
        let why = words::why_no_echo(&summary, packets);
        return Err(io::Error::other(format!("{}: {why}", options.name())));
    }
    Ok(status(&summary))
}

fn status(summary: &Summary) -> u8 {
    match summary.verdict {
        Verdict::Met => 0,
        Verdict::Failed => 1,
        Verdict::NoEcho => 3,
        Verdict::CannotTell => 4,
    }
}

fn warn(text: &str) {
    use io::Write;
    let _ = io::stderr().write_all(format!("echoline: {text}\n").as_bytes());
}
