//! What is measured, with whom, and how often.

use std::time::Duration;

use crate::load::Exchange;
use crate::servers::{self, Server};

/// How much of everything there is.
pub struct Plan {
    pub rounds: usize,
    /// Foreign servers are in one of so many rounds.
    pub foreign_every: usize,
    /// After each slice: connections are still being closed.
    pub rest: Duration,
    pub warm_up: Duration,
    pub slice: Duration,
    /// Sessions per round at most, and rounds of them: each session leaves a
    /// port in `TIME_WAIT`.
    pub sessions: u64,
    pub session_rounds: usize,
    pub latency_rounds: usize,
    pub quiet: Duration,
    /// How many idle connections are held.
    pub idle: &'static [usize],
}

pub const FULL: Plan = Plan {
    rounds: 40,
    foreign_every: 8,
    rest: Duration::from_millis(10),
    warm_up: Duration::from_millis(20),
    slice: Duration::from_millis(100),
    sessions: 1000,
    session_rounds: 15,
    latency_rounds: 7,
    quiet: Duration::from_secs(1),
    idle: &[10_000, 19_000],
};

pub const QUICK: Plan = Plan {
    rounds: 5,
    foreign_every: 5,
    rest: Duration::from_millis(10),
    warm_up: Duration::from_millis(10),
    slice: Duration::from_millis(60),
    sessions: 500,
    session_rounds: 3,
    latency_rounds: 1,
    quiet: Duration::from_millis(300),
    idle: &[5_000],
};

/// One workload and those who take part.
pub struct Workload {
    pub name: String,
    pub work: Work,
    /// The server that the others are compared with.
    pub base: &'static str,
    pub servers: Vec<Server>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The throughput of an exchange.
    Throughput(Exchange),
    /// The latency in an exchange.
    Latency(Exchange),
    /// Sessions of one line.
    Sessions,
    /// The latency of a quiet client beside a flooding one.
    Quiet,
    /// The memory of so many idle connections.
    Idle(usize),
    /// The instructions of a ping-pong line.
    Instructions,
}

const fn exchange(connections: usize, lines: usize, line_len: usize) -> Exchange {
    Exchange {
        connections,
        lines,
        line_len,
    }
}

/// One client, which most of the time waits for the server to wake up.
const LONE: (&str, Exchange) = ("ping-pong, 1 × 16 B", exchange(1, 1, 16));

const EXCHANGES: [(&str, Exchange); 6] = [
    ("ping-pong, 64 × 16 B", exchange(64, 1, 16)),
    ("ping-pong, 300 × 512 B", exchange(300, 1, 512)),
    ("pipelined, 16 × 100 × 16 B", exchange(16, 100, 16)),
    ("pipelined, 16 × 16 × 512 B", exchange(16, 16, 512)),
    ("bulk, 4 × 16 KiB", exchange(4, 1, 16 * 1024)),
    // More than a read takes: reads end inside lines.
    ("flood, 4 × 2600 × 100 B", exchange(4, 2600, 100)),
];

const PER_LINE: [(&str, Exchange); 2] = [
    ("packet per line, 16 × 100 × 16 B", exchange(16, 100, 16)),
    ("packet per line, 16 × 16 × 512 B", exchange(16, 16, 512)),
];

/// All workloads, for the servers of this package and `foreign` ones.
pub fn all(plan: &Plan, foreign: &[Server]) -> Vec<Workload> {
    let own = [
        &[servers::baseline(), servers::echoline()],
        &*servers::inner(),
    ]
    .concat();
    let all = [&own, foreign].concat();
    let with = |special: Server| {
        let (ours, others) = all.split_at(2);
        [ours, &[special], others].concat()
    };
    let one_process: Vec<Server> = all.iter().filter(|server| !server.forks).cloned().collect();
    let records = || {
        let per_line = servers::echoline_per_line();
        vec![servers::baseline_records(), per_line, servers::echoline()]
    };
    let workload = |name: &str, work, servers: Vec<Server>| Workload {
        name: name.to_owned(),
        work,
        base: servers[0].name,
        servers,
    };

    let (name, lone) = LONE;
    let busy = with(servers::echoline_busy());
    let mut workloads = vec![workload(name, Work::Throughput(lone), busy)];
    workloads.extend(
        EXCHANGES.map(|(name, exchange)| workload(name, Work::Throughput(exchange), all.clone())),
    );
    workloads.extend(
        PER_LINE.map(|(name, exchange)| workload(name, Work::Throughput(exchange), records())),
    );
    let logging = with(servers::echoline_logging());
    let (_, many) = EXCHANGES[0];
    workloads.push(workload("sessions", Work::Sessions, logging));
    workloads.push(workload(
        "latency, 64 × 16 B",
        Work::Latency(many),
        all.clone(),
    ));
    workloads.push(workload("latency beside a flood", Work::Quiet, all.clone()));
    for &count in plan.idle {
        let name = format!("{count} idle connections");
        workloads.push(workload(&name, Work::Idle(count), one_process.clone()));
    }
    let name = "instructions, ping-pong 16 B";
    workloads.push(workload(name, Work::Instructions, own));
    workloads
}
