//! One client: sends batches and compares every byte that comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use echoline::SegmentCounts;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::exchange::Exchange;
use crate::ping::ping;
use crate::sockets;

/// A listen backlog that every server has. One connection in so many waits for an
/// echo, because the connections before it are accepted then: if the backlog is full,
/// the kernel drops the SYN, and the client sends the next one after a second.
const BACKLOG: usize = 100;

pub struct Client {
    stream: TcpStream,
    /// Several batches, sent one after another and then again.
    payload: Box<[u8]>,
    /// The echo of `payload`.
    echo: Box<[u8]>,
    exchange: Exchange,
    /// The current batch in `payload`.
    batch: usize,
    /// Bytes of the current batch sent so far.
    sent: usize,
    /// Bytes of the echo of the current batch received so far.
    received: usize,
    sent_at: Instant,
}

impl Client {
    pub fn connect(
        addr: SocketAddr,
        timeout: Duration,
        exchange: Exchange,
        number: usize,
    ) -> io::Result<Client> {
        let stream = sockets::connect(addr, number, timeout)?;
        if number % BACKLOG == BACKLOG - 1 {
            stream.set_read_timeout(Some(timeout))?;
            ping(&stream, b"\n")?;
        }
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let payload = exchange.payload(number);
        Ok(Client {
            stream: TcpStream::from_std(stream),
            echo: exchange.echo(&payload),
            payload,
            exchange,
            batch: 0,
            sent: 0,
            received: 0,
            sent_at: Instant::now(),
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.stream, token, interests)
    }

    /// Starts the next batch.
    pub fn send_batch(&mut self) -> io::Result<()> {
        if self.received > 0 {
            self.batch += 1;
        }
        if self.batch * self.exchange.batch_len() == self.payload.len() {
            self.batch = 0;
        }
        (self.sent, self.received) = (0, 0);
        self.sent_at = Instant::now();
        self.send()
    }

    /// Sends the rest of the batch, as far as the socket takes it.
    pub fn send(&mut self) -> io::Result<()> {
        let batch_len = self.exchange.batch_len();
        let batch = &self.payload[self.batch * batch_len..][..batch_len];
        while self.sent < batch_len {
            let rest = &batch[self.sent..];
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained; returns whether the batch is complete.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            };
            self.compare(&buffer[..len])?;
            self.received += len;
            if self.received == self.exchange.lines * self.exchange.echo_len() {
                return Ok(true);
            }
            if len < buffer.len() {
                return Ok(false); // A short read drains the socket (epoll(7)).
            }
        }
    }

    fn compare(&self, echo: &[u8]) -> io::Result<()> {
        let Exchange {
            lines, line_len, ..
        } = self.exchange;
        let at = self.batch * lines * self.exchange.echo_len() + self.received;
        let expected = self.echo.get(at..at + echo.len());
        let sent = self.sent + self.sent / line_len * self.exchange.prefix.len();
        if expected == Some(echo) && self.received + echo.len() <= sent {
            Ok(())
        } else {
            let text = "the echo differs from what was sent";
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
    }

    /// Time since the batch was sent.
    pub fn latency(&self) -> Duration {
        self.sent_at.elapsed()
    }

    pub fn data_segments(&self) -> Option<u64> {
        SegmentCounts::of(&self.stream).map(|counts| counts.data_segs_in)
    }

    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
