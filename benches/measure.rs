//! One measurement: one workload on one server in one round.

use std::io;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::load::Load;
use crate::metric::Metric;
use crate::plan::Plan;
use crate::process::Process;
use crate::report::Row;
use crate::summary::percentile;
use crate::workloads::Kind;
use crate::{fairness, idle, sessions, strace};

/// Where a measurement takes place, and the row that gets its values.
pub struct Measurement<'a> {
    pub server: &'a Process,
    pub plan: &'a Plan,
    pub round: usize,
    pub row: &'a mut Row,
}

impl Measurement<'_> {
    /// Measures and adds the values to the row.
    ///
    /// # Errors
    ///
    /// If the server fails the workload.
    pub fn run(&mut self, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Throughput(exchange) => self.throughput(exchange, self.plan.duration),
            Kind::Growth(exchange) => self.growth(exchange),
            Kind::Latency(exchange) => self.latency(exchange),
            Kind::Sessions => self.sessions(),
            Kind::Fairness(flood) => self.fairness(flood),
            Kind::Idle(connections) => self.idle(connections),
            Kind::Instructions => unreachable!("instructions are counted without rounds"),
        }
    }

    fn throughput(&mut self, exchange: Exchange, duration: Duration) -> io::Result<()> {
        let exchange = Exchange {
            prefix: self.server.prefix,
            ..exchange
        };
        let mut load = Load::connect(self.server.addr, exchange)?;
        let warm_up = load.run(self.plan.warm_up, false)?;
        let before = self.server.cpu_time();
        let sample = load.run(duration, false)?;
        self.add_rate(
            sample.lines,
            sample.elapsed,
            before.zip(self.server.cpu_time()),
        );
        let lines = (warm_up.lines + sample.lines) as f64;
        self.add(Metric::DataSegments, load.data_segments() as f64 / lines);
        self.add_system_calls(|| Ok(load.run(duration, false)?.lines));
        Ok(())
    }

    fn growth(&mut self, exchange: Exchange) -> io::Result<()> {
        self.add(Metric::Connections, exchange.connections as f64);
        self.throughput(exchange, self.plan.growth_duration)
    }

    fn sessions(&mut self) -> io::Result<()> {
        let (addr, plan) = (self.server.addr, self.plan);
        let run = || sessions::run(addr, plan.max_sessions, plan.duration);
        let before = self.server.cpu_time();
        let (sessions, elapsed) = run()?;
        self.add_rate(sessions, elapsed, before.zip(self.server.cpu_time()));
        self.add_system_calls(|| Ok(run()?.0));
        Ok(())
    }

    fn latency(&mut self, exchange: Exchange) -> io::Result<()> {
        let mut load = Load::connect(self.server.addr, exchange)?;
        load.run(self.plan.warm_up, false)?;
        let sample = load.run(self.plan.duration, true)?;
        self.add_latencies(&sample.latencies);
        Ok(())
    }

    fn fairness(&mut self, flood: Exchange) -> io::Result<()> {
        let duration = self.plan.flood_duration;
        let latencies = fairness::latencies_during_flood(self.server, flood, duration)?;
        self.add_latencies(&latencies);
        Ok(())
    }

    fn idle(&mut self, connections: usize) -> io::Result<()> {
        idle::measure(self.server, connections, |memory| {
            self.add(Metric::Connections, memory.connections as f64);
            self.add(Metric::MemoryPerConnection, memory.per_connection);
            self.add(Metric::Rss, memory.rss as f64 / 1024.0);
        })
    }

    fn add(&mut self, metric: Metric, value: impl Into<Option<f64>>) {
        self.row.add(metric, self.round, value);
    }

    /// Adds the rate and, with the CPU time before and after, the cost of each unit.
    fn add_rate(&mut self, units: u64, elapsed: Duration, cpu: Option<(Duration, Duration)>) {
        let (units, elapsed) = (units as f64, elapsed.as_secs_f64());
        self.add(Metric::Rate, units / elapsed);
        if let Some((before, after)) = cpu {
            let cpu = after.saturating_sub(before).as_secs_f64();
            self.add(Metric::CpuTime, cpu * 1e6 / units);
            self.add(Metric::CpuShare, cpu / elapsed);
        }
    }

    /// Repeats `work` under strace in the first round. Without strace, or with a server
    /// of several processes, the metric is left out.
    fn add_system_calls(&mut self, work: impl FnOnce() -> io::Result<u64>) {
        if self.round == 0 && self.server.is_one_process() {
            let calls = strace::calls_per_unit(self.server, work);
            self.add(Metric::SystemCalls, calls.ok());
        }
    }

    fn add_latencies(&mut self, latencies: &[Duration]) {
        let mut sorted: Vec<f64> = latencies.iter().map(|l| l.as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        let fractions = [
            (Metric::P50, 0.5),
            (Metric::P99, 0.99),
            (Metric::P999, 0.999),
            (Metric::Max, 1.0),
        ];
        for (metric, fraction) in fractions {
            self.add(metric, percentile(&sorted, fraction));
        }
    }
}
