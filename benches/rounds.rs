//! Interleaved rounds: in each round every server is measured once.

use std::io;
use std::thread;

use crate::callgrind;
use crate::measure::Measurement;
use crate::metric::Metric;
use crate::plan::Plan;
use crate::process::Process;
use crate::report::Table;
use crate::workloads::{Kind, Workload};

/// Runs a workload on all its servers. A server that fails is measured no more.
pub fn run(workload: &Workload, plan: &Plan) -> Table {
    let servers = &workload.servers;
    let names = servers.iter().map(|server| server.name);
    let mut table = Table::new(&workload.name, servers[0].name, names);
    if workload.kind == Kind::Instructions {
        count_instructions(workload, &mut table);
        return table;
    }
    let mut processes: Vec<_> = servers.iter().map(Process::start).collect();
    for round in 0..rounds(workload.kind, plan) {
        for i in order(round, servers.len()) {
            let row = &mut table.rows[i];
            let is_due = !servers[i].is_foreign || round % plan.foreign_every == 0;
            if row.failure.is_some() || !is_due {
                continue;
            }
            let result = match &processes[i] {
                Ok(server) => Measurement {
                    server,
                    plan,
                    round,
                    row,
                }
                .run(workload.kind),
                Err(e) => Err(io::Error::other(e.to_string())),
            };
            row.failure = result
                .err()
                .map(|e| failure(&e, processes[i].as_mut().ok()));
            thread::sleep(plan.pause);
        }
    }
    for (row, process) in table.rows.iter_mut().zip(&processes) {
        if let (true, Ok(process)) = (row.has(Metric::CpuTime), process) {
            row.add(Metric::KernelShare, 0, process.kernel_share());
        }
    }
    table
}

/// The error, and why the server ended if that caused the error.
fn failure(error: &io::Error, server: Option<&mut Process>) -> String {
    match server.and_then(Process::exit_reason) {
        Some(reason) => format!("{error}; {reason}"),
        None => error.to_string(),
    }
}

fn count_instructions(workload: &Workload, table: &mut Table) {
    for (row, server) in table.rows.iter_mut().zip(&workload.servers) {
        match callgrind::instructions_per_line(server) {
            Ok(count) => row.add(Metric::Instructions, 0, count),
            Err(e) => row.failure = Some(e.to_string()),
        }
    }
}

fn rounds(kind: Kind, plan: &Plan) -> usize {
    match kind {
        Kind::Throughput(_) => plan.rounds,
        Kind::Growth(_) => plan.growth_rounds,
        Kind::Sessions => plan.session_rounds,
        Kind::Latency(_) | Kind::Fairness(_) => plan.latency_rounds,
        Kind::Idle(_) | Kind::Instructions => 1,
    }
}

/// Odd rounds run backwards, so that no server always follows the same one.
fn order(round: usize, servers: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..servers).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}
