//! A server with a known fault: it serves one connection, in a thread of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use socket2::SockRef;

use super::ping;
use super::program::Finished;
use crate::support::clients::reset;
use crate::support::deadline::{DEADLINE, wait_for};

/// A server that ends with its connection.
pub struct FaultyServer {
    pub addr: SocketAddr,
    /// Dropped to end [`Peer::hold`].
    ping_runs: Sender<()>,
    thread: JoinHandle<()>,
}

/// The connection of ping. Dropping it closes.
pub struct Peer {
    stream: BufReader<TcpStream>,
    ping_runs: Receiver<()>,
}

impl FaultyServer {
    /// Accepts one connection, for which `serve` runs.
    pub fn start(serve: impl FnOnce(Peer) + Send + 'static) -> FaultyServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, ping_runs) = channel();
        let thread = thread::spawn(move || {
            let stream = BufReader::new(accept(&listener));
            serve(Peer { stream, ping_runs });
        });
        FaultyServer {
            addr,
            ping_runs: sender,
            thread,
        }
    }

    /// Runs ping against the server until both have ended. Spaces separate the options.
    pub fn ping(self, options: &str) -> Finished {
        let finished = ping(self.addr, options);
        self.join();
        finished
    }

    /// Waits for the end of the server. Fails if the server did.
    pub fn join(self) {
        drop(self.ping_runs);
        self.thread.join().expect("the server has served");
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = wait_for("ping to connect", || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Peer {
    /// The next line, newline included; `None` at ping's FIN.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        (!line.is_empty()).then_some(line)
    }

    /// The next line, which ping is known to send.
    pub fn line(&mut self) -> Vec<u8> {
        self.next_line().expect("a line")
    }

    /// Sends `bytes` with one write, and so in a segment of their own.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends `bytes` and a FIN in one segment (`MSG_MORE`).
    pub fn send_with_fin(self, bytes: &[u8]) {
        let stream = self.stream.into_inner();
        let sent = SockRef::from(&stream).send_with_flags(bytes, libc::MSG_MORE);
        assert_eq!(sent.unwrap(), bytes.len());
        stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Calls `answer` with each line until ping's FIN.
    pub fn answer_lines(&mut self, mut answer: impl FnMut(&mut Peer, Vec<u8>)) {
        while let Some(line) = self.next_line() {
            answer(self, line);
        }
    }

    /// Reads until ping's FIN, and expects no more lines.
    pub fn expect_fin(&mut self) {
        assert_eq!(self.next_line(), None);
    }

    /// Whether ping's FIN has arrived, without waiting for it.
    pub fn has_fin(&mut self) -> bool {
        assert!(self.stream.buffer().is_empty());
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        peeked.is_ok_and(|len| len == 0)
    }

    /// Keeps the connection open until ping has exited.
    pub fn hold(self) {
        let ended = self.ping_runs.recv_timeout(DEADLINE);
        ended.expect_err("nothing is ever sent");
    }

    /// Closes with an RST.
    pub fn reset(self) {
        reset(self.stream.into_inner());
    }
}
