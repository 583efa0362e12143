//! The text of `echoline packets`: a row per packet, and the sums.

use std::fmt::Write;

use echoline::capture::{
    Acked, Closed, Kind, NO_DIRECTION, Notes, Packet, PacketsPerLine, Report, Side, Span, Summary,
    Undecided, Verdict,
};

use super::options::Options;
use super::words::{Count, Numbers, in_packets, time};

/// TCP's FIN flag.
const FIN: u16 = 0x01;

/// A packet: number, time since the one before, sender, content.
pub fn packet(packet: &Packet) -> String {
    let sender = match packet.from {
        Some(Side::Client) => "client".to_owned(),
        Some(Side::Server) => "server".to_owned(),
        None => packet.addr().to_string(),
    };
    let (sign, since) = (
        if packet.since < 0 { '-' } else { '+' },
        packet.since.unsigned_abs(),
    );
    let (seconds, micros) = (since / 1_000_000_000, since / 1_000 % 1_000_000);
    let mut row = format!("{:>5} {sign}{seconds}.{micros:06} {sender} ", packet.number);
    row += &content(packet);
    if let Some(stall) = packet.stall {
        let _ = write!(
            row,
            "; a stall: the part before waited {} for its ACK",
            time(stall)
        );
    }
    if packet.zero_window {
        row += "; zero window";
    }
    if packet.segments > 1 {
        let _ = write!(row, "; at least {} packets on the wire", packet.segments);
    }
    row
}

fn content(packet: &Packet) -> String {
    let len = Count(packet.len.into(), "byte");
    let ack = packet.acked.map(acked_words);
    let with_ack = ack
        .as_ref()
        .map_or(String::new(), |ack| format!(", with the ACK of {ack}"));
    let fin = if packet.flags & FIN == 0 { "" } else { ", FIN" };
    match packet.kind {
        Kind::Syn | Kind::SynAck => {
            let name = if packet.kind == Kind::Syn {
                "SYN"
            } else {
                "SYN, ACK"
            };
            match packet.lines {
                Some(lines) => format!("{name}, {}", span(packet, lines)),
                None => name.to_owned(),
            }
        }
        Kind::Ack => ack.map_or("ACK".to_owned(), |ack| format!("ACK of {ack}")),
        Kind::Data | Kind::Late => {
            let late = if packet.kind == Kind::Late {
                "late: "
            } else {
                ""
            };
            let gap = if packet.after_a_gap {
                " after a gap"
            } else {
                ""
            };
            let what = packet
                .lines
                .map_or_else(|| len.to_string(), |lines| span(packet, lines));
            format!("{late}{what}{gap}{fin}{with_ack}")
        }
        Kind::Again if packet.len > 0 => format!("again: {len}{fin}{with_ack}"),
        Kind::Again if packet.flags & FIN == 0 => "again: SYN".to_owned(),
        Kind::Again => format!("again: FIN{with_ack}"),
        Kind::Fin => format!("FIN{with_ack}"),
        Kind::Rst if packet.len > 0 => format!("RST, {len} of text"),
        Kind::Rst => "RST".to_owned(),
        Kind::KeepAlive => "keep-alive".to_owned(),
        Kind::ZeroWindowProbe => "zero-window probe".to_owned(),
        Kind::WindowUpdate => "window update".to_owned(),
        Kind::DuplicateAck => "ACK of nothing new".to_owned(),
        Kind::Duplicate => "a duplicate of another device, not counted".to_owned(),
        _ => len.to_string(),
    }
}

fn acked_words(acked: Acked) -> String {
    match acked {
        Acked::Lines(first, last) => Numbers("line", first, last).to_string(),
        Acked::Echoes(first, last) => Numbers("echo", first, last).to_string(),
        Acked::PartOfEcho(number) => format!("a part of echo {number}"),
        Acked::Fin => "the FIN".to_owned(),
    }
}

/// "line 1, 2 bytes", "echo 1, byte 1 of 2", "echo 1, byte 2 of 2: the newline alone".
fn span(packet: &Packet, lines: Span) -> String {
    let noun = if packet.from == Some(Side::Client) {
        "line"
    } else {
        "echo"
    };
    let numbers = Numbers(noun, lines.first, lines.last);
    let is_whole = lines.first_byte == 1 && lines.ends;
    if is_whole || lines.first != lines.last {
        let mut text = format!("{numbers}, {}", Count(packet.len.into(), "byte"));
        if lines.first_byte > 1 {
            let _ = write!(text, ", from byte {} of the first", lines.first_byte);
        }
        if !lines.ends {
            let _ = write!(text, ", up to byte {} of the last", lines.last_byte);
        }
        return text;
    }
    let of = lines.len.map_or(String::new(), |len| format!(" of {len}"));
    let (first, last) = (lines.first_byte, lines.last_byte);
    let bytes = if first == last {
        format!("byte {first}")
    } else {
        format!("bytes {first} to {last}")
    };
    let newline = if lines.ends && first == last {
        ": the newline alone"
    } else {
        ""
    };
    format!("{numbers}, {bytes}{of}{newline}")
}

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
        Count(report.not_captured, "byte"),
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
            Count(counts.elsewhere, "packet"),
        );
    } else if point.direction != NO_DIRECTION && point.device != 0 {
        let _ = writeln!(text, "  counted on device {}", point.device);
    }
    if counts.duplicates > 0 {
        let _ = writeln!(
            text,
            "  {} not counted",
            Count(counts.duplicates, "duplicate")
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
    let mut line = format!("  {}: ", Count(tally.requests, "line"));
    line += &distribution(&tally.packets_per_line, tally.at_least > 0);
    if !tally.unusual.is_empty() {
        let numbers: Vec<_> = tally
            .unusual
            .iter()
            .map(|(number, _)| number.to_string())
            .collect();
        let noun = if numbers.len() == 1 { "line" } else { "lines" };
        let more = if numbers.len() == 8 { ", …" } else { "" };
        let _ = write!(line, " ({noun} {}{more})", numbers.join(", "));
    }
    if let Some(ratio) = unusual_ratio(report.echo_packets, tally.echoes) {
        let _ = write!(line, "; {ratio:.2} data packets per line");
    }
    let (on_echo, stalls) = (tally.ack_on_echo, Count(counts.stalls, "stall"));
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
        Count(packets, "packet"),
        Count(totals.connections, "connection"),
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
            Count(totals.not_captured, "byte"),
        );
        let _ = write!(text, "{}: ", Count(totals.requests, "line"));
        text += &distribution(&totals.packets_per_line, totals.merged > 0);
        if let Some(ratio) = unusual_ratio(totals.echo_packets, totals.echoes) {
            let _ = write!(text, "; {ratio:.2} data packets per line");
        }
        let (on_echo, matched) = (totals.ack_on_echo, totals.matched);
        let stalls = Count(totals.stalls, "stall");
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
            Count(summary.no_echo, "connection")
        );
    }
    if notes.dropped > 0 {
        let _ = writeln!(
            text,
            "the capture says that it lost {}",
            Count(notes.dropped, "packet")
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
                (totals.wrong, "wrong echoes"),
                (
                    totals.unexpected_packets,
                    "echoes in another number of packets",
                ),
                (totals.not_closed, "connections without the server's FIN"),
            ];
            let relevant = [true, options.expect_packets.is_some(), options.expect_close];
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
