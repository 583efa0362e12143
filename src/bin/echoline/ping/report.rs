//! What `echoline ping` prints: each echo, and the summary, as text or JSON.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::net::SocketAddr;

use echoline::Plural;
use echoline::client::{Close, Event, PrefixCounts, Statistics};

use super::json::{self, millis};
use super::options::Options;
use super::progress::Progress;

/// Columns of the longest bar of the histogram.
const BAR: u64 = 50;

pub struct Report<'a> {
    options: &'a Options,
    addr: SocketAddr,
    /// An echo that is printed when its data packets are known.
    pending: Option<Event>,
    progress: Option<Progress>,
}

/// Prints a line. A closed pipe ends the program: nothing reads its output.
fn print(line: Arguments<'_>) {
    if writeln!(io::stdout(), "{line}").is_err() {
        std::process::exit(1);
    }
}

impl<'a> Report<'a> {
    pub fn start(options: &'a Options, addr: SocketAddr) -> Report<'a> {
        if !options.json {
            let (name, size) = (&options.addr, Plural(options.size.into(), "byte"));
            print(format_args!("PING {name} ({addr}): lines of {size}"));
        }
        Report {
            options,
            addr,
            pending: None,
            progress: Progress::start(options),
        }
    }

    pub fn event(&mut self, event: Event) {
        if let (Event::Echo { .. }, Some(progress)) = (event, &mut self.progress) {
            progress.count();
        }
        if self.options.quiet {
            return;
        }
        // The data packets of a single line are printed beside its time.
        if let Some(echo) = self.pending.take() {
            let packets = match event {
                Event::Segments { segments, .. } => segments,
                _ => None,
            };
            self.print_event(echo, packets);
            if let Event::Segments { .. } = event {
                return;
            }
        }
        match (event, self.options.burst) {
            (Event::Echo { .. }, 1) => self.pending = Some(event),
            (Event::Segments { .. }, 1) => {} // Without an echo to print them beside.
            _ => self.print_event(event, None),
        }
    }

    fn print_event(&self, event: Event, packets: Option<u64>) {
        if self.options.json {
            print(format_args!("{}", json::event(event, packets)));
        } else {
            self.print_text(event, packets);
        }
    }

    fn print_text(&self, event: Event, packets: Option<u64>) {
        let addr = self.addr;
        let name = |connection: u64, line: u64| {
            if self.options.connections > 1 {
                format!("connection={connection} line={line}")
            } else {
                format!("line={line}")
            }
        };
        match event {
            Event::Echo {
                connection,
                line,
                len,
                round_trip,
            } => {
                let bytes = Plural(len as u64, "byte");
                let (name, time) = (name(connection, line), millis(round_trip));
                let packets = packets.map_or(String::new(), |n| format!(" packets={n}"));
                print(format_args!(
                    "{bytes} from {addr}: {name} time={time:.3} ms{packets}"
                ));
            }
            Event::Segments {
                lines,
                segments: Some(segments),
                ..
            } => {
                let lines = Plural(lines, "line");
                print(format_args!("burst of {lines}: packets={segments}"));
            }
            Event::Late {
                connection,
                line,
                round_trip,
            } => {
                let (name, time) = (name(connection, line), millis(round_trip));
                print(format_args!(
                    "late echo from {addr}: {name} time={time:.3} ms"
                ));
            }
            Event::Wrong {
                connection,
                line,
                fault,
            } => {
                let name = name(connection, line);
                print(format_args!("wrong echo from {addr}: {name} {fault}"));
            }
            Event::Lost { connection, line } => {
                print(format_args!(
                    "no echo from {addr}: {}",
                    name(connection, line)
                ));
            }
            _ => {}
        }
    }

    pub fn summary(mut self, statistics: &Statistics) {
        if let Some(echo) = self.pending.take() {
            self.print_event(echo, None);
        }
        if let Some(progress) = self.progress.take() {
            progress.clear();
        }
        if self.options.json {
            let summary = json::summary(statistics, self.options.count_prefixes);
            return print(format_args!("{summary}"));
        }
        print(format_args!(
            "--- {} echo statistics ---",
            self.options.addr
        ));
        print_counts(statistics);
        print_prefixes(statistics);
        print_round_trips(statistics);
        print_segments(statistics);
        self.print_closes(statistics);
        if self.options.histogram {
            print_histogram(statistics);
        }
    }

    fn print_closes(&self, statistics: &Statistics) {
        let timeout = self.options.timeout.as_secs_f64();
        if statistics.connections > 1 {
            let (connections, closes) = (statistics.connections, &statistics.closes);
            return print(format_args!(
                "{connections} connections: {} closed cleanly by the server, {} closed early, {} not closed within {timeout} s, {} failed",
                closes.clean, closes.early, closes.missing, closes.failed
            ));
        }
        match statistics.last_close {
            Some(Close::Clean(after)) => {
                print(format_args!(
                    "closed cleanly by the server in {:.1} ms",
                    millis(after)
                ));
            }
            Some(Close::Early) => print(format_args!("closed by the server before the client")),
            Some(Close::Missing) => {
                print(format_args!("not closed by the server within {timeout} s"));
            }
            // The library may know more ways in future.
            Some(_) => print(format_args!("connection reset or failed")),
            None => print(format_args!("stopped before the connection was closed")),
        }
    }
}

fn print_counts(statistics: &Statistics) {
    let Statistics {
        echoed,
        wrong,
        lost,
        late,
        ..
    } = statistics;
    let sent = Plural(statistics.sent, "line");
    let late = if *late > 0 {
        format!(" ({late} came late)")
    } else {
        String::new()
    };
    print(format_args!(
        "{sent} sent, {echoed} echoed, {wrong} wrong, {lost} lost{late}"
    ));
    if statistics.unexpected_segments > 0 {
        let times = Plural(statistics.unexpected_segments, "time");
        print(format_args!("unexpected number of data packets {times}"));
    }
}

fn print_prefixes(statistics: &Statistics) {
    let PrefixCounts { echoes, others, .. } = &statistics.prefixes;
    for (prefix, &count) in echoes {
        let echoes = Plural(count, "line");
        print(format_args!(
            "prefix \"{}\": {echoes}",
            prefix.escape_ascii()
        ));
    }
    if *others > 0 {
        print(format_args!("other prefixes: {}", Plural(*others, "line")));
    }
}

fn print_round_trips(statistics: &Statistics) {
    let times = statistics.round_trips();
    if !times.is_empty() {
        let [min, p50, p99, max] = [0.0, 0.5, 0.99, 1.0].map(|q| millis(times.quantile(q)));
        let avg = millis(times.mean());
        print(format_args!(
            "rtt min/avg/p50/p99/max = {min:.3}/{avg:.3}/{p50:.3}/{p99:.3}/{max:.3} ms"
        ));
    }
}

fn print_segments(statistics: &Statistics) {
    let Some(counts) = statistics.segments else {
        return;
    };
    let each = statistics
        .data_segments_per_line()
        .map_or(String::new(), |each| {
            format!(" {each:.2} data packets per echoed line;")
        });
    print(format_args!(
        "packets: {} out ({} data), {} in ({} data);{each} {} retransmitted",
        counts.segs_out,
        counts.data_segs_out,
        counts.segs_in,
        counts.data_segs_in,
        counts.retransmitted
    ));
}

fn print_histogram(statistics: &Statistics) {
    let buckets = statistics.round_trips().buckets();
    let most = buckets
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(0)
        .max(1);
    for (bound, count) in buckets {
        let bar = "#".repeat(usize::try_from(count * BAR / most).unwrap_or(0));
        let line = format!("< {:>9.3} ms {count:>9} {bar}", millis(bound));
        print(format_args!("{}", line.trim_end()));
    }
}
