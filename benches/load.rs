//! The load generator: clients of an exchange, on one thread.

mod client;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::exchange::Exchange;
use crate::sockets;
use client::Client;

/// A server that sends nothing for so long has failed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long all clients together may take to connect, or to get their last echoes.
fn patience(exchange: Exchange) -> Duration {
    STALL_TIMEOUT + Duration::from_millis(exchange.connections as u64)
}

/// The result of one [`Load::run`].
#[derive(Debug, Default)]
pub struct Sample {
    pub lines: u64,
    pub elapsed: Duration,
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
    /// If there are not enough file descriptors, or if connecting takes too long,
    /// as with a short backlog.
    pub fn connect(addr: SocketAddr, exchange: Exchange) -> io::Result<Load> {
        sockets::check_fd_limit(exchange.connections)?;
        let (poll, started) = (Poll::new()?, Instant::now());
        let clients = (0..exchange.connections)
            .map(|number| {
                let left = patience(exchange).saturating_sub(started.elapsed());
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

    /// Keeps all clients busy for `duration`, then waits for the batches in
    /// flight. Each client sends at least one batch.
    ///
    /// # Errors
    ///
    /// If the server closes a connection, stalls, or echoes wrong bytes.
    pub fn run(&mut self, duration: Duration, record_latencies: bool) -> io::Result<Sample> {
        let started = Instant::now();
        let deadline = started + duration + patience(self.exchange);
        let mut sample = Sample::default();
        for client in &mut self.clients {
            client.send_batch()?;
        }
        let mut in_flight = self.clients.len();
        while in_flight > 0 {
            self.wait(deadline)?;
            let send_more = started.elapsed() < duration;
            in_flight -= self.handle_events(&mut sample, record_latencies, send_more)?;
        }
        sample.elapsed = started.elapsed();
        Ok(sample)
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
            sample.lines += self.exchange.lines as u64;
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
