//! The baseline: a minimal level-triggered epoll loop, as in C.
//!
//! No framing, limits, log or backpressure, so that its cost is the cost of the
//! system calls. `send` blocks: a client that does not read stops the server.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use socket2::SockRef;

/// How the bytes of one read are sent.
#[derive(Clone, Copy)]
pub enum Echo {
    /// One `send` for all bytes.
    Bytes,
    /// One `send` per line or part of a line.
    Lines,
    /// The same with `MSG_EOR`: one segment per line.
    Records,
}

/// Event data of the listener; a connection has its descriptor.
const LISTENER: u64 = u64::MAX;

/// Echoes on `127.0.0.1:port` forever.
pub fn serve(port: u16, echo: Echo) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    SockRef::from(&listener).set_tcp_nodelay(true)?; // Inherited by connections (tcp(7)).
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&epoll, &listener, LISTENER)?;

    let mut connections = Vec::new();
    let mut buffer = vec![0; 64 * 1024].into_boxed_slice();
    let mut events = Vec::with_capacity(1024);
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue, // strace attaches or detaches.
            result => result?,
        };
        for event in events.drain(..) {
            let data = { event.data }.u64();
            if data == LISTENER {
                accept(&epoll, &listener, &mut connections)?;
                continue;
            }
            let slot = &mut connections[usize::try_from(data).expect("a descriptor")];
            let connection = slot.as_ref().expect("the connection is open");
            match recv(connection, &mut *buffer, RecvFlags::empty()) {
                Ok((len, _)) if len > 0 => answer(connection, &buffer[..len], echo),
                _ => *slot = None, // Closes the connection.
            }
        }
    }
}

fn watch(epoll: &OwnedFd, fd: &impl AsFd, data: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(data);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN)?)
}

/// Accepts one connection and stores it under its descriptor.
fn accept(
    epoll: &OwnedFd,
    listener: &TcpListener,
    connections: &mut Vec<Option<OwnedFd>>,
) -> io::Result<()> {
    let connection = accept_with(listener, SocketFlags::CLOEXEC)?;
    let key = usize::try_from(connection.as_raw_fd()).expect("descriptors are not negative");
    watch(epoll, &connection, key as u64)?;
    connections.resize_with(connections.len().max(key + 1), || None);
    connections[key] = Some(connection);
    Ok(())
}

fn answer(connection: &OwnedFd, bytes: &[u8], echo: Echo) {
    match echo {
        Echo::Bytes => send_all(connection, bytes, SendFlags::NOSIGNAL),
        Echo::Lines => send_lines(connection, bytes, SendFlags::NOSIGNAL),
        Echo::Records => send_lines(connection, bytes, SendFlags::NOSIGNAL | SendFlags::EOR),
    }
}

fn send_lines(connection: &OwnedFd, mut bytes: &[u8], flags: SendFlags) {
    while let Some(lf) = memchr::memchr(b'\n', bytes) {
        send_all(connection, &bytes[..=lf], flags);
        bytes = &bytes[lf + 1..];
    }
    send_all(connection, bytes, SendFlags::NOSIGNAL);
}

fn send_all(connection: &OwnedFd, mut bytes: &[u8], flags: SendFlags) {
    while !bytes.is_empty() {
        let Ok(sent) = send(connection, bytes, flags) else {
            return; // The next read fails too, and closes the connection.
        };
        bytes = &bytes[sent..];
    }
}
