//! The baseline: the barest level-triggered epoll loop, as one would write it in C.
//!
//! No framing, no limits, no log, no backpressure: what the kernel takes for
//! an echo, and next to nothing else. It blocks in `send`, so it is good for
//! peers that read what they get, and for nothing but a comparison.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use socket2::SockRef;

/// What one send takes of what one read brought.
#[derive(Clone, Copy)]
pub enum Echo {
    /// All bytes, as they came.
    Bytes,
    /// A line, or what there is of it.
    Lines,
    /// The same, as a record of its own (`MSG_EOR`): a segment per line.
    Records,
}

/// Echoes on `127.0.0.1:port` for ever.
pub fn serve(port: u16, echo: Echo) -> io::Result<()> {
    const LISTENER: u64 = u64::MAX;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    SockRef::from(&listener).set_tcp_nodelay(true)?; // Inherited (tcp(7)).
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |fd: &dyn AsFd, data| {
        let data = epoll::EventData::new_u64(data);
        epoll::add(&epoll, fd.as_fd(), data, epoll::EventFlags::IN)
    };
    watch(&listener, LISTENER)?;

    let mut connections: Vec<Option<OwnedFd>> = Vec::new(); // By descriptor.
    let mut buffer = vec![0; 64 * 1024].into_boxed_slice();
    let mut events = Vec::with_capacity(1024);
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue, // A tracer comes or goes.
            result => result?,
        };
        for event in events.drain(..) {
            let data = { event.data }.u64();
            if data == LISTENER {
                let connection = accept_with(&listener, SocketFlags::CLOEXEC)?;
                let key = usize::try_from(connection.as_raw_fd()).expect("not negative");
                watch(&connection, key as u64)?;
                connections.resize_with(connections.len().max(key + 1), || None);
                connections[key] = Some(connection);
                continue;
            }
            let slot = &mut connections[usize::try_from(data).expect("one of ours")];
            let connection = slot.as_ref().expect("it is open");
            match recv(connection, &mut *buffer, RecvFlags::empty()) {
                Ok((len, _)) if len > 0 => answer(connection, &buffer[..len], echo),
                _ => *slot = None, // Closes it.
            }
        }
    }
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
        let Ok(taken) = send(connection, bytes, flags) else {
            return; // The next read tells.
        };
        bytes = &bytes[taken..];
    }
}
