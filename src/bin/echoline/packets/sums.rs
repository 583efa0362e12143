//! The text of what connections and captures add up to.

use std::fmt::Write;

use echoline::Plural;
use echoline::capture::{
    Closed, NO_DIRECTION, Notes, PacketsPerLine, Report, Side, Summary, Undecided, Verdict,
};

use super::options::Options;
use super::words::{in_packets, time};

/// The line above the packets of a connection.
pub fn title(report: &Report) -> String {
    format!("{} > {}\n", report.client, report.server)
}

/// What a connection adds up to.
pub fn connection(report: &Report) -> String {
    let (counts, tally) = (&report.counts, &report.tally);
    let mut text = String::new();
    let at_least = if counts.merged > 0 { "at least " } else { "" };
    let _ = writeln!(
        text,
        "  {at_least}handshake {}, exchange {}, close {}; {} again, {} late, {} not captured",
        counts.handshake,
        counts.exchange,
        counts.close,
        counts.again,
        counts.late,
        Plural(report.not_captured, "byte"),
    );
    lines(&mut text, report);
    for (line, fault) in &tally.faults {
        let _ = writeln!(text, "  echo {line} {fault}");
    }
    let named = tally.faults.len() as u64;
    if tally.wrong > named {
        let _ = writeln!(text, "  {} more wrong echoes", tally.wrong - named);
    }
    if !tally.prefix.is_empty() {
        let _ = writeln!(
            text,
            "  before each echo: \"{}\"",
            tally.prefix.escape_ascii()
        );
    }
    places(&mut text, report);
    let _ = writeln!(text, "  {}", closed(report.closed));
    for reason in report.undecided.iter() {
        let _ = writeln!(
            text,
            "  not certain: {}",
            reason_words(reason, counts.needed_snaplen)
        );
    }
    text
}

/// Where the packets were seen, if there was a choice.
fn places(text: &mut String, report: &Report) {
    let (counts, point) = (&report.counts, report.point);
    if counts.elsewhere > 0 {
        let device = if point.device == 0 {
            String::new()
        } else {
            format!(", device {}", point.device)
        };
        let _ = writeln!(
            text,
            "  counted on interface {}{device}; {} seen elsewhere",
            point.interface,
            Plural(counts.elsewhere, "packet"),
        );
    } else if point.direction != NO_DIRECTION && point.device != 0 {
        let _ = writeln!(text, "  counted on device {}", point.device);
    }
    if counts.duplicates > 0 {
        let _ = writeln!(
            text,
            "  {} not counted",
            Plural(counts.duplicates, "duplicate")
        );
    }
}

fn lines(text: &mut String, report: &Report) {
    let (counts, tally) = (&report.counts, &report.tally);
    if counts.cut > 0 && tally.echoes == 0 {
        let _ = writeln!(text, "  lines not captured");
        return;
    }
    if tally.requests == 0 && tally.echoes == 0 {
        let _ = writeln!(text, "  no line");
        return;
    }
    let mut line = format!("  {}: ", Plural(tally.requests, "line"));
    line += &distribution(&tally.packets_per_line, tally.at_least > 0);
    if !tally.unusual.is_empty() {
        let numbers: Vec<_> = tally
            .unusual
            .iter()
            .map(|(number, _)| number.to_string())
            .collect();
        let noun = Plural::noun(numbers.len() as u64, "line");
        let more = if numbers.len() == 8 { ", …" } else { "" };
        let _ = write!(line, " ({noun} {}{more})", numbers.join(", "));
    }
    if let Some(ratio) = unusual_ratio(report.echo_packets, tally.echoes) {
        let _ = write!(line, "; {ratio:.2} data packets per line");
    }
    let (on_echo, stalls) = (tally.ack_on_echo, Plural(counts.stalls, "stall"));
    let _ = write!(
        line,
        "; ACK on the echo {on_echo} of {}; {stalls}",
        tally.matched
    );
    for (count, what) in [
        (tally.wrong, "wrong"),
        (tally.not_compared + tally.damaged, "not compared"),
        (tally.pending, "without an echo when the capture ends"),
    ] {
        if count > 0 {
            let _ = write!(line, "; {count} {what}");
        }
    }
    let _ = writeln!(text, "{line}");
}

/// Data packets per line, unless it is what the distribution says.
fn unusual_ratio(packets: u64, lines: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    (lines > 0 && packets != lines).then(|| packets as f64 / lines as f64)
}

/// "1 in one packet, 2 in two packets".
fn distribution(counts: &PacketsPerLine, at_least: bool) -> String {
    let at_least = if at_least { "at least " } else { "" };
    let parts = counts.iter();
    let parts: Vec<_> = parts
        .map(|(packets, lines)| format!("{lines} in {at_least}{}", in_packets(packets)))
        .collect();
    if parts.is_empty() {
        "no echo".to_owned()
    } else {
        parts.join(", ")
    }
}

fn closed(closed: Closed) -> String {
    match closed {
        Closed::Both(Some(Side::Client), after) => {
            format!("the client closed first, the server {} later", time(after))
        }
        Closed::Both(Some(Side::Server), after) => {
            format!("the server closed first, the client {} later", time(after))
        }
        Closed::Both(None, after) => format!("both sides closed, within {}", time(after)),
        Closed::ByClientOnly(since) if since.as_secs() >= 2 => format!(
            "no FIN from the server in the {} that follow the client's: its socket is in CLOSE_WAIT",
            time(since)
        ),
        Closed::ByClientOnly(since) => format!(
            "no FIN from the server; the capture ends {} after the client's, too early to tell",
            time(since)
        ),
        Closed::ByServerOnly(since) => {
            format!(
                "no FIN from the client in the {} that follow the server's",
                time(since)
            )
        }
        Closed::Reset(Some(Side::Client)) => "reset by the client".to_owned(),
        Closed::Reset(Some(Side::Server)) => "reset by the server".to_owned(),
        Closed::Reset(None) => "reset".to_owned(),
        Closed::Open(since) => format!(
            "open; the capture ends {} after its last packet",
            time(since)
        ),
        _ => "ended otherwise".to_owned(),
    }
}

fn reason_words(reason: Undecided, needed_snaplen: u32) -> String {
    match reason {
        Undecided::Snaplen => format!("{reason} (-s {needed_snaplen} would have sufficed)"),
        _ => reason.to_string(),
    }
}

/// The sums at the end.
pub fn summary(options: &Options, summary: &Summary, notes: Notes, packets: u64) -> String {
    let totals = &summary.totals;
    let mut text = String::new();
    let (packets, connections) = (
        Plural(packets, "packet"),
        Plural(totals.connections, "connection"),
    );
    let _ = writeln!(text, "--- {}: {packets}, {connections} ---", options.name());
    if totals.connections != 1 || options.quiet {
        let at_least = if totals.merged > 0 { "at least " } else { "" };
        let _ = writeln!(
            text,
            "{at_least}handshake {}, exchange {}, close {}; {} again, {} late, {} not captured",
            totals.handshake,
            totals.exchange,
            totals.close,
            totals.again,
            totals.late,
            Plural(totals.not_captured, "byte"),
        );
        let _ = write!(text, "{}: ", Plural(totals.requests, "line"));
        text += &distribution(&totals.packets_per_line, totals.merged > 0);
        if let Some(ratio) = unusual_ratio(totals.echo_packets, totals.echoes) {
            let _ = write!(text, "; {ratio:.2} data packets per line");
        }
        let (on_echo, matched) = (totals.ack_on_echo, totals.matched);
        let stalls = Plural(totals.stalls, "stall");
        let _ = writeln!(
            text,
            "; ACK on the echo {on_echo} of {matched}; {stalls}; {} wrong, {} not compared",
            totals.wrong, totals.not_compared
        );
        let _ = writeln!(
            text,
            "{} closed by both sides, {} reset",
            totals.closed, totals.reset
        );
    }
    for (kind, count) in summary.other.iter() {
        let _ = writeln!(text, "in no connection: {count} {kind}");
    }
    if summary.no_echo > 0 {
        let _ = writeln!(
            text,
            "no line echo: {}",
            Plural(summary.no_echo, "connection")
        );
    }
    if notes.dropped > 0 {
        let _ = writeln!(
            text,
            "the capture says that it lost {}",
            Plural(notes.dropped, "packet")
        );
    }
    verdict(&mut text, options, summary);
    text
}

fn verdict(text: &mut String, options: &Options, summary: &Summary) {
    let totals = &summary.totals;
    let words = match summary.verdict {
        Verdict::Met if options.expects() => "as expected".to_owned(),
        Verdict::Failed => {
            let counts = [
                (totals.wrong, "wrong"),
                (totals.unexpected_packets, "in another number of packets"),
                (totals.not_closed, "without the server's FIN"),
            ];
            let expected = &options.analysis.expectations;
            let relevant = [true, expected.packets.is_some(), expected.close];
            let counts = counts
                .iter()
                .zip(relevant)
                .filter(|((count, _), relevant)| *relevant && *count > 0);
            let counts: Vec<_> = counts
                .map(|((count, what), _)| format!("{count} {what}"))
                .collect();
            format!("not as expected: {}", counts.join(", "))
        }
        Verdict::CannotTell => {
            let reasons = summary.undecided.iter();
            let reasons: Vec<_> = reasons
                .map(|reason| reason_words(reason, totals.needed_snaplen))
                .collect();
            format!("cannot tell: {}", reasons.join("; "))
        }
        Verdict::Met | Verdict::NoEcho => return,
    };
    let _ = writeln!(text, "{words}");
}
