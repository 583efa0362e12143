//! The JSON form of what `echoline packets` prints: one object per line.

use echoline::capture::{
    Acked, Closed, Kind, Notes, Packet, PacketsPerLine, Reasons, Report, Side, Summary,
};
use serde_json::{Map, Value, json};

use crate::ping::json::millis;

const FLAGS: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn nanos(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

/// A packet; its time counts from that of the capture's first packet, `start`.
pub fn packet(packet: &Packet, start: i64) -> Value {
    let is_set = |(bit, _): &(usize, &&str)| packet.flags & (1 << bit) != 0;
    let flags: Vec<_> = FLAGS
        .iter()
        .enumerate()
        .filter(is_set)
        .map(|(_, name)| name)
        .collect();
    json!({
        "event": "packet",
        "number": packet.number,
        "time_ms": nanos(packet.time.saturating_sub(start)),
        "since_ms": nanos(packet.since),
        "connection": packet.connection,
        "from": packet.from.map(side),
        "addr": packet.addr().to_string(),
        "flags": flags,
        "len": packet.len,
        "at_least_packets": packet.segments,
        "kind": kind(packet.kind),
        "lines": packet.lines.map(|lines| json!({
            "first": lines.first, "last": lines.last,
            "first_byte": lines.first_byte, "last_byte": lines.last_byte, "ends": lines.ends,
        })),
        "acked": packet.acked.map(acked),
        "stall_ms": packet.stall.map(millis),
        "zero_window": packet.zero_window,
    })
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Syn => "syn",
        Kind::SynAck => "syn_ack",
        Kind::Ack => "ack",
        Kind::Data => "data",
        Kind::Late => "late",
        Kind::Again => "again",
        Kind::Fin => "fin",
        Kind::Rst => "rst",
        Kind::KeepAlive => "keep_alive",
        Kind::ZeroWindowProbe => "zero_window_probe",
        Kind::WindowUpdate => "window_update",
        Kind::DuplicateAck => "duplicate_ack",
        Kind::Duplicate => "duplicate",
        _ => "other",
    }
}

fn acked(acked: Acked) -> Value {
    match acked {
        Acked::Lines(first, last) => json!({ "lines": [first, last] }),
        Acked::Echoes(first, last) => json!({ "echoes": [first, last] }),
        Acked::PartOfEcho(number) => json!({ "part_of_echo": number }),
        Acked::Fin => json!({ "fin": true }),
    }
}

fn reasons(reasons: Reasons) -> Vec<&'static str> {
    reasons
        .iter()
        .map(echoline::capture::Undecided::name)
        .collect()
}

fn packets_per_line(counts: &PacketsPerLine) -> Value {
    let counts = counts
        .iter()
        .map(|(packets, lines)| (packets.to_string(), lines.into()));
    Value::Object(counts.collect::<Map<_, _>>())
}

fn closed(closed: Closed) -> Value {
    let (how, by, time) = match closed {
        Closed::Both(first, after) => ("both", first, Some(after)),
        Closed::ByClientOnly(since) => ("client_only", Some(Side::Client), Some(since)),
        Closed::ByServerOnly(since) => ("server_only", Some(Side::Server), Some(since)),
        Closed::Reset(by) => ("reset", by, None),
        Closed::Open(since) => ("open", None, Some(since)),
        _ => ("other", None, None),
    };
    json!({ "how": how, "first": by.map(side), "after_ms": time.map(millis) })
}

/// A connection of which no more packets come.
pub fn connection(report: &Report) -> Value {
    let (counts, tally) = (&report.counts, &report.tally);
    let faults = tally.faults.iter();
    let faults = faults.map(|(line, fault)| json!({ "line": line, "fault": fault.to_string() }));
    let mut connection = json!({
        "event": "connection",
        "connection": report.number,
        "client": report.client.to_string(), "server": report.server.to_string(),
        "roles_known": report.roles_known,
        "interface": report.point.interface, "device": report.point.device,
        "handshake": counts.handshake, "exchange": counts.exchange, "close": counts.close,
        "again": counts.again, "late": counts.late, "not_captured": report.not_captured,
        "merged": counts.merged, "duplicates": counts.duplicates, "elsewhere": counts.elsewhere,
        "cut": counts.cut, "needed_snaplen": counts.needed_snaplen,
    });
    let lines = json!({
        "lines": tally.requests, "echoes": tally.echoes, "right": tally.matched,
        "wrong": tally.wrong, "faults": faults.collect::<Vec<_>>(),
        "not_compared": tally.not_compared + tally.damaged, "pending": tally.pending,
        "prefix": (!tally.prefix.is_empty()).then(|| tally.prefix.escape_ascii().to_string()),
        "echo_packets": report.echo_packets,
        "packets_per_line": packets_per_line(&tally.packets_per_line),
        "unexpected_packets": tally.unexpected_packets,
        "at_least": tally.at_least > 0 || counts.merged > 0,
        "ack_on_echo": tally.ack_on_echo, "stalls": counts.stalls,
        "closed": closed(report.closed),
        "undecided": reasons(report.undecided),
    });
    if let (Value::Object(all), Value::Object(lines)) = (&mut connection, lines) {
        all.extend(lines);
    }
    connection
}

/// The sums at the end.
pub fn summary(summary: &Summary, notes: Notes, packets: u64) -> Value {
    let totals = &summary.totals;
    let other = summary
        .other
        .iter()
        .map(|(kind, count)| (kind.to_string(), count.into()));
    let mut all = json!({
        "event": "summary",
        "packets": packets, "connections": totals.connections, "no_echo": summary.no_echo,
        "other": Value::Object(other.collect::<Map<_, _>>()),
        "cut": notes.cut, "dropped": notes.dropped,
        "handshake": totals.handshake, "exchange": totals.exchange, "close": totals.close,
        "again": totals.again, "late": totals.late, "not_captured": totals.not_captured,
        "merged": totals.merged, "duplicates": totals.duplicates, "elsewhere": totals.elsewhere,
        "needed_snaplen": totals.needed_snaplen,
    });
    let lines = json!({
        "lines": totals.requests, "echoes": totals.echoes, "right": totals.matched,
        "wrong": totals.wrong, "not_compared": totals.not_compared, "pending": totals.pending,
        "echo_packets": totals.echo_packets,
        "packets_per_line": packets_per_line(&totals.packets_per_line),
        "unexpected_packets": totals.unexpected_packets,
        "ack_on_echo": totals.ack_on_echo, "stalls": totals.stalls,
        "closed": totals.closed, "not_closed": totals.not_closed, "reset": totals.reset,
        "verdict": summary.verdict.name(), "undecided": reasons(summary.undecided),
    });
    if let (Value::Object(all), Value::Object(lines)) = (&mut all, lines) {
        all.extend(lines);
    }
    all
}
