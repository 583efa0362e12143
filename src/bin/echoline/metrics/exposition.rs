//! Pure: the metrics as text, in the formats that Prometheus reads.
//!
//! The text format of Prometheus 0.0.4 and `OpenMetrics` 1.0 differ in what names the
//! description of a counter (with or without `_total`), and in the last line.

use std::fmt::{self, Write};

use echoline::Totals;

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What `promtool` and old scrapers read, and what a browser shows.
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// Type and subtype.
    pub fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Format::Prometheus => ("text", "plain"),
            Format::OpenMetrics => ("application", "openmetrics-text"),
        }
    }

    pub fn version(self) -> &'static str {
        match self {
            Format::Prometheus => "0.0.4",
            Format::OpenMetrics => "1.0.0",
        }
    }

    pub fn content_type(self) -> String {
        let ((main, sub), version) = (self.media_type(), self.version());
        format!("{main}/{sub}; version={version}; charset=utf-8")
    }
}

/// The metrics of a server with these totals. The logger has lost `lost_records`.
pub fn text(totals: &Totals, lost_records: u64, format: Format) -> String {
    let mut out = Exposition {
        text: String::new(),
        format,
    };
    out.gauge("build_info", "A constant 1; the label has the version.");
    out.sample(
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
        1,
    );
    out.gauge("uptime_seconds", "Time since the server was bound.");
    out.sample("uptime_seconds", totals.uptime.as_secs_f64());
    out.gauge("connections_open", "Connections that are open now.");
    out.sample("connections_open", totals.open);
    out.closes(totals);
    let segments = totals.segments.unwrap_or_default();
    for (name, help, value) in [
        (
            "connections_accepted",
            "Connections accepted.",
            totals.accepted,
        ),
        (
            "connections_refused",
            "Connections closed at once because of --max-per-ip.",
            totals.refused,
        ),
        (
            "connections_empty",
            "Closed connections that had not sent a byte.",
            totals.empty,
        ),
        (
            "accept_pauses",
            "Pauses of accepting while connections waited.",
            totals.accept_pauses,
        ),
        ("lines", "Lines echoed.", totals.lines),
        ("received_bytes", "Bytes received.", totals.bytes_in),
        ("sent_bytes", "Bytes sent.", totals.bytes_out),
        (
            "received_segments",
            "Segments received on closed connections.",
            segments.segs_in,
        ),
        (
            "received_data_segments",
            "Segments with data received on closed connections.",
            segments.data_segs_in,
        ),
        (
            "sent_segments",
            "Segments sent on closed connections.",
            segments.segs_out,
        ),
        (
            "sent_data_segments",
            "Segments with data sent on closed connections.",
            segments.data_segs_out,
        ),
        (
            "retransmitted_segments",
            "Segments retransmitted on closed connections.",
            segments.retransmitted,
        ),
        (
            "log_records_lost",
            "Log records that stdout did not take.",
            lost_records,
        ),
    ] {
        out.counter(name, help);
        out.sample(format_args!("{name}_total"), value);
    }
    if format == Format::OpenMetrics {
        out.line(format_args!("# EOF"));
    }
    out.text
}

struct Exposition {
    text: String,
    format: Format,
}

impl Exposition {
    fn gauge(&mut self, name: &str, help: &str) {
        self.describe(name, "gauge", help);
    }

    /// Describes a counter. The names of its samples end in `_total`.
    fn counter(&mut self, name: &str, help: &str) {
        match self.format {
            Format::Prometheus => self.describe(&format!("{name}_total"), "counter", help),
            Format::OpenMetrics => self.describe(name, "counter", help),
        }
    }

    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP echoline_{name} {help}"));
        self.line(format_args!("# TYPE echoline_{name} {kind}"));
    }

    /// `name` may have labels.
    fn sample(&mut self, name: impl fmt::Display, value: impl fmt::Display) {
        self.line(format_args!("echoline_{name} {value}"));
    }

    fn closes(&mut self, totals: &Totals) {
        self.counter("connections_closed", "Connections closed, by reason.");
        for (reason, count) in totals.closes.by_reason() {
            let reason = reason.name().replace(' ', "_");
            self.sample(
                format_args!("connections_closed_total{{reason=\"{reason}\"}}"),
                count,
            );
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use echoline::CloseReason;

    use super::*;

    fn counter_lines(format: Format) -> Vec<String> {
        let text = text(&Totals::default(), 7, format);
        let of_counter = |line: &&str| line.contains("log_records_lost");
        text.lines().filter(of_counter).map(str::to_owned).collect()
    }

    #[test]
    fn a_counter_is_described_as_each_format_wants() {
        let help = "Log records that stdout did not take.";
        let name = "echoline_log_records_lost";
        let expected = |described: &str| {
            [
                format!("# HELP {described} {help}"),
                format!("# TYPE {described} counter"),
                format!("{name}_total 7"),
            ]
        };
        let with_total = format!("{name}_total");
        assert_eq!(counter_lines(Format::Prometheus), expected(&with_total));
        assert_eq!(counter_lines(Format::OpenMetrics), expected(name));
    }

    #[test]
    fn only_open_metrics_ends_with_eof() {
        let ends = |format| text(&Totals::default(), 0, format).ends_with("\n# EOF\n");
        assert!(ends(Format::OpenMetrics) && !ends(Format::Prometheus));
    }

    #[test]
    fn each_reason_for_a_close_is_a_sample() {
        let text = text(&Totals::default(), 0, Format::Prometheus);
        for reason in CloseReason::ALL {
            let label = reason.name().replace(' ', "_");
            let sample = format!("echoline_connections_closed_total{{reason=\"{label}\"}} 0\n");
            assert!(text.contains(&sample), "{sample}");
        }
    }
}
