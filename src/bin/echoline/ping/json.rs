//! The JSON form of what `echoline ping` prints: one object per line.

use std::time::Duration;

use echoline::client::{Close, Distribution, Ending, Event, PrefixCounts, Statistics};
use serde_json::{Value, json};

use super::options::Options;

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
        Event::Extra { connection, len } => json!({
            "event": "extra", "connection": connection, "bytes": len,
        }),
        Event::Closed { connection, ending } => closed(connection, ending),
        _ => Value::Null,
    }
}

fn closed(connection: u64, ending: Ending) -> Value {
    let error = match ending.close {
        Close::Failed(failure) => Some(failure.to_string()),
        _ => None,
    };
    json!({
        "event": "closed", "connection": connection, "close": close_name(ending.close),
        "error": error, "last_line": ending.last_line, "outstanding": ending.outstanding,
    })
}

fn close_name(close: Close) -> &'static str {
    match close {
        Close::Clean(_) => "clean",
        Close::Early => "early",
        Close::Missing => "missing",
        _ => "failed", // The library may know more ways in future.
    }
}

/// The summary at the end.
pub fn summary(statistics: &Statistics, options: &Options) -> Value {
    let times = statistics.round_trips();
    let quantile = |fraction| (!times.is_empty()).then(|| millis(times.quantile(fraction)));
    let expects_packets = options.expect_packets.is_some();
    let mut summary = json!({
        "event": "summary",
        "connections": statistics.connections,
        "sent": statistics.sent, "echoed": statistics.echoed, "wrong": statistics.wrong,
        "extra": statistics.extra, "lost": statistics.lost, "late": statistics.late,
        "unexpected_packets": expects_packets.then_some(statistics.unexpected_segments),
        "rtt_ms": {
            "min": quantile(0.0), "avg": (!times.is_empty()).then(|| millis(times.mean())),
            "p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1.0),
        },
        "min_segment_rtt_ms": statistics.min_segment_rtt.map(millis),
        "delayed_ack_ms": statistics.suspected_delay().map(millis),
        "packets": statistics.segments.map(|counts| json!({
            "out": counts.segs_out, "data_out": counts.data_segs_out,
            "in": counts.segs_in, "data_in": counts.data_segs_in,
            "retransmitted": counts.retransmitted,
            "data_in_per_line": statistics.data_segments_per_line(),
        })),
        "distribution": distribution(&statistics.distribution),
        "first_bursts": distribution(&statistics.first_bursts),
        "closes": closes(statistics),
    });
    if options.count_prefixes {
        let PrefixCounts { echoes, others, .. } = &statistics.prefixes;
        let name = |prefix: &[u8]| prefix.escape_ascii().to_string();
        let echoes = echoes.iter();
        let counts = echoes.map(|(prefix, &count)| (name(prefix), count.into()));
        summary["prefixes"] = Value::Object(counts.collect());
        summary["other_prefixes"] = (*others).into();
    }
    summary
}

fn closes(statistics: &Statistics) -> Value {
    let closes = &statistics.closes;
    let failures = closes.failures.iter();
    let failures = failures.map(|(failure, &count)| (failure.to_string(), count.into()));
    json!({
        "clean": closes.clean, "early": closes.early,
        "missing": closes.missing, "failed": closes.failed,
        "failures": Value::Object(failures.collect()),
    })
}

/// How often the echoes of a line, or of a burst, took how many packets.
fn distribution(distribution: &Distribution) -> Value {
    let tallies = distribution.by_frequency().into_iter();
    let tallies = tallies.map(|(packets, tally)| {
        let first = tally.first.iter();
        let first = first.map(|(connection, line)| json!({"connection": connection, "line": line}));
        json!({"packets": packets, "times": tally.times, "first": first.collect::<Vec<_>>()})
    });
    tallies.collect()
}
