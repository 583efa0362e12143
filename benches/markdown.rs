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
    let Summary { median, min, max } = summary;
    let decimals = metric.decimals();
    match metric {
        Metric::Rate => format!("{median:.0} ({min:.0}–{max:.0})"),
        _ => format!("{median:.decimals$}"),
    }
}

fn ratio(summary: Summary) -> String {
    let Summary { median, min, max } = summary;
    match median {
        0.2.. => format!("{median:.2} ({min:.2}–{max:.2})"),
        _ => format!("{median:.3} ({min:.3}–{max:.3})"),
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
