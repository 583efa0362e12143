//! Compares echoline with other servers in one run: `cargo bench -p benches`.
//!
//! Each server is a process on one processor; the load runs on another. The
//! servers take turns in short rounds, so that a disturbance of the machine
//! affects all of them. `docs/performance.md` describes the method and results.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts here are far below 2^53, where f64 is exact"
)]

mod affinity;
mod callgrind;
mod charts;
mod exchange;
mod fairness;
mod idle;
mod load;
mod markdown;
mod measure;
mod metric;
mod ping;
mod plan;
mod process;
mod program;
mod report;
mod rounds;
mod servers;
mod sessions;
mod sockets;
mod strace;
mod summary;
mod workloads;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::report::Table;
use crate::servers::Server;
use crate::servers::foreign::{self, Skipped};
use crate::workloads::{Kind, Workload};

/// Compares echoline with other servers.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
#[command(name = "cargo bench -p benches --")]
struct Options {
    /// Run only workloads with this in their name
    filter: Option<String>,

    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,

    /// Only the servers of this package
    #[arg(long)]
    no_foreign: bool,

    /// Also count user-space instructions (needs valgrind)
    #[arg(long)]
    instructions: bool,

    /// Directory for results.json and the charts
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/results"))]
    out: PathBuf,

    /// Passed by cargo; ignored
    #[arg(long, hide = true)]
    bench: bool,

    /// Run as one of the servers
    #[arg(long, hide = true, num_args = 2, value_names = ["NAME", "PORT"])]
    serve: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if let [name, port] = &*options.serve {
        servers::serve(name, port.parse().expect("a port"))
    } else {
        bench(&options)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    let plan = if options.quick {
        &plan::QUICK
    } else {
        &plan::FULL
    };
    let started = Instant::now();
    program::build()?; // Before the pinning, which the compiler would inherit.
    affinity::pin(affinity::Role::Load);
    echoline::raise_fd_limit()?;
    let (foreign, skipped) = if options.no_foreign {
        (Vec::new(), Vec::new())
    } else {
        foreign::find()
    };
    let machine = machine();
    println!("{}", machine.join("; "));
    for Skipped { name, reason } in &skipped {
        println!("skipped: {name} ({reason})");
    }
    let tables = run_workloads(options, plan, &foreign);
    if tables.is_empty() {
        return Err(io::Error::other("no workload matches the filter"));
    }
    write_results(&options.out, &machine, &skipped, &tables)?;
    let (seconds, out) = (started.elapsed().as_secs(), options.out.display());
    println!("\n{seconds} s; results and charts in {out}");
    check_failures(&tables)
}

/// Runs the selected workloads and prints the table of each.
fn run_workloads(options: &Options, plan: &Plan, foreign: &[Server]) -> Vec<Table> {
    let is_selected = |workload: &Workload| {
        let filter = options.filter.as_ref();
        filter.is_none_or(|part| workload.name.contains(part))
            && (options.instructions || workload.kind != Kind::Instructions)
    };
    let workloads = workloads::all(plan, foreign);
    let selected = workloads.iter().filter(|workload| is_selected(workload));
    selected
        .map(|workload| {
            let table = rounds::run(workload, plan);
            println!("\n{}", markdown::table(&table));
            table
        })
        .collect()
}

fn write_results(
    out: &Path,
    machine: &[String],
    skipped: &[Skipped],
    tables: &[Table],
) -> io::Result<()> {
    let skipped: Vec<Value> = skipped
        .iter()
        .map(|skipped| json!({ "server": skipped.name, "reason": skipped.reason }))
        .collect();
    let results = json!({
        "machine": machine,
        "skipped": skipped,
        "tables": tables.iter().map(Table::json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(out)?;
    fs::write(out.join("results.json"), format!("{results:#}\n"))?;
    charts::draw(tables, &machine.join("; "), out).map_err(|e| io::Error::other(e.to_string()))
}

/// Fails if echoline or a baseline failed; other servers may.
fn check_failures(tables: &[Table]) -> io::Result<()> {
    for table in tables {
        for row in &table.rows {
            let is_required = row.server == table.baseline || row.server.starts_with("echoline");
            if let (true, Some(failure)) = (is_required, &row.failure) {
                let text = format!("{}: {}: {failure}", table.workload, row.server);
                return Err(io::Error::other(text));
            }
        }
    }
    Ok(())
}

/// Kernel, processors, congestion control and the date, for the results.
fn machine() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let kernel = read("/proc/sys/kernel/osrelease");
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    vec![
        format!("Linux {}", kernel.trim()),
        format!(
            "{} × {}",
            affinity::processors().len(),
            model.unwrap_or("?")
        ),
        format!("congestion control {}", congestion.trim()),
        today(),
    ]
}

/// The date in UTC, as of `date(1)`.
fn today() -> String {
    let output = Command::new("date").args(["--utc", "+%F"]).output();
    let date = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    date.unwrap_or_default().trim().to_owned()
}
