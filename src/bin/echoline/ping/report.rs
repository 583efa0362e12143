//! What `echoline ping` prints: each echo, and the summary, as text or JSON.

use std::fmt::{self, Arguments};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use echoline::Plural;
use echoline::client::{Close, Distribution, Ending, Event, PrefixCounts, Statistics};

use super::json::{self, millis};
use super::options::Options;
use super::progress::Progress;

/// Columns of the longest bar of the histogram.
const BAR: u64 = 50;

pub struct Report<'a> {
    options: &'a Options,
    /// The server's address, when a connection is established.
    addr: Option<SocketAddr>,
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

/// The time of the system's clock.
fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

impl<'a> Report<'a> {
    pub fn new(options: &'a Options) -> Report<'a> {
        Report {
            options,
            addr: None,
            pending: None,
            progress: None,
        }
    }

    /// Says what is connected to, at the first connection.
    fn connected(&mut self, addr: SocketAddr) {
        if self.addr.replace(addr).is_some() {
            return;
        }
        self.progress = Progress::start(self.options);
        if !self.options.json {
            let (name, size) = (&self.options.addr, Plural(self.options.size.into(), "byte"));
            print(format_args!("PING {name} ({addr}): lines of {size}"));
        }
    }

    pub fn event(&mut self, event: Event) {
        if let Event::Connected { addr, .. } = event {
            return self.connected(addr);
        }
        if let (Event::Echo { .. }, Some(progress)) = (event, &mut self.progress) {
            progress.count();
        }
        if self.options.quiet {
            return;
        }
        // The data packets of a single line are printed beside its time.
        if let Some(echo) = self.pending.take() {
            if let Event::Segments {
                lines: 1, segments, ..
            } = event
            {
                return self.print_event(echo, segments);
            }
            self.print_event(echo, None);
        }
        match (event, self.options.burst) {
            (Event::Echo { .. }, 1) => self.pending = Some(event),
            // Without an echo to print them beside.
            (Event::Segments { .. }, 1) => {}
            _ => self.print_event(event, None),
        }
    }

    fn print_event(&self, event: Event, packets: Option<u64>) {
        if self.options.json {
            let mut object = json::event(event, packets);
            if self.options.timestamps {
                object["time"] = since_epoch().as_secs_f64().into();
            }
            print(format_args!("{object}"));
        } else {
            self.print_text(event, packets);
        }
    }

    /// Prints a line about an event, with its time if that is wanted, as iputils' ping does.
    fn print_line(&self, line: Arguments<'_>) {
        if self.options.timestamps {
            let time = since_epoch();
            let (seconds, micros) = (time.as_secs(), time.subsec_micros());
            print(format_args!("[{seconds}.{micros:06}] {line}"));
        } else {
            print(line);
        }
    }

    fn print_text(&self, event: Event, packets: Option<u64>) {
        let Some(addr) = self.addr else {
            return;
        };
        let is_single = self.options.connections == 1;
        let name = |connection: u64, line: u64| {
            if is_single {
                format!("line={line}")
            } else {
                format!("connection={connection} line={line}")
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
                self.print_line(format_args!(
                    "{bytes} from {addr}: {name} time={time:.3} ms{packets}"
                ));
            }
            Event::Segments {
                lines,
                segments: Some(segments),
                ..
            } => {
                let lines = Plural(lines, "line");
                self.print_line(format_args!("burst of {lines}: packets={segments}"));
            }
            Event::Late {
                connection,
                line,
                round_trip,
            } => {
                let (name, time) = (name(connection, line), millis(round_trip));
                self.print_line(format_args!(
                    "late echo from {addr}: {name} time={time:.3} ms"
                ));
            }
            Event::Wrong {
                connection,
                line,
                fault,
            } => {
                let name = name(connection, line);
                self.print_line(format_args!("wrong echo from {addr}: {name} {fault}"));
            }
            Event::Extra { connection, len } => {
                let bytes = Plural(len as u64, "byte");
                let of = if is_single {
                    String::new()
                } else {
                    format!("connection={connection} ")
                };
                self.print_line(format_args!("extra line from {addr}: {of}{bytes}"));
            }
            // That of a single connection is in the summary.
            Event::Closed {
                connection,
                ending:
                    Ending {
                        close: Close::Failed(failure),
                        ..
                    },
            } if !is_single => {
                self.print_line(format_args!(
                    "failed to {addr}: connection={connection} {failure}"
                ));
            }
            Event::Lost { connection, line } => {
                self.print_line(format_args!(
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
            let summary = json::summary(statistics, self.options);
            return print(format_args!("{summary}"));
        }
        print(format_args!(
            "--- {} echo statistics ---",
            self.options.addr
        ));
        print_counts(statistics);
        print_prefixes(statistics);
        print_round_trips(statistics);
        print_delay(statistics);
        print_segments(statistics);
        self.print_distribution(statistics);
        self.print_closes(statistics);
        if self.options.histogram {
            print_histogram(statistics);
        }
    }

    /// How many packets the echoes of each line, or burst, took.
    fn print_distribution(&self, statistics: &Statistics) {
        let (first, rest) = (&statistics.first_bursts, &statistics.distribution);
        let text = |distribution| self.tallies(distribution);
        match (first.is_empty(), rest.is_empty()) {
            (true, true) => {}
            (true, false) if self.options.burst == 1 => {
                print(format_args!("packets per line: {}", text(rest)));
            }
            (true, false) => print(format_args!("packets per burst: {}", text(rest))),
            (false, true) => print(format_args!("packets per burst: first {}", text(first))),
            (false, false) => print(format_args!(
                "packets per burst: first {}, then {}",
                text(first),
                text(rest)
            )),
        }
    }

    /// `1999 x 1, 1 x 2 (line 1000)`: the lines of all but the most frequent are named.
    fn tallies(&self, distribution: &Distribution) -> String {
        let mut parts = Vec::new();
        for (packets, tally) in distribution.by_frequency() {
            let (times, first) = (tally.times, &tally.first);
            if parts.is_empty() {
                parts.push(format!("{times} x {packets}"));
                continue;
            }
            let name = |&(connection, line): &(u64, u64)| {
                if self.options.connections == 1 {
                    line.to_string()
                } else {
                    format!("{connection}.{line}")
                }
            };
            let names: Vec<_> = first.iter().map(name).collect();
            let more = if times > first.len() as u64 {
                ", ..."
            } else {
                ""
            };
            let s = if names.len() == 1 { "" } else { "s" };
            let names = names.join(", ");
            parts.push(format!("{times} x {packets} (line{s} {names}{more})"));
        }
        match distribution.others() {
            0 => {}
            others => parts.push(format!("{others} x others")),
        }
        parts.join(", ")
    }

    fn print_closes(&self, statistics: &Statistics) {
        let timeout = self.options.timeout.as_secs_f64();
        if self.options.connections > 1 {
            let (connections, closes) = (statistics.connections, &statistics.closes);
            print(format_args!(
                "{}: {} closed cleanly by the server, {} closed early, {} not closed within {timeout} s, {} failed",
                Plural(connections, "connection"),
                closes.clean,
                closes.early,
                closes.missing,
                closes.failed
            ));
            for (failure, count) in &closes.failures {
                print(format_args!("failed: {count} x {failure}"));
            }
            return;
        }
        let Some(ending) = statistics.last_ending else {
            return print(format_args!("stopped before the connection was closed"));
        };
        let after = After(ending);
        match ending.close {
            Close::Clean(time) => {
                print(format_args!(
                    "closed cleanly by the server in {:.1} ms",
                    millis(time)
                ));
            }
            Close::Early => print(format_args!("closed by the server {after}")),
            Close::Missing => print(format_args!(
                "not closed by the server within {timeout} s: its socket is probably in CLOSE_WAIT"
            )),
            Close::Failed(failure) => print(format_args!("connection failed {after}: {failure}")),
            // The library may know more ways in future.
            _ => print(format_args!("closed {after}")),
        }
    }
}

/// After how much a connection ended: `after line 3, 2 lines outstanding`.
struct After(Ending);

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.last_line {
            0 => f.write_str("before the first echo")?,
            line => write!(f, "after line {line}")?,
        }
        match self.0.outstanding {
            0 => Ok(()),
            lines => write!(f, ", {} outstanding", Plural(lines, "line")),
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
    let extra = match statistics.extra {
        0 => String::new(),
        extra => format!(", {extra} extra"),
    };
    print(format_args!(
        "{sent} sent, {echoed} echoed, {wrong} wrong, {lost} lost{late}{extra}"
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

fn print_delay(statistics: &Statistics) {
    if let (Some(delay), Some(path)) = (statistics.suspected_delay(), statistics.min_segment_rtt) {
        let (delay, path) = (millis(delay), millis(path));
        print(format_args!(
            "p50 exceeds the path's {path:.3} ms by {delay:.0} ms: probably Nagle's algorithm and a delayed ACK; a server should send a line and its newline with one write, or set TCP_NODELAY"
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
            format!(" {each:.2} data packets per line received;")
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
