//! What is measured, and how each metric is named and rounded.

/// Order is the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    Connections,
    Rate,
    CpuTime,
    CpuShare,
    KernelShare,
    P50,
    P99,
    P999,
    Max,
    SystemCalls,
    Instructions,
    DataSegments,
    MemoryPerConnection,
    Rss,
}

impl Metric {
    /// JSON key, title and decimal places.
    fn format(self) -> (&'static str, &'static str, usize) {
        match self {
            Metric::Rate => ("rate_per_s", "per second", 0),
            Metric::CpuTime => ("cpu_us_each", "CPU µs each", 3),
            Metric::CpuShare => ("cpu_share", "CPU busy", 2),
            Metric::KernelShare => ("kernel_share", "in kernel", 3),
            Metric::P50 => ("p50_us", "p50 µs", 0),
            Metric::P99 => ("p99_us", "p99 µs", 0),
            Metric::P999 => ("p99_9_us", "p99.9 µs", 0),
            Metric::Max => ("max_us", "max µs", 0),
            Metric::SystemCalls => ("system_calls_each", "calls each", 2),
            Metric::Instructions => ("user_instructions_each", "instructions each", 0),
            Metric::DataSegments => ("data_segments_out_each", "data segments each", 2),
            Metric::Connections => ("connections", "connections", 0),
            Metric::MemoryPerConnection => ("bytes_per_connection", "bytes each", 1),
            Metric::Rss => ("rss_kib", "RSS KiB", 0),
        }
    }

    pub fn json_key(self) -> &'static str {
        self.format().0
    }

    pub fn title(self) -> &'static str {
        self.format().1
    }

    pub fn decimals(self) -> usize {
        self.format().2
    }

    /// The servers that the others are compared with by this metric.
    pub fn references(self, baseline: &'static str) -> Vec<&'static str> {
        match self {
            Metric::Rate | Metric::Instructions => vec![baseline, "tokio"],
            Metric::CpuTime | Metric::P99 | Metric::Rss => vec![baseline],
            _ => Vec::new(),
        }
    }
}
