//! The results of a workload: one row per server, and the JSON form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::metric::Metric;
use crate::summary::Summary;

/// The results of one workload.
pub struct Table {
    pub workload: String,
    /// The server that the others are compared with.
    pub baseline: &'static str,
    pub rows: Vec<Row>,
}

/// The results of one server.
pub struct Row {
    pub server: &'static str,
    /// Values by metric and round.
    samples: BTreeMap<Metric, BTreeMap<usize, f64>>,
    /// The error that ended the measurement.
    pub failure: Option<String>,
}

impl Row {
    pub fn new(server: &'static str) -> Row {
        Row {
            server,
            samples: BTreeMap::new(),
            failure: None,
        }
    }

    /// Adds a value, unless it is `None`.
    pub fn add(&mut self, metric: Metric, round: usize, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.samples.entry(metric).or_default().insert(round, value);
        }
    }

    pub fn has(&self, metric: Metric) -> bool {
        self.samples.contains_key(&metric)
    }

    pub fn summary(&self, metric: Metric) -> Option<Summary> {
        Summary::of(self.samples.get(&metric)?.values().copied())
    }

    /// The ratios to `reference` in the rounds that both have.
    pub fn ratio(&self, metric: Metric, reference: &Row) -> Option<Summary> {
        let samples = self.samples.get(&metric)?;
        let references = reference.samples.get(&metric)?;
        let ratios = samples
            .iter()
            .filter_map(|(round, value)| Some(value / references.get(round)?));
        Summary::of(ratios)
    }
}

impl Table {
    pub fn new(
        workload: &str,
        baseline: &'static str,
        servers: impl Iterator<Item = &'static str>,
    ) -> Table {
        Table {
            workload: workload.to_owned(),
            baseline,
            rows: servers.map(Row::new).collect(),
        }
    }

    /// The metrics that any server has.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = self
            .rows
            .iter()
            .flat_map(|row| row.samples.keys().copied())
            .collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }

    /// The rows that the others are compared with by this metric.
    pub fn references(&self, metric: Metric) -> Vec<&Row> {
        let names = metric.references(self.baseline).into_iter();
        names
            .filter_map(|name| self.rows.iter().find(|row| row.server == name))
            .collect()
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        json!({ "workload": self.workload, "servers": rows })
    }

    fn row_json(&self, row: &Row) -> Value {
        let mut metrics = Map::new();
        for (&metric, rounds) in &row.samples {
            let Some(summary) = row.summary(metric) else {
                continue;
            };
            let mut value = summary_json(summary);
            value["rounds"] = rounds.len().into();
            for reference in self.references(metric) {
                if let Some(ratio) = row.ratio(metric, reference) {
                    value[format!("ratio_to_{}", reference.server)] = summary_json(ratio);
                }
            }
            metrics.insert(metric.json_key().to_owned(), value);
        }
        json!({ "server": row.server, "failure": row.failure, "metrics": metrics })
    }
}

fn summary_json(summary: Summary) -> Value {
    json!({
        "median": summary.median,
        "lower_quartile": summary.lower_quartile,
        "upper_quartile": summary.upper_quartile,
    })
}
