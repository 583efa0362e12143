//! Ports for servers that cannot say which one the kernel gave them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Child;

use socket2::{Domain, Socket, Type};

use super::deadline::wait_until;
use super::sockets::is_listening;

/// A port of 127.0.0.1 that only a server with `SO_REUSEADDR` gets, as nearly all have it,
/// and only if it names the port. The kernel gives it to no client and to no other test.
pub struct ReservedPort {
    pub addr: SocketAddr,
    /// Is bound and does not listen, which lets the server bind too (socket(7)).
    _socket: Socket,
}

impl ReservedPort {
    pub fn new() -> ReservedPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        let addr = socket.local_addr().unwrap();
        ReservedPort {
            addr: addr.as_socket().unwrap(),
            _socket: socket,
        }
    }

    /// Waits until `server` listens on the port; fails if it has ended.
    pub fn wait_for_listener(&self, server: &mut Child) {
        wait_until("the server to listen", || {
            let ended = server.try_wait().unwrap();
            assert_eq!(ended, None, "the server has ended");
            is_listening(self.addr.port())
        });
    }
}
