//! Compares `echoline packets` with other readers of captures: `cargo bench -p benches
//! --bench captures`.
//!
//! The readers take turns on one processor and on the same file. The time is that of the
//! processor, and the memory is the largest that the process has had.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "numbers here are far below the limits of their types"
)]

#[path = "../affinity.rs"]
#[expect(dead_code, reason = "the servers' bench has a role more")]
mod affinity;
mod generate;
#[path = "../program.rs"]
mod program;
mod reader;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::generate::Contents;
use crate::reader::{Reader, Usage};

/// Compares echoline packets with other readers of captures.
#[derive(Parser)]
#[command(name = "cargo bench -p benches --bench captures --")]
struct Options {
    /// For the bench of servers; ignored
    #[arg(hide = true)]
    filter: Option<String>,

    /// A hundredth of the size and of the connections, and one round
    #[arg(long)]
    quick: bool,

    /// Only echoline
    #[arg(long)]
    no_foreign: bool,

    /// Passed by cargo; ignored
    #[arg(long, hide = true)]
    bench: bool,
}

/// Megabytes, connections, and the readers beside echoline. tshark takes too long, and too
/// much memory, for the first.
const CASES: [(u64, usize, &[&str]); 5] = [
    (1000, 1000, &["tcptrace"]),
    (62, 1000, &["tshark"]),
    (100, 1000, &[]),
    (100, 1, &[]),
    (100, 100_000, &[]),
];

/// A capture in a file that is removed in the end.
struct File {
    path: PathBuf,
    contents: Contents,
}

impl File {
    fn create(connections: usize, bytes: u64) -> io::Result<File> {
        let name = format!("captures.{}.{connections}.{bytes}.pcap", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let contents = generate::write(&path, connections, bytes)?;
        Ok(File { path, contents })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    program::build()?; // Before the pinning, which the compiler would inherit.
    affinity::pin(affinity::Role::Load);
    let (divisor, rounds) = if options.quick { (100, 1) } else { (1, 5) };
    println!("| capture | reader | ns per packet | peak memory | times echoline's time |");
    println!("|---|---|---|---|---|");
    for (megabytes, connections, foreign) in CASES {
        let connections = (connections / divisor).max(1);
        let file = File::create(connections, megabytes * 1_000_000 / divisor as u64)?;
        let foreign = if options.no_foreign { &[][..] } else { foreign };
        let megabytes = file.contents.bytes as f64 / 1e6;
        let name = format!("{megabytes:.1} MB, connections: {connections}");
        compare(&name, &file, &reader::all(foreign), rounds)?;
    }
    Ok(())
}

/// Lets the readers take turns, and prints a row for each.
fn compare(name: &str, file: &File, readers: &[Reader], rounds: usize) -> io::Result<()> {
    let mut usages: Vec<Vec<Usage>> = vec![Vec::new(); readers.len()];
    for _ in 0..rounds {
        for (reader, usages) in readers.iter().zip(&mut usages) {
            usages.push(reader.run(&file.path, &file.contents)?);
        }
    }
    let medians: Vec<Usage> = usages.into_iter().map(reader::median).collect();
    for (reader, usage) in readers.iter().zip(&medians) {
        let nanos = usage.seconds * 1e9 / file.contents.packets as f64;
        let times = usage.seconds / medians[0].seconds;
        let memory = usage.peak as f64 / f64::from(1 << 20);
        let reader = reader.name;
        println!("| {name} | {reader} | {nanos:.0} | {memory:.1} MiB | {times:.2} |");
    }
    Ok(())
}
