//! One connection of the client: sends bursts, checks echoes, closes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::net::SendFlags;
use socket2::SockRef;

use crate::client::event::Event;
use crate::client::options::{Options, Prefix};
use crate::client::pattern::Pattern;
use crate::client::statistics::{Close, Statistics};
use crate::client::verifier::{Verdict, Verifier, prefix_of};
use crate::net::options::Support;
use crate::net::socket::{ReadOutcome, Socket};

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Session {
    pub socket: Socket,
    /// Counts from 1.
    number: u64,
    verifier: Verifier,
    /// Lines sent so far.
    sent: u64,
    output: Vec<u8>,
    /// Bytes of `output` that the kernel has taken.
    written: usize,
    /// When the next burst is due.
    next_burst: Instant,
    burst_in_flight: bool,
    /// Lines of the last burst.
    burst_len: u64,
    /// Data segments received until the last burst was complete.
    data_segs_in: u64,
    /// When our FIN was sent.
    fin_sent: Option<Instant>,
}

/// What a session shares with the others: options, results, and the receiver of
/// events.
pub(crate) struct Shared<'a> {
    pub options: &'a Options,
    pub statistics: &'a mut Statistics,
    pub report: &'a mut dyn FnMut(Event),
    pub buffer: Vec<u8>,
    /// No more bursts are sent: sessions close when the outstanding echoes have come.
    pub stopping: bool,
}

impl Session {
    /// Connects to `addr`.
    ///
    /// # Errors
    ///
    /// Those of connect(2), or `TimedOut`.
    pub fn connect(addr: SocketAddr, number: u64, options: &Options) -> io::Result<Session> {
        let stream = std::net::TcpStream::connect_timeout(&addr, options.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let pattern = Pattern::new(number, options.line_len);
        let support = Support::of(&SockRef::from(&stream));
        let mut socket = Socket::new(TcpStream::from_std(stream));
        socket.set_support(support);
        Ok(Session {
            socket,
            number,
            verifier: Verifier::new(pattern, options.prefix.clone()),
            sent: 0,
            output: Vec::new(),
            written: 0,
            next_burst: Instant::now(),
            burst_in_flight: false,
            burst_len: 0,
            data_segs_in: 0,
            fin_sent: None,
        })
    }

    /// Whether the kernel counts the segments of the connection.
    pub fn counts_segments(&self) -> bool {
        self.socket.tcp_info().segments.is_some()
    }

    /// When the session has to be [run](Self::run) without an event.
    pub fn next_timeout(&self, options: &Options) -> Instant {
        match (self.verifier.oldest(), self.fin_sent) {
            (Some(oldest), _) => oldest + options.timeout,
            (None, Some(fin_sent)) => fin_sent + options.timeout,
            (None, None) => self.next_burst,
        }
    }

    /// Writes, reads and goes on to the next burst, as far as possible now. Returns
    /// true when the connection has ended.
    pub fn run(&mut self, shared: &mut Shared<'_>) -> bool {
        let close = match self.advance(shared) {
            Ok(None) => return false,
            Ok(Some(close)) => close,
            Err(_) => Close::Failed,
        };
        if close == Close::Early && !self.is_last_burst(shared) {
            shared.statistics.incomplete += 1;
        }
        self.end(close, shared);
        true
    }

    fn advance(&mut self, shared: &mut Shared<'_>) -> io::Result<Option<Close>> {
        let options = shared.options;
        loop {
            self.write()?;
            if self.read(shared)? {
                let clean = |fin_sent: Instant| Close::Clean(fin_sent.elapsed());
                return Ok(Some(self.fin_sent.map_or(Close::Early, clean)));
            }
            let now = Instant::now();
            self.give_up_older_than(now.checked_sub(options.timeout), shared);
            if options.half_close && self.is_last_burst(shared) && self.is_written() {
                self.finish(now)?;
            }
            if self.verifier.outstanding() > 0 {
                return Ok(None);
            }
            if std::mem::take(&mut self.burst_in_flight) {
                self.count_segments(shared);
            }
            if self.is_last_burst(shared) {
                self.finish(now)?;
                let fin_sent = self.fin_sent.unwrap_or(now);
                return Ok((now >= fin_sent + options.timeout).then_some(Close::Missing));
            }
            if now < self.next_burst {
                return Ok(None);
            }
            self.prepare_burst(now, shared);
        }
    }

    /// Whether all lines have been sent, or no more are wanted.
    fn is_last_burst(&self, shared: &Shared<'_>) -> bool {
        let count = shared.options.count;
        shared.stopping || count.is_some_and(|count| self.sent >= count)
    }

    fn is_written(&self) -> bool {
        self.written == self.output.len()
    }

    fn prepare_burst(&mut self, now: Instant, shared: &mut Shared<'_>) {
        let options = shared.options;
        let left = options.count.map_or(u64::MAX, |count| count - self.sent);
        self.output.clear();
        self.written = 0;
        self.burst_len = options.burst.min(left);
        for _ in 0..self.burst_len {
            self.sent += 1;
            self.verifier.send(self.sent, now, &mut self.output);
        }
        shared.statistics.sent += self.burst_len;
        self.burst_in_flight = true;
        self.next_burst = now + options.interval;
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.is_written() {
            let rest = &self.output[self.written..];
            match self.socket.send(rest, SendFlags::empty()) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained; returns whether the server's FIN came.
    fn read(&mut self, shared: &mut Shared<'_>) -> io::Result<bool> {
        while self.socket.is_readable() {
            let (len, outcome) = self.socket.read(&mut shared.buffer);
            self.verify(len, shared);
            match outcome {
                ReadOutcome::BufferFull | ReadOutcome::WouldBlock => {}
                ReadOutcome::Eof => return Ok(true),
                ReadOutcome::Failed(e) => return Err(e),
            }
        }
        Ok(false)
    }

    fn verify(&mut self, len: usize, shared: &mut Shared<'_>) {
        let (connection, now) = (self.number, Instant::now());
        let (statistics, report) = (&mut *shared.statistics, &mut *shared.report);
        let (input, options) = (&shared.buffer[..len], shared.options);
        self.verifier.receive(input, now, |verdict, echo| {
            report(match verdict {
                Verdict::Echoed(line, round_trip) => {
                    statistics.record_echo(round_trip);
                    if options.prefix == Prefix::Any {
                        let prefix = prefix_of(echo, options.line_len);
                        statistics.prefixes.record(prefix);
                    }
                    Event::Echo {
                        connection,
                        line,
                        len: echo.len(),
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
            });
        });
    }

    /// Gives up lines that were sent at `before` or earlier.
    fn give_up_older_than(&mut self, before: Option<Instant>, shared: &mut Shared<'_>) {
        let Some(before) = before else {
            return;
        };
        for line in self.verifier.give_up(before) {
            shared.statistics.lost += 1;
            (shared.report)(Event::Lost {
                connection: self.number,
                line,
            });
        }
    }

    /// Compares the data segments of a burst's echoes with what is expected.
    fn count_segments(&mut self, shared: &mut Shared<'_>) {
        if !shared.options.count_segments {
            return;
        }
        let total = self
            .socket
            .tcp_info()
            .segments
            .map(|counts| counts.data_segs_in);
        let segments = total.map(|total| total - self.data_segs_in);
        self.data_segs_in = total.unwrap_or(0);
        let (connection, lines) = (self.number, self.burst_len);
        let expected = shared.options.expected_segments.map(|each| each * lines);
        if expected.is_some() && segments != expected {
            shared.statistics.unexpected_segments += 1;
        }
        (shared.report)(Event::Segments {
            connection,
            lines,
            segments,
        });
    }

    /// Sends our FIN, once.
    fn finish(&mut self, now: Instant) -> io::Result<()> {
        if self.fin_sent.is_none() {
            self.socket.shutdown_write()?;
            self.fin_sent = Some(now);
        }
        Ok(())
    }

    /// Counts what is left: lost lines, segments, and the close.
    fn end(&mut self, close: Close, shared: &mut Shared<'_>) {
        if self.verifier.outstanding() == 0 && std::mem::take(&mut self.burst_in_flight) {
            self.count_segments(shared);
        }
        self.give_up_older_than(Some(Instant::now()), shared);
        shared
            .statistics
            .record_segments(self.socket.tcp_info().segments);
        shared.statistics.record_close(close);
        (shared.report)(Event::Closed {
            connection: self.number,
            close,
        });
    }
}
