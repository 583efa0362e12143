//! Which charts there are, as SVG.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "pixels and numbers of servers are small"
)]

mod axis;
mod bars;
mod canvas;
mod lines;

use std::fs;
use std::path::Path;

use crate::metric::Metric;
use crate::report::Table;
use canvas::{Anchor, Canvas, MUTED, Result, TEXT};
use lines::Line;

const WIDTH: i32 = 1120;
const HEADER_HEIGHT: i32 = 84;

/// What the whole chart shows, where and when it was measured.
struct Heading<'a> {
    title: &'a str,
    how: &'a str,
    machine: &'a str,
}

impl Heading<'_> {
    fn draw(&self, canvas: &Canvas<'_>) -> Result<()> {
        canvas.text(self.title, 19, TEXT, Anchor::Left, (12, 22))?;
        canvas.text(self.how, 13, TEXT, Anchor::Left, (12, 46))?;
        canvas.text(self.machine, 13, MUTED, Anchor::Left, (12, 66))
    }
}

const RATIOS: &str = "Bar and number: median of the ratios of each round to the baseline of \
    the same round. Whisker and brackets: the middle half of the rounds (quartiles); none for \
    a single round.";

/// Charts of ratios to the baseline.
const BARS: [(&str, Metric, &str); 4] = [
    (
        "throughput.svg",
        Metric::Rate,
        "Lines echoed per second (sessions: sessions per second), relative to the baseline; more is better",
    ),
    (
        "cpu.svg",
        Metric::CpuTime,
        "CPU time of the server per line (sessions: per session), relative to the baseline; less is better",
    ),
    (
        "latency.svg",
        Metric::P99,
        "Round-trip time of a line, 99th percentile, relative to the baseline; less is better",
    ),
    (
        "memory.svg",
        Metric::Rss,
        "Resident memory of the server, relative to the baseline; less is better",
    ),
];

/// The servers of the growth chart.
const GROWING: [&str; 3] = ["baseline", "echoline", "tokio"];

/// Writes the charts of what was measured.
pub fn draw(tables: &[Table], machine: &str, out: &Path) -> Result<()> {
    for (name, metric, title) in BARS {
        let heading = Heading {
            title,
            how: RATIOS,
            machine,
        };
        // The tables of the growth chart are not drawn twice.
        let tables = tables.iter().filter(|table| !is_growth(table));
        let panels: Vec<_> = tables
            .filter_map(|table| bars::Panel::new(table, metric))
            .collect();
        if !panels.is_empty() {
            fs::write(out.join(name), bars::draw(&heading, &panels)?)?;
        }
    }
    if tables.iter().any(is_growth) {
        fs::write(out.join("growth.svg"), growth(tables, machine)?)?;
    }
    Ok(())
}

fn is_growth(table: &Table) -> bool {
    table.workload.starts_with("growth")
}

fn growth(tables: &[Table], machine: &str) -> Result<String> {
    let lines = |metric, factor| GROWING.map(|server| Line::new(tables, server, metric, factor));
    let mut panels = vec![
        lines::Panel {
            title: "Rate",
            connections: "connections in ping-pong",
            unit: "lines per second",
            lines: lines(Metric::Rate, 1.0).into(),
        },
        lines::Panel {
            title: "CPU time of the server per line",
            connections: "connections in ping-pong",
            unit: "µs",
            lines: lines(Metric::CpuTime, 1.0).into(),
        },
        lines::Panel {
            title: "Memory of the server",
            connections: "idle connections",
            unit: "resident MiB",
            lines: lines(Metric::Rss, 1.0 / 1024.0).into(),
        },
    ];
    panels.retain(lines::Panel::has_points);
    let heading = Heading {
        title: "How cost grows with the number of connections (lines of 16 bytes, one in flight per connection)",
        how: "Dot: median of the rounds. Bar through it: the middle half of the rounds (quartiles). \
            Servers are drawn a few pixels apart. Memory: one measurement.",
        machine,
    };
    lines::draw(&heading, &panels, &GROWING)
}
