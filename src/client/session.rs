//! One connection of the client, from the connect to the end.
//!
//! Its life is one enum. A run does a bounded amount of work: it sends what the kernel takes
//! of at most 1 MiB, makes one read of at most 64 KiB, judges at most 1,024 lines, and then
//! says whether there is more to do at once. What input is left unjudged stays in the
//! session, which reads no more until it is judged.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::net::SendFlags;

use crate::client::close::{Close, Ending, Failure};
use crate::client::event::Event;
use crate::client::input::Input;
use crate::client::options::{Options, Prefix};
use crate::client::pattern::Pattern;
use crate::client::schedule::{Burst, Schedule};
use crate::client::statistics::Statistics;
use crate::client::verifier::{Verdict, Verifier, prefix_of};
use crate::net::socket::{ReadOutcome, Socket};
use crate::net::stream::{MORE, Stream};

/// Lines that a session judges, or gives up, per run.
pub(crate) const MAX_LINES_PER_RUN: usize = 1024;

/// Bytes of a burst that are made at a time: a burst up to this is one write.
const MAX_OUTPUT: usize = 1 << 20;

/// Lines of a burst that are made at a time.
const MAX_OUTPUT_LINES: u64 = 16_384;

/// A stream that may not be connected yet.
pub(crate) trait Connect: Stream {
    /// Whether the connection is established.
    ///
    /// # Errors
    ///
    /// Why it will not be.
    fn is_connected(&self) -> io::Result<bool>;
}

impl Connect for TcpStream {
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(e) = TcpStream::take_error(self)? {
            return Err(e);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// How a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting {
        since: Instant,
    },
    Exchanging,
    /// Our FIN was sent then.
    HalfClosed(Instant),
    /// What is left is to be counted.
    Ended(Ending),
}

/// What the loop does after a run.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Run the session at its next event or timeout.
    Wait,
    /// Run it again as soon as the others have run.
    Again,
    /// It has ended, and is reported.
    Closed,
    /// It has not been established, which is not reported.
    NotConnected(io::Error),
    /// It was told to stop before it was established.
    Abandoned,
    /// Segments are expected, and the kernel does not count them.
    Uncounted,
}

/// What ends the input.
#[derive(Debug)]
enum InputEnd {
    Eof,
    Failed(io::Error),
}

/// Lines, or a PROXY header before them, that are being sent.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// Bytes that the kernel has taken.
    written: usize,
    /// Lines of the burst that have not been made.
    left: u64,
}

impl Output {
    fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }
}

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Session<S = TcpStream> {
    socket: Socket<S>,
    addr: SocketAddr,
    /// Counts from 1.
    number: u64,
    state: State,
    input: Input,
    input_end: Option<InputEnd>,
    verifier: Verifier,
    schedule: Schedule,
    output: Output,
    /// From when the round trips of the burst count.
    burst_at: Instant,
    /// Lines whose segments have been counted.
    counted: u64,
    /// Data segments received until then.
    data_segs_in: u64,
    /// The last line with a right echo.
    last_line: u64,
    /// Lines that are received and not judged.
    to_skip: u64,
}

/// What a session shares with the others: options, results, and the receiver of events.
pub(crate) struct Shared<'a> {
    pub options: &'a Options,
    pub statistics: &'a mut Statistics,
    pub report: &'a mut dyn FnMut(Event),
    pub buffer: Vec<u8>,
    /// No more bursts are sent: sessions close when the outstanding echoes have come.
    pub stopping: bool,
    /// No burst is sent yet.
    pub holding: bool,
    /// Lines that may be judged or given up in this turn of the loop.
    pub budget: usize,
}

impl<S: Connect> Session<S> {
    /// A session that waits until its socket is connected.
    pub fn new(socket: Socket<S>, addr: SocketAddr, number: u64, options: &Options) -> Session<S> {
        let now = Instant::now();
        let pattern = Pattern::new(number, options.line_len);
        let verifier = Verifier::new(pattern, options.prefix.clone());
        Session {
            socket,
            addr,
            number,
            state: State::Connecting { since: now },
            input: Input::new(verifier.max_len()),
            input_end: None,
            verifier,
            schedule: Schedule::new(options, now),
            output: Output::default(),
            burst_at: now,
            counted: 0,
            data_segs_in: 0,
            last_line: 0,
            to_skip: options.skip_lines,
        }
    }

    pub fn socket_mut(&mut self) -> &mut Socket<S> {
        &mut self.socket
    }

    /// When a line after the last would be due.
    pub fn after_last(&self) -> Instant {
        self.schedule.after_last()
    }

    pub fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// When the session has to be [run](Self::run) without an event. `sends`: whether it may
    /// send another burst.
    pub fn due(&self, options: &Options, sends: bool) -> Option<Instant> {
        let lines = self.verifier.lines();
        let outstanding = lines.outstanding();
        let expiry = lines.oldest().map(|oldest| oldest + options.timeout);
        let next = match self.state {
            State::Connecting { since } => Some(since + options.timeout),
            State::HalfClosed(since) if outstanding == 0 => Some(since + options.timeout),
            State::Exchanging if sends && self.output.is_written() => {
                self.schedule.due(outstanding)
            }
            State::Exchanging | State::HalfClosed(_) | State::Ended(_) => None,
        };
        expiry.into_iter().chain(next).min()
    }

    /// Does what can be done now, within bounds.
    pub fn run(&mut self, shared: &mut Shared<'_>) -> Outcome {
        if let State::Connecting { since } = self.state {
            match self.socket.stream_mut().is_connected() {
                Err(e) => return Outcome::NotConnected(e),
                Ok(true) if self.lacks_counts(shared.options) => return Outcome::Uncounted,
                Ok(true) => self.connected(shared),
                Ok(false) if shared.stopping => return Outcome::Abandoned,
                Ok(false) if since.elapsed() >= shared.options.timeout => {
                    return Outcome::NotConnected(ErrorKind::TimedOut.into());
                }
                Ok(false) => return Outcome::Wait,
            }
        }
        if !matches!(self.state, State::Ended(_))
            && let Err(e) = self.exchange(shared)
        {
            self.end(Close::Failed(Failure::of_connection(&e)), shared);
        }
        match self.state {
            State::Ended(ending) => self.settle(ending, shared),
            _ if self.is_busy() => Outcome::Again,
            _ => Outcome::Wait,
        }
    }

    fn lacks_counts(&self, options: &Options) -> bool {
        options.expected_segments.is_some() && self.socket.tcp_info().segments.is_none()
    }

    fn connected(&mut self, shared: &mut Shared<'_>) {
        self.state = State::Exchanging;
        self.schedule = Schedule::new(shared.options, Instant::now());
        if let Some(header) = shared.options.proxy_header {
            self.output.bytes = header.bytes(self.addr);
        }
        shared.statistics.connections += 1;
        (shared.report)(Event::Connected {
            connection: self.number,
            addr: self.addr,
        });
    }

    /// Whether there is more to do at once.
    fn is_busy(&self) -> bool {
        let has_output = self.output.left > 0 && self.output.is_written();
        self.has_input() || self.input_end.is_some() || has_output
    }

    /// Whether there is input that has not been judged.
    fn has_input(&self) -> bool {
        self.input.may_have_line() || self.socket.is_readable()
    }

    fn exchange(&mut self, shared: &mut Shared<'_>) -> io::Result<()> {
        self.write(shared);
        self.read(shared);
        let now = Instant::now();
        self.give_up_overdue(now, shared);
        if self.input_end.is_none() {
            return self.advance(now, shared);
        }
        if self.has_input() {
            return Ok(());
        }
        match self.input_end.take() {
            Some(InputEnd::Failed(e)) => return Err(e),
            _ => self.end_by_fin(now, shared),
        }
        Ok(())
    }

    /// Goes on to the next burst, to our FIN, or to the end.
    fn advance(&mut self, now: Instant, shared: &mut Shared<'_>) -> io::Result<()> {
        if !self.output.is_written() {
            return Ok(());
        }
        if self.output.left > 0 && !shared.stopping {
            self.make_lines(shared);
            return self.half_close_after_last(now, shared);
        }
        self.output.left = 0;
        let outstanding = self.verifier.lines().outstanding();
        if outstanding == 0 {
            self.count_segments(shared);
        }
        if let State::HalfClosed(since) = self.state {
            if outstanding == 0 && now >= since + shared.options.timeout {
                self.end(Close::Missing, shared);
            }
            return Ok(());
        }
        if self.is_last_burst(shared) {
            return if outstanding == 0 || shared.options.half_close {
                self.half_close(now)
            } else {
                Ok(())
            };
        }
        if shared.holding {
            return Ok(());
        }
        if let Some(Burst { lines, at }) = self.schedule.next(now, outstanding) {
            (self.output.left, self.burst_at) = (lines, at);
            self.make_lines(shared);
            return self.half_close_after_last(now, shared);
        }
        Ok(())
    }

    /// Whether all lines have been handed out, or no more are wanted.
    fn is_last_burst(&self, shared: &Shared<'_>) -> bool {
        shared.stopping || self.schedule.is_done()
    }

    /// Makes the next lines of the burst, as many as one write takes.
    fn make_lines(&mut self, shared: &mut Shared<'_>) {
        let fitting = MAX_OUTPUT / shared.options.line_len;
        let fitting = (fitting as u64).clamp(1, MAX_OUTPUT_LINES);
        let lines = self.output.left.min(fitting);
        self.output.bytes.clear();
        self.output.written = 0;
        self.output.left -= lines;
        self.verifier
            .send(lines, self.burst_at, &mut self.output.bytes);
        shared.statistics.sent += lines;
        self.write(shared);
    }

    /// With [`Options::half_close`], our FIN follows the last byte at once: then both are in
    /// one segment, and no echo can come between them.
    fn half_close_after_last(&mut self, now: Instant, shared: &Shared<'_>) -> io::Result<()> {
        if self.output.is_written() && self.ends_with_fin(shared) {
            return self.half_close(now);
        }
        Ok(())
    }

    fn ends_with_fin(&self, shared: &Shared<'_>) -> bool {
        shared.options.half_close && self.output.left == 0 && self.is_last_burst(shared)
    }

    fn half_close(&mut self, now: Instant) -> io::Result<()> {
        self.socket.shutdown_write()?;
        self.state = State::HalfClosed(now);
        Ok(())
    }

    /// Sends what the kernel takes. After a failure, what has been received is read first.
    fn write(&mut self, shared: &Shared<'_>) {
        let more = self.output.left > 0 || self.ends_with_fin(shared);
        let flags = if more { MORE } else { SendFlags::empty() };
        while !self.output.is_written() {
            let rest = &self.output.bytes[self.output.written..];
            match self.socket.send(rest, flags) {
                Ok(n) => self.output.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.output = Output::default();
                    self.input_end.get_or_insert(InputEnd::Failed(e));
                    self.socket.expect_input();
                }
            }
        }
    }

    /// Makes one read, if what was read before is judged, and judges lines.
    fn read(&mut self, shared: &mut Shared<'_>) {
        let mut len = 0;
        if !self.input.may_have_line() && self.socket.is_readable() {
            let (n, outcome) = self.socket.read(&mut shared.buffer);
            len = n;
            let end = match outcome {
                ReadOutcome::BufferFull | ReadOutcome::WouldBlock => None,
                ReadOutcome::Eof => Some(InputEnd::Eof),
                ReadOutcome::Failed(e) => Some(InputEnd::Failed(e)),
            };
            // A failed write is the reason, rather than the FIN that a read finds after it.
            self.input_end = self.input_end.take().or(end);
        }
        if len > 0 || self.input.may_have_line() {
            self.judge(len, shared);
        }
    }

    fn judge(&mut self, len: usize, shared: &mut Shared<'_>) {
        let (connection, now) = (self.number, Instant::now());
        let (verifier, last_line, to_skip) =
            (&mut self.verifier, &mut self.last_line, &mut self.to_skip);
        let (statistics, report, options) =
            (&mut *shared.statistics, &mut *shared.report, shared.options);
        let whole = shared.budget.min(MAX_LINES_PER_RUN);
        let mut budget = whole;
        self.input
            .receive(&shared.buffer[..len], &mut budget, |piece| {
                if *to_skip > 0 {
                    *to_skip -= 1;
                    return;
                }
                let (bytes, verdict) = (piece.bytes(), verifier.judge(piece, now));
                if let Verdict::Echoed(line, _) = verdict {
                    *last_line = line;
                    if options.prefix == Prefix::Any {
                        let prefix = prefix_of(bytes, options.line_len);
                        statistics.prefixes.record(prefix);
                    }
                }
                report(event(connection, verdict, bytes.len(), statistics));
            });
        shared.budget -= whole - budget;
    }

    /// Gives up lines that have waited for too long. While input is not judged, their echoes
    /// may be in it, so that they have as long again.
    fn give_up_overdue(&mut self, now: Instant, shared: &mut Shared<'_>) {
        let timeout = shared.options.timeout;
        let limit = if self.has_input() {
            timeout * 2
        } else {
            timeout
        };
        if let Some(before) = now.checked_sub(limit) {
            self.give_up(before, shared);
        }
    }

    /// Gives up lines that were sent at `before` or earlier, within the budget.
    fn give_up(&mut self, before: Instant, shared: &mut Shared<'_>) {
        while shared.budget > 0
            && let Some((first, last)) = self.verifier.give_up(before, shared.budget as u64)
        {
            for line in first..=last {
                shared.budget -= 1;
                shared.statistics.lost += 1;
                let connection = self.number;
                (shared.report)(Event::Lost { connection, line });
            }
        }
    }

    /// Compares the data segments of a burst's echoes with what is expected.
    fn count_segments(&mut self, shared: &mut Shared<'_>) {
        let (options, statistics) = (shared.options, &mut *shared.statistics);
        let (first, last) = (self.counted + 1, self.verifier.lines().sent());
        if first > last || !options.count_segments {
            return;
        }
        let counts = self.socket.tcp_info().segments;
        let segments = counts.map(|counts| counts.data_segs_in - self.data_segs_in);
        self.data_segs_in = counts.map_or(0, |counts| counts.data_segs_in);
        self.counted = last;
        let (connection, lines) = (self.number, last + 1 - first);
        if let Some(segments) = segments.filter(|segments| *segments > 0) {
            let is_first_of_bursts = options.burst > 1 && first == 1;
            let distribution = if is_first_of_bursts {
                &mut statistics.first_bursts
            } else {
                &mut statistics.distribution
            };
            // Lines of an open loop that overlap have no segments of their own.
            if lines <= options.burst {
                distribution.record(segments, connection, first);
            }
        }
        let expected = options
            .expected_segments
            .map(|each| each.saturating_mul(lines));
        if expected.is_some() && segments != expected {
            statistics.unexpected_segments += 1;
        }
        (shared.report)(Event::Segments {
            connection,
            lines,
            segments,
        });
    }

    fn end_by_fin(&mut self, now: Instant, shared: &mut Shared<'_>) {
        let close = match self.state {
            State::HalfClosed(since) => Close::Clean(now - since),
            _ => Close::Early,
        };
        if close == Close::Early && !self.is_last_burst(shared) {
            shared.statistics.incomplete += 1;
        }
        self.end(close, shared);
    }

    fn end(&mut self, close: Close, shared: &mut Shared<'_>) {
        let outstanding = self.verifier.lines().outstanding();
        if outstanding == 0 {
            self.count_segments(shared);
        }
        self.state = State::Ended(Ending {
            close,
            last_line: self.last_line,
            outstanding,
        });
    }

    /// Counts what is left: lost lines, segments, and the close.
    fn settle(&mut self, ending: Ending, shared: &mut Shared<'_>) -> Outcome {
        self.give_up(Instant::now(), shared);
        if self.verifier.lines().outstanding() > 0 {
            return Outcome::Again;
        }
        shared.statistics.record_segments(self.socket.tcp_info());
        shared.statistics.record_ending(ending);
        let connection = self.number;
        (shared.report)(Event::Closed { connection, ending });
        Outcome::Closed
    }
}

/// Counts a verdict on a received line of `len` bytes, and says it.
fn event(connection: u64, verdict: Verdict, len: usize, statistics: &mut Statistics) -> Event {
    match verdict {
        Verdict::Echoed(line, round_trip) => {
            statistics.record_echo(round_trip);
            Event::Echo {
                connection,
                line,
                len,
                round_trip,
            }
        }
        Verdict::Late(line, round_trip) => {
            statistics.late += 1;
            Event::Late {
                connection,
                line,
                round_trip,
            }
        }
        Verdict::Wrong(line, fault) => {
            statistics.wrong += 1;
            Event::Wrong {
                connection,
                line,
                fault,
            }
        }
        Verdict::Extra => {
            statistics.extra += 1;
            Event::Extra { connection, len }
        }
    }
}

#[cfg(test)]
#[path = "script.rs"]
mod script;
