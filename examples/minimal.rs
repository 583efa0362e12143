//! The smallest line echo server on mio that is still right; `tests/examples.rs` tests it.
//! Comments say what a line is for and, after "echoline:", what the full server does. That
//! also has signals, a clean stop, a log, limits, and timeouts for peers that vanish.

use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
use std::io::{Read, Result, Write};
use std::{collections::BTreeSet, net::Shutdown, time::Duration};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, event::Event};
use slab::Slab;

/// The longest line, newline included. It bounds what a connection can hold.
const MAX_LINE: usize = 64 * 1024;

/// A connection's token is its slab key: 0, 1, 2, ... The listener's is the last.
const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    /// Input that is not echoed yet. echoline: an empty buffer keeps no memory.
    buf: Vec<u8>,
    /// How much of `buf` is whole lines, to be written. The rest waits for its newline.
    whole: usize,
    /// A line was too long; all that follows is discarded.
    discards: bool,
}

impl Connection {
    /// Reads once, so that a flood delays other connections by one read only, and echoes.
    /// `Ok(true)`: there may be more. `Ok(false)`: it is over. `WouldBlock`: wait.
    fn run(&mut self, scratch: &mut [u8]) -> Result<bool> {
        self.flush()?; // Backpressure: while output is pending, the run ends here.
        let n = self.stream.read(&mut scratch[self.buf.len()..])?; // Up to the limit.
        let input = &scratch[self.buf.len()..][..n];
        if n == 0 && !self.buf.is_empty() {
            self.buf.push(b'\n'); // The last line lacked it.
            self.whole = self.buf.len();
        } else if !self.discards {
            let newline = input.iter().rposition(|&byte| byte == b'\n');
            self.whole = newline.map_or(0, |at| self.buf.len() + at + 1);
            self.buf.extend_from_slice(input);
            self.discards = self.whole == 0 && self.buf.len() == MAX_LINE;
        }
        self.flush()?; // If this blocks at the end of input, a later read is 0 again.
        Ok(n > 0)
    }

    /// Writes line and newline, and all lines of one read, with one call.
    fn flush(&mut self) -> Result<()> {
        while self.whole > 0 {
            let n = self.stream.write(&self.buf[..self.whole])?;
            self.buf.drain(..n); // What the kernel did not take stays.
            self.whole -= n;
        }
        if self.discards {
            // No close yet: with unread input it would send an RST, which can destroy
            // echoes on their way. echoline: closes after 2 s if the client does not.
            self.buf.clear();
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

fn accept(socket: &TcpListener, registry: &Registry, slab: &mut Slab<Connection>) -> Result<bool> {
    let (mut stream, _) = socket.accept()?;
    let _ = stream.set_nodelay(true); // An echo does not wait for the ACK of the last one.
    let entry = slab.vacant_entry(); // Stays vacant if the registration fails.
    let both = Interest::READABLE | Interest::WRITABLE; // Never changed: no call for it per write.
    registry.register(&mut stream, Token(entry.key()), both)?;
    entry.insert(Connection {
        stream,
        buf: Vec::new(),
        whole: 0,
        discards: false,
    });
    Ok(true)
}

fn main() -> Result<()> {
    let addr = std::env::args().nth(1).expect("an address to listen on");
    let mut listener = TcpListener::bind(addr.parse().expect("IP:PORT"))?;
    let mut poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);
    let (mut events, mut slab) = (Events::with_capacity(1024), Slab::<Connection>::new());
    let mut scratch = vec![0; MAX_LINE]; // Shared: idle connections need no memory to read.

    // An event is not repeated, so its token stays here until a call would block. Each is
    // here once, and the listener last: no slot is reused in the round that freed it.
    let (mut ready, mut timeout) = (BTreeSet::new(), None);
    loop {
        match poll.poll(&mut events, timeout) {
            Err(e) if e.kind() != Interrupted => return Err(e),
            _ => ready.extend(events.iter().map(Event::token)),
        }
        timeout = None;
        for token in std::mem::take(&mut ready) {
            let result = match slab.get_mut(token.0) {
                Some(connection) => connection.run(&mut scratch),
                None if token == LISTENER => accept(&listener, &registry, &mut slab),
                None => continue,
            };
            timeout = match result.map_err(|e| e.kind()) {
                Err(WouldBlock) => continue, // An event will follow.
                Ok(true) | Err(Interrupted | ConnectionAborted) => Some(Duration::ZERO),
                // EMFILE or the like: clients wait in the backlog, and no event repeats it.
                _ if token == LISTENER => timeout.or(Some(Duration::from_secs(1))),
                _ => {
                    let _ = registry.deregister(&mut slab.remove(token.0).stream);
                    continue; // The only close: the stream was dropped.
                }
            };
            ready.insert(token);
        }
    }
}
