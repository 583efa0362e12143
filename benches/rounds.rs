//! The rounds: every server in turn, again and again.

use std::io;
use std::thread;
use std::time::Duration;

use crate::counts;
use crate::idle;
use crate::load::{Exchange, Load};
use crate::process::Process;
use crate::quiet;
use crate::report::{Kind, Row, Table, percentile};
use crate::workloads::{Plan, Work, Workload};

/// Has all servers of `workload` do it, in turns. A server that fails is out.
pub fn run(workload: &Workload, plan: &Plan) -> Table {
    let mut table = Table::new(&workload.name, workload.base);
    table.rows = workload
        .servers
        .iter()
        .map(|server| Row::new(server.name))
        .collect();
    if workload.work == Work::Instructions {
        for (row, server) in table.rows.iter_mut().zip(&workload.servers) {
            match counts::instructions(server) {
                Ok(count) => row.add(Kind::Instructions, 0, count),
                Err(e) => row.failure = Some(e.to_string()),
            }
        }
        return table;
    }
    let processes: Vec<_> = workload.servers.iter().map(Process::start).collect();
    for round in 0..rounds(workload.work, plan) {
        let mut order: Vec<usize> = (0..processes.len()).collect();
        if round % 2 == 1 {
            order.reverse(); // What follows whom is no server's fate.
        }
        for i in order {
            let (server, row) = (&workload.servers[i], &mut table.rows[i]);
            let is_due = !server.is_foreign || round % plan.foreign_every == 0;
            if row.failure.is_some() || !is_due {
                continue;
            }
            let measured = match &processes[i] {
                Ok(server) => measure(server, row, round, workload.work, plan),
                Err(e) => Err(io::Error::other(e.to_string())),
            };
            row.failure = measured.err().map(|e| e.to_string());
            thread::sleep(plan.rest);
        }
    }
    table
}

fn rounds(work: Work, plan: &Plan) -> usize {
    match work {
        Work::Throughput(_) => plan.rounds,
        Work::Sessions => plan.session_rounds,
        Work::Latency(_) | Work::Quiet => plan.latency_rounds,
        Work::Idle(_) | Work::Instructions => 1,
    }
}

/// Measures once, and adds the figures of this round to `row`.
fn measure(
    server: &Process,
    row: &mut Row,
    round: usize,
    work: Work,
    plan: &Plan,
) -> io::Result<()> {
    match work {
        Work::Throughput(exchange) => throughput(server, row, round, exchange, plan),
        Work::Latency(exchange) => latency(server, row, round, exchange, plan),
        Work::Sessions => sessions(server, row, round, plan),
        Work::Quiet => {
            add_latencies(row, round, &quiet::beside_a_flood(server, plan.quiet)?);
            Ok(())
        }
        Work::Idle(connections) => hold(server, row, connections),
        Work::Instructions => unreachable!("it has no rounds"),
    }
}

fn throughput(
    server: &Process,
    row: &mut Row,
    round: usize,
    exchange: Exchange,
    plan: &Plan,
) -> io::Result<()> {
    let mut load = Load::connect(server.addr, exchange)?;
    let warm_up = load.run(plan.warm_up, false, || {})?;
    let (before, mut after) = (server.cpu(), None);
    let slice = load.run(plan.slice, false, || after = server.cpu())?;
    add_rate(row, round, slice.lines, slice.elapsed, before.zip(after));
    let all_lines = (warm_up.all_lines + slice.all_lines) as f64;
    row.add(Kind::Packets, round, load.data_packets() as f64 / all_lines);
    row.add(
        Kind::Rss,
        round,
        server.rss().map(|rss| rss as f64 / 1024.0),
    );
    if round == 0 && before.is_some() {
        let work = || Ok(load.run(plan.slice, false, || {})?.all_lines);
        row.add(Kind::Calls, round, counts::system_calls(server, work).ok());
    }
    Ok(())
}

fn sessions(server: &Process, row: &mut Row, round: usize, plan: &Plan) -> io::Result<()> {
    let before = server.cpu();
    let (sessions, elapsed) = crate::sessions::run(server.addr, plan.sessions, plan.slice)?;
    add_rate(row, round, sessions, elapsed, before.zip(server.cpu()));
    if round == 0 && before.is_some() {
        let work = || Ok(crate::sessions::run(server.addr, plan.sessions, plan.slice)?.0);
        row.add(Kind::Calls, round, counts::system_calls(server, work).ok());
    }
    Ok(())
}

/// Adds how often it was done in this time, and for how much of the server's
/// processor time, which was read before and after.
fn add_rate(
    row: &mut Row,
    round: usize,
    count: u64,
    elapsed: Duration,
    cpu: Option<(Duration, Duration)>,
) {
    let (count, elapsed) = (count as f64, elapsed.as_secs_f64());
    row.add(Kind::Rate, round, count / elapsed);
    if let Some((before, after)) = cpu {
        let cpu = after.saturating_sub(before).as_secs_f64();
        row.add(Kind::Cpu, round, cpu * 1e6 / count);
        row.add(Kind::Busy, round, cpu / elapsed);
    }
}

fn hold(server: &Process, row: &mut Row, connections: usize) -> io::Result<()> {
    idle::hold(server, connections, |held| {
        row.add(Kind::Held, 0, held.connections as f64);
        row.add(Kind::PerConnection, 0, held.per_connection);
        row.add(Kind::Rss, 0, held.rss as f64 / 1024.0);
    })
}

fn latency(
    server: &Process,
    row: &mut Row,
    round: usize,
    exchange: Exchange,
    plan: &Plan,
) -> io::Result<()> {
    let mut load = Load::connect(server.addr, exchange)?;
    load.run(plan.warm_up, false, || {})?;
    let slice = load.run(plan.slice, true, || {})?;
    add_latencies(row, round, &slice.latencies);
    Ok(())
}

fn add_latencies(row: &mut Row, round: usize, latencies: &[Duration]) {
    let mut sorted: Vec<f64> = latencies.iter().map(|l| l.as_secs_f64() * 1e6).collect();
    sorted.sort_by(f64::total_cmp);
    let parts = [
        (Kind::P50, 0.5),
        (Kind::P99, 0.99),
        (Kind::P999, 0.999),
        (Kind::Max, 1.0),
    ];
    for (kind, part) in parts {
        row.add(kind, round, percentile(&sorted, part));
    }
}
