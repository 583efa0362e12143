//! The load: clients that send lines and check every byte that comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use echoline::Packets;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// What goes on between the clients and a server: each client sends some lines
/// with one write, and the next when all of them are back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    pub connections: usize,
    /// Lines in flight, per connection.
    pub lines: usize,
    /// Bytes per line, newline included.
    pub line_len: usize,
}

/// A server that leaves somebody waiting for so long does not work.
pub const STALL: Duration = Duration::from_secs(2);

/// What was measured in one go.
#[derive(Debug, Default)]
pub struct Slice {
    /// Lines that came back in the measured time.
    pub lines: u64,
    pub elapsed: Duration,
    /// Lines that came back until nothing was in flight any more.
    pub all_lines: u64,
    /// How long each flight took, if that was asked for.
    pub latencies: Vec<Duration>,
}

/// The clients of one exchange.
pub struct Load {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    exchange: Exchange,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    /// Several flights of lines; what is sent goes round and round in it.
    script: Box<[u8]>,
    /// Where the flight begins, and how much of it is sent and received.
    start: usize,
    sent: usize,
    received: usize,
    departed: Instant,
}

impl Load {
    /// Connects all clients.
    ///
    /// # Errors
    ///
    /// When that takes too long, as with a short backlog.
    pub fn connect(addr: SocketAddr, exchange: Exchange) -> io::Result<Load> {
        let (poll, started) = (Poll::new()?, Instant::now());
        let clients = (0..exchange.connections)
            .map(|number| {
                let left = STALL.saturating_sub(started.elapsed());
                let left = left.max(Duration::from_millis(1));
                let stream = std::net::TcpStream::connect_timeout(&addr, left)?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let mut stream = TcpStream::from_std(stream);
                let interests = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(number), interests)?;
                Ok(Client {
                    stream,
                    script: exchange.script(number),
                    start: 0,
                    sent: 0,
                    received: 0,
                    departed: Instant::now(),
                })
            })
            .collect::<io::Result<_>>()?;
        Ok(Load {
            poll,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024].into_boxed_slice(),
            exchange,
            clients,
        })
    }

    /// Keeps all clients busy for `duration`, then waits for what is in
    /// flight: for no time, each client sends one flight. `at_the_end` is
    /// called when the time is over.
    ///
    /// # Errors
    ///
    /// When a server closes, answers with other bytes than were sent, or stops
    /// to answer.
    pub fn run(
        &mut self,
        duration: Duration,
        timed: bool,
        at_the_end: impl FnOnce(),
    ) -> io::Result<Slice> {
        let Load {
            poll,
            events,
            buffer,
            exchange,
            clients,
        } = self;
        let flight = exchange.lines * exchange.line_len;
        let started = Instant::now();
        let mut slice = Slice::default();
        let mut at_the_end = Some(at_the_end);
        for client in &mut *clients {
            client.send_batch(flight)?;
        }
        let mut in_flight = clients.len();
        while in_flight > 0 {
            if started.elapsed() >= duration
                && let Some(at_the_end) = at_the_end.take()
            {
                slice.elapsed = started.elapsed();
                // A flight may be long: what has come of it counts.
                let bytes: usize = clients.iter().map(|client| client.received).sum();
                slice.lines = slice.all_lines + (bytes / exchange.line_len) as u64;
                at_the_end();
            }
            if let Err(e) = poll.poll(events, Some(STALL)) {
                if e.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return Err(e);
            }
            if events.is_empty() || started.elapsed() > duration + STALL {
                let text = "not all are served in time";
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            for event in &*events {
                let client = &mut clients[event.token().0];
                if client.sent < flight {
                    client.send(flight)?;
                }
                if !client.receive(buffer, flight)? {
                    continue;
                }
                slice.all_lines += exchange.lines as u64;
                if timed {
                    slice.latencies.push(client.departed.elapsed());
                }
                if at_the_end.is_some() {
                    client.send_batch(flight)?;
                } else {
                    in_flight -= 1;
                }
            }
        }
        Ok(slice)
    }

    /// Segments with data that the clients have received, as the kernel counted
    /// them.
    pub fn data_packets(&self) -> u64 {
        let packets = self
            .clients
            .iter()
            .filter_map(|client| Packets::of(&client.stream));
        packets.map(|packets| packets.data_in).sum()
    }
}

impl Client {
    /// Sends the next flight, or as much as goes.
    fn send_batch(&mut self, flight: usize) -> io::Result<()> {
        self.start += self.received;
        if self.start == self.script.len() {
            self.start = 0;
        }
        (self.sent, self.received) = (0, 0);
        self.departed = Instant::now();
        self.send(flight)
    }

    fn send(&mut self, flight: usize) -> io::Result<()> {
        while self.sent < flight {
            let rest = &self.script[self.start + self.sent..self.start + flight];
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Receives what there is; says whether the flight has come back whole.
    fn receive(&mut self, buffer: &mut [u8], flight: usize) -> io::Result<bool> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            };
            let at = self.start + self.received;
            let expected = self.script.get(at..at + len);
            if expected != Some(&buffer[..len]) || self.received + len > self.sent {
                return Err(io::Error::new(ErrorKind::InvalidData, "not what was sent"));
            }
            self.received += len;
            if self.received == flight {
                return Ok(true);
            }
            if len < buffer.len() {
                return Ok(false); // It is drained (epoll(7)).
            }
        }
    }
}

impl Drop for Load {
    /// Half-closes first: a server that reads to the end finds no reset.
    fn drop(&mut self) {
        for client in &self.clients {
            let _ = client.stream.shutdown(Shutdown::Write);
        }
    }
}

impl Exchange {
    /// What client `number` sends: no two lines of it are alike, and no line
    /// of another client is.
    fn script(self, number: usize) -> Box<[u8]> {
        let flights = (64 / self.lines).clamp(2, 16);
        (0..flights * self.lines)
            .flat_map(|line| self.line(&format!("{number:x}.{line:x}.")))
            .collect()
    }

    fn line(self, name: &str) -> Vec<u8> {
        let mut line: Vec<u8> = name.bytes().cycle().take(self.line_len).collect();
        line[self.line_len - 1] = b'\n';
        line
    }
}
