//! The kernel's table of TCP sockets, `/proc/net/tcp` and `/proc/net/tcp6`, and its counters,
//! `/proc/net/snmp` (proc(5)).

use std::fs;
use std::net::{SocketAddr, TcpStream};

use super::deadline::wait_until;

/// States of a socket, as in `include/net/tcp_states.h`.
pub const ESTABLISHED: u64 = 1;
pub const CLOSE_WAIT: u64 = 8;
pub const LISTEN: u64 = 10;

/// A row of the table.
pub struct TcpSocket {
    pub local_port: u16,
    pub remote_port: u16,
    pub state: u64,
    /// Bytes that the program has not read yet.
    pub unread: usize,
    /// Which timer runs, and the ticks that are left of it (`get_tcp4_sock` in
    /// `net/ipv4/tcp_ipv4.c`).
    pub timer: (u64, u64),
}

/// The sockets of this network namespace.
pub fn tcp_sockets() -> Vec<TcpSocket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    // The second one is missing where the kernel has no IPv6.
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.map(|row| parse(row).expect("a row of proc(5)"))
        .collect()
}

fn parse(row: &str) -> Option<TcpSocket> {
    let mut fields = row.split_whitespace().skip(1);
    let local = fields.next()?.rsplit_once(':')?.1;
    let remote = fields.next()?.rsplit_once(':')?.1;
    let state = fields.next()?;
    let (_, unread) = fields.next()?.split_once(':')?;
    let (timer, ticks) = fields.next()?.split_once(':')?;
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    Some(TcpSocket {
        local_port: number(local)?.try_into().ok()?,
        remote_port: number(remote)?.try_into().ok()?,
        state: number(state)?,
        unread: number(unread)?.try_into().ok()?,
        timer: (number(timer)?, number(ticks)?),
    })
}

/// A counter of TCP in this network namespace, by its name in RFC 1213 without `tcp`.
pub fn tcp_counter(name: &str) -> usize {
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let mut counters = names.split(' ').zip(values.split(' '));
    let counter = counters.find(|(counter, _)| *counter == name);
    counter.expect("a counter").1.parse().unwrap()
}

/// Whether a socket listens on the port. A connect would show it too, but be a connection
/// of the server.
pub fn is_listening(port: u16) -> bool {
    let listens = |socket: &TcpSocket| socket.local_port == port && socket.state == LISTEN;
    tcp_sockets().iter().any(listens)
}

/// Bytes that the server has not read from the client with the address `client`.
pub fn receive_queue(client: SocketAddr) -> usize {
    let sockets = tcp_sockets();
    let is_servers = |socket: &&TcpSocket| socket.remote_port == client.port();
    sockets
        .iter()
        .find(is_servers)
        .expect("a connection")
        .unread
}

/// Waits until `len` bytes of each client have arrived at the server, which is stopped.
/// What one processor sends another may see later, and out of order: each processor has a
/// queue of its own for packets on loopback (`net/core/dev.c`).
pub fn wait_until_arrived<'a>(clients: impl IntoIterator<Item = &'a TcpStream>, len: usize) {
    let port = |client: &TcpStream| client.local_addr().unwrap().port();
    let mut missing: Vec<u16> = clients.into_iter().map(port).collect();
    wait_until("the input to arrive", || {
        let sockets = tcp_sockets();
        let arrived = sockets.iter().filter(|socket| socket.unread >= len);
        let arrived: Vec<u16> = arrived.map(|socket| socket.remote_port).collect();
        missing.retain(|port| !arrived.contains(port));
        missing.is_empty()
    });
}

/// Waits until the server's side of the connection from `client` is closed for the kernel,
/// as an RST closes it, whether or not the server has noticed.
pub fn wait_until_reset(client: SocketAddr) {
    wait_until("the RST to arrive", || {
        let sockets = tcp_sockets();
        sockets
            .iter()
            .all(|socket| socket.remote_port != client.port())
    });
}
