//! Clients on blocking sockets. Every call fails after a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::deadline::DEADLINE;

pub fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).expect("the server listens");
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Connects a client that offers a window of a few KiB at most from its SYN on.
pub fn connect_with_small_window(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

/// Connects from the address `ip`.
pub fn connect_from(ip: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

/// A line of `len` bytes, newline included.
pub fn line_of(len: usize) -> Vec<u8> {
    let mut line = vec![b'x'; len];
    line[len - 1] = b'\n';
    line
}

pub fn read_exactly(mut client: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).expect("the echo arrives");
    bytes
}

/// Reads until the server's FIN. Fails on an RST.
pub fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("FIN, and no RST");
    bytes
}

/// Reads `len` bytes, at most `piece_len` at a time, and asserts that they repeat
/// `pattern`.
pub fn read_repeated(mut client: &TcpStream, pattern: &[u8], len: usize, piece_len: usize) {
    let expected = pattern.repeat(piece_len / pattern.len() + 2);
    let (mut read, mut piece) = (0, vec![0; piece_len]);
    while read < len {
        let n = match client.read(&mut piece) {
            // With a timeout the kernel does not restart the call (signal(7)).
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => result.expect("no RST"),
        };
        assert_ne!(n, 0, "FIN after {read} bytes");
        let expected = &expected[read % pattern.len()..][..n];
        assert!(piece[..n] == *expected, "wrong bytes after {read}");
        read += n;
    }
    assert_eq!(read, len);
}

/// Sends `line` and expects it back.
pub fn echo(mut client: &TcpStream, line: &[u8]) {
    client.write_all(line).unwrap();
    assert_eq!(read_exactly(client, line.len()), line);
}

/// Sends `bytes` and half-closes, in a thread: reading must not wait for that.
pub fn send_and_half_close(client: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut client = client.try_clone().unwrap();
    thread::spawn(move || {
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    })
}

/// Sends `bytes`, half-closes, and returns all that the server sends.
pub fn send_and_read_to_end(client: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let sender = send_and_half_close(client, bytes.to_vec());
    let echoed = read_to_end(client);
    sender.join().unwrap();
    echoed
}

/// Whether the client has neither unread data nor a FIN.
pub fn received_nothing(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    peeked.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

/// Waits until the client has unread data; reads none.
pub fn wait_for_data(client: &TcpStream) {
    assert_eq!(client.peek(&mut [0]).unwrap(), 1, "the server sent a FIN");
}

/// Closes with an RST (`SO_LINGER` with zero time, socket(7)).
pub fn reset(client: TcpStream) {
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
}
