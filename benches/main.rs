//! echoline beside its servers, in one run: `cargo bench`.
//!
//! Each server is a process of its own on one processor, the load is on the
//! other; the servers take turns in short rounds, so that what disturbs the
//! machine disturbs them all. `docs/performance.md` says how to read it.
#![expect(clippy::cast_precision_loss, reason = "figures, not addresses")]

mod charts;
mod counts;
mod idle;
mod load;
mod process;
mod quiet;
mod report;
mod rounds;
mod servers;
mod sessions;
mod workloads;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;

use crate::process::Side;
use crate::report::Table;
use crate::workloads::{FULL, QUICK, Work};

/// Measures echoline beside its servers.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
#[command(name = "cargo bench --")]
struct Options {
    /// Only the workloads whose name contains this
    filter: Option<String>,

    /// Fewer and shorter rounds, for a first look
    #[arg(long)]
    quick: bool,

    /// Only the servers of this package
    #[arg(long)]
    no_foreign: bool,

    /// Count user-space instructions, too (needs valgrind)
    #[arg(long)]
    instructions: bool,

    /// Where results.json and the charts go
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/results"))]
    out: PathBuf,

    /// Cargo says that this is a bench.
    #[arg(long, hide = true)]
    bench: bool,

    /// Be a server.
    #[arg(long, hide = true, num_args = 2, value_names = ["NAME", "PORT"])]
    serve: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let [name, port] = &*options.serve {
        let port = port.parse().expect("a port");
        return report(servers::serve(name, port));
    }
    report(bench(&options))
}

fn report(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    let plan = if options.quick { &QUICK } else { &FULL };
    let started = Instant::now();
    process::pin(Side::Load);
    echoline::raise_descriptor_limit()?;
    let (foreign, skipped) = if options.no_foreign {
        (Vec::new(), Vec::new())
    } else {
        servers::foreign()
    };
    let machine = machine();
    println!("{}", machine.join("; "));
    for (name, why) in &skipped {
        println!("skipped: {name} ({why})");
    }
    let mut tables = Vec::new();
    for workload in workloads::all(plan, &foreign) {
        let is_wanted = options
            .filter
            .as_ref()
            .is_none_or(|part| workload.name.contains(part));
        if is_wanted && (options.instructions || workload.work != Work::Instructions) {
            let table = rounds::run(&workload, plan);
            println!("\n{}", table.markdown());
            tables.push(table);
        }
    }
    if tables.is_empty() {
        return Err(io::Error::other("no workload has such a name"));
    }
    let skipped = skipped
        .iter()
        .map(|(name, why)| json!({ "server": name, "why": why }));
    let results = json!({
        "machine": machine,
        "skipped": skipped.collect::<Vec<_>>(),
        "tables": tables.iter().map(Table::json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("results.json"), format!("{results:#}\n"))?;
    charts::draw(&tables, &options.out).map_err(|e| io::Error::other(e.to_string()))?;
    let (seconds, out) = (started.elapsed().as_secs(), options.out.display());
    println!("\n{seconds} s; results and charts in {out}");
    ours_have_not_failed(&tables)
}

/// Without the baseline there is no ratio, and without us no point.
fn ours_have_not_failed(tables: &[Table]) -> io::Result<()> {
    for table in tables {
        for row in &table.rows {
            let matters = row.server == table.base || row.server.starts_with("echoline");
            if let (true, Some(failure)) = (matters, &row.failure) {
                let text = format!("{}: {}: {failure}", table.workload, row.server);
                return Err(io::Error::other(text));
            }
        }
    }
    Ok(())
}

/// What the figures hold for, as far as the kernel says.
fn machine() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let kernel = read("/proc/sys/kernel/osrelease");
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    vec![
        format!("Linux {}", kernel.trim()),
        format!("{} × {}", process::processors().len(), model.unwrap_or("?")),
        format!("congestion control {}", congestion.trim()),
    ]
}
