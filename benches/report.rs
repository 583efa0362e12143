//! What was measured: figures by round, their medians, their ratios.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Rate,
    Cpu,
    Busy,
    P50,
    P99,
    P999,
    Max,
    Calls,
    Instructions,
    Packets,
    Held,
    PerConnection,
    Rss,
}

impl Kind {
    /// Its name in the JSON file, its title, and its decimal places in a table.
    fn traits(self) -> (&'static str, &'static str, usize) {
        match self {
            Kind::Rate => ("rate_per_s", "per second", 0),
            Kind::Cpu => ("cpu_us_each", "CPU µs each", 3),
            Kind::Busy => ("cpu_share", "CPU busy", 2),
            Kind::P50 => ("p50_us", "p50 µs", 0),
            Kind::P99 => ("p99_us", "p99 µs", 0),
            Kind::P999 => ("p99_9_us", "p99.9 µs", 0),
            Kind::Max => ("max_us", "max µs", 0),
            Kind::Calls => ("system_calls_each", "calls each", 2),
            Kind::Instructions => ("user_instructions_each", "instructions each", 0),
            Kind::Packets => ("data_packets_out_each", "data packets each", 2),
            Kind::Held => ("connections", "connections", 0),
            Kind::PerConnection => ("bytes_per_connection", "bytes each", 1),
            Kind::Rss => ("rss_kib", "RSS KiB", 0),
        }
    }

    pub fn title(self) -> &'static str {
        self.traits().1
    }

    /// Whether it is compared with those of other servers.
    fn is_compared(self) -> bool {
        matches!(
            self,
            Kind::Rate | Kind::Cpu | Kind::P99 | Kind::Instructions
        )
    }
}

/// The outcome of one workload.
pub struct Table {
    pub workload: String,
    /// The server that the others are compared with.
    pub base: &'static str,
    pub rows: Vec<Row>,
}

/// The outcome for one server.
pub struct Row {
    pub server: &'static str,
    pub figures: BTreeMap<Kind, BTreeMap<usize, f64>>,
    /// Why there is no more of it.
    pub failure: Option<String>,
}

/// The median of some figures, with the least and the greatest.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Summary> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Summary { median, min, max })
    }

    fn show(self, kind: Kind) -> String {
        let Summary { median, min, max } = self;
        let decimals = kind.traits().2;
        match kind {
            Kind::Rate => format!("{median:.0} ({min:.0}–{max:.0})"),
            _ => format!("{median:.decimals$}"),
        }
    }

    fn show_ratio(self) -> String {
        let Summary { median, min, max } = self;
        match median {
            0.2.. => format!("{median:.2} ({min:.2}–{max:.2})"),
            _ => format!("{median:.3} ({min:.3}–{max:.3})"),
        }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Row {
    pub fn new(server: &'static str) -> Row {
        Row {
            server,
            figures: BTreeMap::new(),
            failure: None,
        }
    }

    pub fn add(&mut self, kind: Kind, round: usize, figure: impl Into<Option<f64>>) {
        if let Some(figure) = figure.into() {
            self.figures.entry(kind).or_default().insert(round, figure);
        }
    }

    pub fn summary(&self, kind: Kind) -> Option<Summary> {
        Summary::of(self.figures.get(&kind)?.values().copied())
    }

    /// The ratios to `base`, of the rounds that both were in.
    pub fn ratio(&self, kind: Kind, base: &Row) -> Option<Summary> {
        let (ours, theirs) = (self.figures.get(&kind)?, base.figures.get(&kind)?);
        Summary::of(
            ours.iter()
                .filter_map(|(round, figure)| Some(figure / theirs.get(round)?)),
        )
    }
}

impl Table {
    pub fn new(workload: &str, base: &'static str) -> Table {
        Table {
            workload: workload.to_owned(),
            base,
            rows: Vec::new(),
        }
    }

    pub fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    /// The kinds of figures that it has.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self
            .rows
            .iter()
            .flat_map(|row| row.figures.keys().copied())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The servers whose figures of this kind the others are compared with.
    fn rivals(&self, kind: Kind) -> Vec<&Row> {
        let mut names = vec![self.base];
        if matches!(kind, Kind::Rate | Kind::Instructions) {
            names.push("tokio");
        }
        names.retain(|_| kind.is_compared());
        names.iter().filter_map(|name| self.row(name)).collect()
    }

    /// As a table in Markdown.
    pub fn markdown(&self) -> String {
        let kinds = self.kinds();
        let mut head = vec![self.workload.clone()];
        for &kind in &kinds {
            head.push(kind.title().to_owned());
            head.extend(
                self.rivals(kind)
                    .iter()
                    .map(|rival| format!("× {}", rival.server)),
            );
        }
        let mut lines = vec![head];
        for row in &self.rows {
            let failure = row.failure.as_ref().map(|why| format!(" (failed: {why})"));
            let mut cells = vec![row.server.to_owned() + &failure.unwrap_or_default()];
            for &kind in &kinds {
                let figure = row.summary(kind);
                cells.push(figure.map_or(String::new(), |figure| figure.show(kind)));
                cells.extend(self.rivals(kind).iter().map(|rival| {
                    let ratio = row.ratio(kind, rival);
                    ratio.map_or(String::new(), Summary::show_ratio)
                }));
            }
            lines.push(cells);
        }
        aligned(&lines)
    }

    /// As a value for the JSON file.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({ "workload": self.workload, "servers": rows })
    }

    fn row_json(&self, row: &Row) -> Value {
        let mut figures = Map::new();
        for (&kind, rounds) in &row.figures {
            let Some(summary) = row.summary(kind) else {
                continue;
            };
            let mut figure = summary.json();
            figure["rounds"] = rounds.len().into();
            for rival in self.rivals(kind) {
                if let Some(ratio) = row.ratio(kind, rival) {
                    figure[format!("ratio_to_{}", rival.server)] = ratio.json();
                }
            }
            figures.insert(kind.traits().0.to_owned(), figure);
        }
        json!({ "server": row.server, "failure": row.failure, "figures": figures })
    }
}

/// Columns of one width, figures to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let rule = widths
        .iter()
        .enumerate()
        .map(|(column, &width)| match column {
            0 => "-".repeat(width),
            _ => "-".repeat(width - 1) + ":",
        });
    let rule = rule.collect();
    let all = [&lines[..1], &[rule], &lines[1..]].concat();
    let text = all.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    });
    text.collect()
}

/// The figure that so much (0 to 1) of `sorted` is not above.
pub fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
