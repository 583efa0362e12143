//! Where the text goes: blocks of connections from a file, rows as they come when live.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use echoline::capture::{Event, Notes, Packet, Report, Summary};

use super::options::Options;
use super::{json, rows, sums};

/// Packets of a connection that are printed in any case.
const LADDER: u64 = 40;
/// Text of connections that wait for those before them.
const MAX_WAITING: usize = 64 << 20;

pub struct Output<'a> {
    options: &'a Options,
    /// Packets are printed as they come, in the order of the file.
    in_file_order: bool,
    stdout: BufWriter<io::Stdout>,
    is_live: bool,
    /// Time of the first packet.
    start: Option<i64>,
    /// Connections with a block that is not printed yet.
    blocks: BTreeMap<u64, Block>,
    waiting: usize,
}

/// A connection's ladder.
#[derive(Default)]
struct Block {
    rows: String,
    packets: u64,
    /// Packets since the last row.
    left_out: u64,
    is_done: bool,
}

impl<'a> Output<'a> {
    pub fn new(options: &'a Options, is_live: bool) -> Output<'a> {
        Output {
            options,
            in_file_order: is_live || options.all || options.json,
            stdout: BufWriter::with_capacity(64 * 1024, io::stdout()),
            is_live,
            start: None,
            blocks: BTreeMap::new(),
            waiting: 0,
        }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        if let Event::Packet(packet) = event {
            self.start.get_or_insert(packet.time);
        }
        if self.options.quiet {
            return;
        }
        match event {
            Event::Packet(packet) => self.packet(packet),
            Event::Connection(report) => self.connection(report),
        }
    }

    fn packet(&mut self, packet: &Packet) {
        if self.options.json {
            let start = self.start.unwrap_or(packet.time);
            return self.print(&format!("{}\n", json::packet(packet, start)));
        }
        let (number, is_shown) = self.take(packet);
        if !is_shown {
            return;
        }
        let row = format!("{}\n", rows::packet(packet));
        if self.in_file_order {
            return self.print(&format!("{number:>4} {row}"));
        }
        let is_full = self.waiting + row.len() > MAX_WAITING;
        let block = self.blocks.entry(number).or_default();
        if is_full {
            block.left_out += 1;
            return;
        }
        let before = block.rows.len();
        block.leave_out();
        block.rows += "  ";
        block.rows += &row;
        self.waiting += block.rows.len() - before;
    }

    /// Counts a packet of its connection. Returns the connection's number, and whether the
    /// packet is shown.
    fn take(&mut self, packet: &Packet) -> (u64, bool) {
        if self.options.all {
            return (packet.connection, true);
        }
        let block = self.blocks.entry(packet.connection).or_default();
        block.packets += 1;
        let is_shown = block.packets <= LADDER || packet.needs_attention();
        block.left_out += u64::from(!is_shown);
        (packet.connection, is_shown)
    }

    fn connection(&mut self, report: &Report) {
        if self.options.json {
            return self.print(&format!("{}\n", json::connection(report)));
        }
        let mut block = self.blocks.remove(&report.number).unwrap_or_default();
        self.waiting -= block.rows.len();
        block.leave_out();
        let (title, sums) = (sums::title(report), sums::connection(report));
        if self.in_file_order {
            let number = report.number;
            return self.print(&format!("{number:>4} {title}{}{sums}", block.rows));
        }
        block.rows = format!("{title}{}{sums}", block.rows);
        block.is_done = true;
        self.waiting += block.rows.len();
        self.blocks.insert(report.number, block);
        // A connection's block stands behind those of connections that began before it.
        while let Some(first) = self.blocks.first_entry()
            && first.get().is_done
        {
            let rows = first.remove().rows;
            self.waiting -= rows.len();
            self.print(&rows);
        }
    }

    pub fn summary(&mut self, summary: &Summary, notes: Notes, packets: u64) {
        let text = if self.options.json {
            format!("{}\n", json::summary(summary, notes, packets))
        } else {
            sums::summary(self.options, summary, notes, packets)
        };
        self.print(&text);
        if self.stdout.flush().is_err() {
            std::process::exit(1);
        }
    }

    /// A closed pipe ends the program: nothing reads its output.
    fn print(&mut self, text: &str) {
        let written = self.stdout.write_all(text.as_bytes());
        let flushed = if self.is_live {
            self.stdout.flush()
        } else {
            Ok(())
        };
        if written.and(flushed).is_err() {
            std::process::exit(1);
        }
    }
}

impl Block {
    /// Says how many packets have no row.
    fn leave_out(&mut self) {
        if self.left_out > 0 {
            let more = format!("        … {} more (--all)\n", self.left_out);
            self.rows += &more;
            self.left_out = 0;
        }
    }
}
