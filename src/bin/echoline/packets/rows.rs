//! The text of a packet.

use std::fmt::Write;

use echoline::Plural;
use echoline::capture::{Acked, Kind, Packet, Side, Span};

use super::words::{Numbers, time};

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
    let len = Plural(packet.len.into(), "byte");
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
        let mut text = format!("{numbers}, {}", Plural(packet.len.into(), "byte"));
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
