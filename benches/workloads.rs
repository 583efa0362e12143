//! The workloads, and the servers that run each of them.

use crate::exchange::Exchange;
use crate::plan::Plan;
use crate::servers::{self, Server};

/// A workload and the servers that run it.
pub struct Workload {
    pub name: String,
    pub kind: Kind,
    /// The first is the baseline of the ratios.
    pub servers: Vec<Server>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Throughput of an exchange.
    Throughput(Exchange),
    /// Throughput of one of several exchanges that differ in their connections.
    Growth(Exchange),
    /// Latency of an exchange.
    Latency(Exchange),
    /// Sessions of one line.
    Sessions,
    /// Latency of one client while others flood the server with an exchange.
    Fairness(Exchange),
    /// Memory of so many idle connections.
    Idle(usize),
    /// User-space instructions of a ping-pong line.
    Instructions,
}

const fn exchange(connections: usize, lines: usize, line_len: usize) -> Exchange {
    Exchange {
        connections,
        lines,
        line_len,
        prefix: "",
    }
}

/// For the option that makes a loop poll before it sleeps.
const BUSY_POLL: (&str, Exchange) = ("busy poll (echoline only), 1 × 16 B", exchange(1, 1, 16));

/// For the option that lets processes share a port. The kernel spreads the connections.
const REUSE_PORT: (&str, Exchange) = ("processes (echoline only), 64 × 16 B", exchange(64, 1, 16));

const EXCHANGES: [(&str, Exchange); 7] = [
    ("ping-pong, 1 × 16 B", exchange(1, 1, 16)),
    ("ping-pong, 64 × 16 B", exchange(64, 1, 16)),
    ("ping-pong, 300 × 512 B", exchange(300, 1, 512)),
    ("pipelined, 16 × 100 × 16 B", exchange(16, 100, 16)),
    ("pipelined, 16 × 16 × 512 B", exchange(16, 16, 512)),
    ("bulk, 4 × 16 KiB", exchange(4, 1, 16 * 1024)),
    // A batch exceeds the read buffer, so reads end inside lines.
    ("flood, 4 × 2600 × 100 B", exchange(4, 2600, 100)),
];

const PACKET_PER_LINE: [(&str, Exchange); 2] = [
    ("packet per line, 16 × 100 × 16 B", exchange(16, 100, 16)),
    ("packet per line, 16 × 16 × 512 B", exchange(16, 16, 512)),
];

const PREFIX: [(&str, Exchange); 2] = [
    ("prefix of 8 B, 64 × 16 B", exchange(64, 1, 16)),
    ("prefix of 8 B, 16 × 100 × 16 B", exchange(16, 100, 16)),
];

/// 256 KiB in flight, so that every read of the server finds data.
const FLOOD: (&str, Exchange) = ("latency beside a flood", exchange(1, 512, 512));

/// With a segment per line, the lines of one read cost 8,192 system calls.
const NEWLINES: (&str, Exchange) = (
    "latency beside a flood of newlines",
    exchange(10, 8 * 1024, 1),
);

const LATENCY: (&str, Exchange) = ("latency, 64 × 16 B", exchange(64, 1, 16));

impl Workload {
    fn new(name: &str, kind: Kind, servers: &[Server]) -> Workload {
        Workload {
            name: name.to_owned(),
            kind,
            servers: servers.to_vec(),
        }
    }

    fn throughput((name, exchange): (&str, Exchange), servers: &[Server]) -> Workload {
        Workload::new(name, Kind::Throughput(exchange), servers)
    }
}

/// All workloads, for the servers of this package and the `foreign` ones.
pub fn all(plan: &Plan, foreign: &[Server]) -> Vec<Workload> {
    let echoline = [servers::baseline(), servers::echoline()];
    let line_servers = servers::built_in_line_servers();
    let own = [&echoline[..], &line_servers].concat();
    let all = [&own, foreign].concat();
    let per_line = [
        servers::baseline_records(),
        servers::echoline_packet_per_line(),
        servers::echoline(),
    ];

    let exchanges = EXCHANGES.map(|exchange| Workload::throughput(exchange, &all));
    let mut workloads = Vec::from(exchanges);
    let logging = [servers::echoline_logging()];
    let logging = [&echoline[..], &logging, &line_servers, foreign].concat();
    workloads.push(Workload::new("sessions", Kind::Sessions, &logging));
    workloads.extend(PACKET_PER_LINE.map(|exchange| Workload::throughput(exchange, &per_line)));
    let prefix = [servers::echoline(), servers::echoline_prefix()];
    workloads.extend(PREFIX.map(|exchange| Workload::throughput(exchange, &prefix)));
    let busy_poll = [&echoline[..], &[servers::echoline_busy_poll()]].concat();
    workloads.push(Workload::throughput(BUSY_POLL, &busy_poll));
    workloads.push(Workload::throughput(
        REUSE_PORT,
        &servers::echoline_reuse_port(),
    ));
    let (name, exchange) = LATENCY;
    workloads.push(Workload::new(name, Kind::Latency(exchange), &all));
    let (name, exchange) = FLOOD;
    workloads.push(Workload::new(name, Kind::Fairness(exchange), &all));
    let (name, exchange) = NEWLINES;
    let modes = [servers::echoline(), servers::echoline_packet_per_line()];
    workloads.push(Workload::new(name, Kind::Fairness(exchange), &modes));
    workloads.extend(growth(plan, &[&echoline[..], &[servers::tokio()]].concat()));
    workloads.extend(idle(plan, all));
    let name = "instructions, ping-pong 16 B";
    workloads.push(Workload::new(name, Kind::Instructions, &own));
    workloads
}

fn growth(plan: &Plan, servers: &[Server]) -> impl Iterator<Item = Workload> {
    plan.growth.iter().map(move |&connections| {
        let name = format!("growth, {connections} × 16 B");
        Workload::new(&name, Kind::Growth(exchange(connections, 1, 16)), servers)
    })
}

fn idle(plan: &Plan, mut servers: Vec<Server>) -> impl Iterator<Item = Workload> {
    servers.retain(|server| !server.forks);
    plan.idle_connections.iter().map(move |&count| {
        let name = format!("{count} idle connections");
        Workload::new(&name, Kind::Idle(count), &servers)
    })
}
