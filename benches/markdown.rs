//! A [`Table`] as Markdown.

use crate::metric::Metric;
use crate::report::{Row, Table};
use crate::summary::Summary;

/// A row per server; after each metric come the ratios to its references.
pub fn table(table: &Table) -> String {
    let metrics = table.metrics();
    let mut lines = vec![header(table, &metrics)];
    lines.extend(table.rows.iter().map(|row| cells(table, row, &metrics)));
    align(&lines)
}

fn header(table: &Table, metrics: &[Metric]) -> Vec<String> {
    let mut cells = vec![table.workload.clone()];
    for &metric in metrics {
        cells.push(metric.title().to_owned());
        let references = table.references(metric).into_iter();
        cells.extend(references.map(|row| format!("× {}", row.server)));
    }
    cells
}

fn cells(table: &Table, row: &Row, metrics: &[Metric]) -> Vec<String> {
    let failure = row.failure.as_ref();
    let failure = failure.map(|reason| format!(" (failed: {reason})"));
    let mut cells = vec![row.server.to_owned() + &failure.unwrap_or_default()];
    for &metric in metrics {
        let summary = row.summary(metric);
        cells.push(summary.map_or(String::new(), |summary| value(metric, summary)));
        for reference in table.references(metric) {
            cells.push(row.ratio(metric, reference).map_or(String::new(), ratio));
        }
    }
    cells
}

fn value(metric: Metric, summary: Summary) -> String {
    let decimals = metric.decimals();
    match metric {
        Metric::Rate => with_quartiles(summary, 0),
        _ => format!("{:.decimals$}", summary.median),
    }
}

/// The charts show the same text beside their bars.
pub fn ratio(summary: Summary) -> String {
    match summary.median {
        10.0.. => with_quartiles(summary, 0),
        0.2.. => with_quartiles(summary, 2),
        _ => with_quartiles(summary, 3),
    }
}

/// A single value has no quartiles.
fn with_quartiles(summary: Summary, decimals: usize) -> String {
    let Summary {
        median,
        lower_quartile,
        upper_quartile,
    } = summary;
    let text = format!("{median:.decimals$}");
    if lower_quartile < upper_quartile {
        text + &format!(" ({lower_quartile:.decimals$}–{upper_quartile:.decimals$})")
    } else {
        text
    }
}

/// Pads the columns: names to the left, numbers to the right.
fn align(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let rule = widths.iter().enumerate();
    let rule = rule.map(|(column, &width)| match column {
        0 => "-".repeat(width),
        _ => "-".repeat(width - 1) + ":",
    });
    let rule = rule.collect();
    let all = [&lines[..1], &[rule], &lines[1..]].concat();
    all.iter().map(|line| pad(line, &widths)).collect()
}

fn pad(line: &[String], widths: &[usize]) -> String {
    let cells = line.iter().zip(widths).enumerate();
    let cells = cells.map(|(column, (cell, &width))| match column {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}
