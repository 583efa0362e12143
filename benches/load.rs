//! The load generator: clients of an exchange, on one thread.

mod client;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::exchange::Exchange;
use client::Client;

/// A server that sends nothing for so long has failed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of one [`Load::run`].
#[derive(Debug, Default)]
pub struct Sample {
    /// Lines echoed in `elapsed`.
    pub lines: u64,
    pub elapsed: Duration,
    /// Lines echoed until no batch was in flight.
    pub all_lines: u64,
    /// Round-trip times of batches, if recorded.
    pub latencies: Vec<Duration>,
}

/// Connected clients.
pub struct Load {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    exchange: Exchange,
    clients: Vec<Client>,
}

impl Load {
    /// Connects all clients.
    ///
    /// # Errors
    ///
    /// If connecting takes too long, as with a short backlog.
    pub fn connect(addr: SocketAddr, exchange: Exchange) -> io::Result<Load> {
        let (poll, started) = (Poll::new()?, Instant::now());
        let clients = (0..exchange.connections)
            .map(|number| {
                let left = STALL_TIMEOUT.saturating_sub(started.elapsed());
                let timeout = left.max(Duration::from_millis(1));
                let mut client = Client::connect(addr, timeout, exchange, number)?;
                client.register(poll.registry(), Token(number))?;
                Ok(client)
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

    /// Keeps all clients busy for `duration`, calls `on_time_up`, then waits for
    /// the batches in flight. Each client sends at least one batch.
    ///
    /// # Errors
    ///
    /// If the server closes a connection, stalls, or echoes wrong bytes.
    pub fn run(
        &mut self,
        duration: Duration,
        record_latencies: bool,
        on_time_up: impl FnOnce(),
    ) -> io::Result<Sample> {
        let started = Instant::now();
        let deadline = started + duration + STALL_TIMEOUT;
        let mut sample = Sample::default();
        let mut on_time_up = Some(on_time_up);
        for client in &mut self.clients {
            client.send_batch()?;
        }
        let mut in_flight = self.clients.len();
        while in_flight > 0 {
            if started.elapsed() >= duration
                && let Some(on_time_up) = on_time_up.take()
            {
                sample.elapsed = started.elapsed();
                sample.lines = sample.all_lines + self.partial_lines();
                on_time_up();
            }
            self.wait(deadline)?;
            let send_more = on_time_up.is_some();
            in_flight -= self.handle_events(&mut sample, record_latencies, send_more)?;
        }
        Ok(sample)
    }

    /// Lines of batches that have come back in part.
    fn partial_lines(&self) -> u64 {
        let bytes: usize = self.clients.iter().map(Client::received).sum();
        (bytes / self.exchange.line_len) as u64
    }

    fn wait(&mut self, deadline: Instant) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(STALL_TIMEOUT)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            Ok(()) if self.events.is_empty() || Instant::now() > deadline => {
                Err(io::Error::new(ErrorKind::TimedOut, "no echo in time"))
            }
            result => result,
        }
    }

    /// Returns how many clients completed their last batch.
    fn handle_events(
        &mut self,
        sample: &mut Sample,
        record_latencies: bool,
        send_more: bool,
    ) -> io::Result<usize> {
        let mut finished = 0;
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            client.send()?;
            if !client.receive(&mut self.buffer)? {
                continue;
            }
            sample.all_lines += self.exchange.lines as u64;
            if record_latencies {
                sample.latencies.push(client.latency());
            }
            if send_more {
                client.send_batch()?;
            } else {
                finished += 1;
            }
        }
        Ok(finished)
    }

    /// Segments with data that the clients received, from `TCP_INFO`.
    pub fn data_segments(&self) -> u64 {
        self.clients.iter().filter_map(Client::data_segments).sum()
    }
}

impl Drop for Load {
    /// Half-closes, so that a server that reads to the end sees no reset.
    fn drop(&mut self) {
        for client in &self.clients {
            client.half_close();
        }
    }
}
