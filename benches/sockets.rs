//! Many connections from one process: file descriptors and local ports.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Socket, Type};

/// Descriptors of the bench that are not connections.
const RESERVED_FDS: usize = 100;

/// Connections from each local address. `connect` tries every second one of the
/// 28,232 ephemeral ports first. When those are taken, it searches them all again for
/// each connection (`__inet_hash_connect` in `net/ipv4/inet_hashtables.c`): 0.9 ms
/// instead of 0.04 ms.
const CONNECTIONS_PER_ADDRESS: usize = 8_000;

/// How many connections the limit on file descriptors allows.
pub fn max_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(RESERVED_FDS)
}

/// # Errors
///
/// If the limit on file descriptors does not allow so many connections.
pub fn check_fd_limit(connections: usize) -> io::Result<()> {
    let max = max_connections();
    if connections <= max {
        return Ok(());
    }
    let text = format!("the limit on file descriptors allows {max} connections");
    Err(io::Error::other(text))
}

/// Connects from an address of 127.0.0.0/8 that depends on the connection's number.
pub fn connect(addr: SocketAddr, number: usize, timeout: Duration) -> io::Result<TcpStream> {
    let host = u8::try_from(1 + number / CONNECTIONS_PER_ADDRESS).expect("few addresses");
    let local = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // `connect` chooses the port, so that it may be one in TIME_WAIT (ip(7)).
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&local.into())?;
    socket.connect_timeout(&addr.into(), timeout)?;
    Ok(socket.into())
}
