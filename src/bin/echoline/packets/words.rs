//! Numbers, nouns and times in words.

use std::fmt;
use std::time::Duration;

use echoline::Plural;
use echoline::capture::Summary;

/// "line 1", "lines 1 to 3".
pub struct Numbers(pub &'static str, pub u64, pub u64);

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Numbers(noun, first, last) if first == last => write!(f, "{noun} {first}"),
            Numbers("echo", first, last) => write!(f, "echoes {first} to {last}"),
            Numbers(noun, first, last) => write!(f, "{noun}s {first} to {last}"),
        }
    }
}

/// "one packet", "two packets", "11 packets".
pub fn in_packets(packets: u32) -> String {
    const WORDS: [&str; 10] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    let number = WORDS
        .get(packets as usize)
        .map_or_else(|| packets.to_string(), ToString::to_string);
    format!("{number} {}", Plural::noun(packets.into(), "packet"))
}

/// "0.3 ms", "3.0 s".
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// Why a capture has no line echo.
pub fn why_no_echo(summary: &Summary, packets: u64) -> String {
    let details = if summary.no_echo > 0 {
        format!(
            "{}; with --port, any counts",
            Plural(summary.no_echo, "connection")
        )
    } else if packets == 0 {
        "no packet".to_owned()
    } else {
        let kinds = summary.other.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        format!("{}: {}", Plural(packets, "packet"), kinds.join(", "))
    };
    format!("no TCP connection with a line echo in it ({details})")
}
