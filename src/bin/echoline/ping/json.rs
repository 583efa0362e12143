//! The JSON form of what `echoline ping` prints: one object per line.

use std::time::Duration;

use echoline::client::{Close, Event, PrefixCounts, Statistics};
use serde_json::{Value, json};

/// A duration in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
pub fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

/// What happened on a connection; `packets` are the data packets of an echo.
pub fn event(event: Event, packets: Option<u64>) -> Value {
    match event {
        Event::Echo {
            connection,
            line,
            len,
            round_trip,
        } => json!({
            "event": "echo", "connection": connection, "line": line, "bytes": len,
            "rtt_ms": millis(round_trip), "packets": packets,
        }),
        Event::Segments {
            connection,
            lines,
            segments,
        } => json!({
            "event": "burst", "connection": connection, "lines": lines, "packets": segments,
        }),
        Event::Late {
            connection,
            line,
            round_trip,
        } => json!({
            "event": "late", "connection": connection, "line": line, "rtt_ms": millis(round_trip),
        }),
        Event::Wrong {
            connection,
            line,
            fault,
        } => json!({
            "event": "wrong", "connection": connection, "line": line, "fault": fault.to_string(),
        }),
        Event::Lost { connection, line } => json!({
            "event": "lost", "connection": connection, "line": line,
        }),
        Event::Closed { connection, close } => json!({
            "event": "closed", "connection": connection, "close": close_name(close),
        }),
        _ => Value::Null,
    }
}

fn close_name(close: Close) -> &'static str {
    match close {
        Close::Clean(_) => "clean",
        Close::Early => "early",
        Close::Missing => "missing",
        _ => "failed", // The library may know more ways in future.
    }
}

/// The statistics at the end; with the prefixes if they are counted.
pub fn summary(statistics: &Statistics, count_prefixes: bool) -> Value {
    let times = statistics.round_trips();
    let quantile = |fraction| (!times.is_empty()).then(|| millis(times.quantile(fraction)));
    let closes = &statistics.closes;
    let mut summary = json!({
        "event": "summary",
        "connections": statistics.connections,
        "sent": statistics.sent, "echoed": statistics.echoed, "wrong": statistics.wrong,
        "lost": statistics.lost, "late": statistics.late,
        "unexpected_packets": statistics.unexpected_segments,
        "rtt_ms": {
            "min": quantile(0.0), "avg": (!times.is_empty()).then(|| millis(times.mean())),
            "p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1.0),
        },
        "packets": statistics.segments.map(|counts| json!({
            "out": counts.segs_out, "data_out": counts.data_segs_out,
            "in": counts.segs_in, "data_in": counts.data_segs_in,
            "retransmitted": counts.retransmitted,
            "data_in_per_line": statistics.data_segments_per_line(),
        })),
        "closes": {
            "clean": closes.clean, "early": closes.early,
            "missing": closes.missing, "failed": closes.failed,
        },
    });
    if count_prefixes {
        let PrefixCounts { echoes, others, .. } = &statistics.prefixes;
        let name = |prefix: &[u8]| prefix.escape_ascii().to_string();
        let echoes = echoes.iter();
        let counts = echoes.map(|(prefix, &count)| (name(prefix), count.into()));
        summary["prefixes"] = Value::Object(counts.collect());
        summary["other_prefixes"] = (*others).into();
    }
    summary
}
