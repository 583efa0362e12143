//! A listening socket: the options that accepted sockets inherit, and what the
//! errors of bind and accept mean.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// The listen backlog. The kernel lowers it to `net.core.somaxconn` (listen(2)),
/// which is 4096 by default since Linux 5.4.
pub(crate) const BACKLOG: u16 = 4096;

/// Passes all segments but those with SYN and without ACK. The socket's filter sees a
/// segment from its TCP header on (`tcp_filter` in `net/ipv4/tcp_ipv4.c`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const SYN_FILTER: [SockFilter; 5] = {
    const FLAGS_OFFSET: u32 = 13; // RFC 9293, section 3.1
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let [load, mask, compare, result] = [
        libc::BPF_LD | libc::BPF_B | libc::BPF_ABS,
        libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ];
    [
        instruction(load, 0, FLAGS_OFFSET),
        instruction(mask, 0, SYN | ACK),
        instruction(compare, 1, SYN), // If not equal, skips one.
        instruction(result, 0, 0),
        instruction(result, 0, u32::MAX),
    ]
};

/// An instruction for a socket filter. A comparison that fails skips `jump_if_false`.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[expect(clippy::cast_possible_truncation, reason = "codes have 8 bits")]
const fn instruction(code: u32, jump_if_false: u8, operand: u32) -> SockFilter {
    SockFilter::new(code as u16, 0, jump_if_false, operand)
}

/// A bound listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    /// Options that connections may lack. They completed their handshake before an
    /// inherited socket got the options, and wait in its backlog.
    backlog_lacks: Option<StreamOptions>,
}

impl Listener {
    /// Binds a non-blocking socket to `addr` and listens. With `reuse_port`, other
    /// sockets may listen on `addr` too.
    pub fn bind(
        addr: SocketAddr,
        reuse_port: bool,
        send_timeout: Option<Duration>,
    ) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        if addr.is_ipv6() {
            socket.set_only_v6(true)?; // 0.0.0.0 and [::] are two listeners.
        }
        let options = StreamOptions { send_timeout };
        options.set(&socket)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG.into())?;
        delay_acks(&socket);
        let socket = TcpListener::from_std(socket.into());
        let addr = socket.local_addr()?;
        Ok(Listener {
            socket,
            addr,
            backlog_lacks: None,
        })
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    ///
    /// If `socket` is not a TCP socket that listens.
    pub fn inherit(
        socket: std::net::TcpListener,
        send_timeout: Option<Duration>,
    ) -> io::Result<Listener> {
        check_kind(&SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let options = StreamOptions { send_timeout };
        options.set(&SockRef::from(&socket))?;
        delay_acks(&SockRef::from(&socket));
        let socket = TcpListener::from_std(socket);
        let addr = socket.local_addr()?;
        Ok(Listener {
            socket,
            addr,
            backlog_lacks: Some(options),
        })
    }

    /// The address as bound, with the port that the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has `registry` report connections as `token`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Has `registry` report no more connections.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    /// Has the kernel drop the SYNs that ask for a connection. Handshakes that have
    /// begun still complete, and the backlog is accepted as before.
    ///
    /// Among sockets that share a port, Linux chooses one for each SYN by a hash
    /// (`reuseport_select_sock` in `net/core/sock_reuseport.c`) until the socket is
    /// closed, and the close resets connections that have not been accepted. The client
    /// repeats a dropped SYN after 1 s (RFC 6298, section 2), and another socket gets it.
    /// Accepted sockets inherit the filter, which passes all segments of a connection.
    ///
    /// # Errors
    ///
    /// If the filter cannot be attached (socket(7)), or the system has no such filters.
    pub fn drop_syns(&self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return SockRef::from(&self.socket).attach_filter(&SYN_FILTER);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Err(ErrorKind::Unsupported.into())
    }

    /// Accepts a connection. The address of an IPv4 client is an IPv4 address, also if the
    /// socket is an inherited one of both families (`IPV6_V6ONLY` off, ipv6(7)).
    ///
    /// # Errors
    ///
    /// Those of accept(2), except `Interrupted`.
    pub fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.socket.accept() {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                accepted => {
                    if let Some(options) = self.backlog_lacks {
                        self.complete_options(options, &accepted);
                    }
                    return accepted.map(|(stream, peer)| (stream, canonical(peer)));
                }
            }
        }
    }

    /// Whether a connection waits in the backlog.
    ///
    /// Asked after an accept, instead of accepting until `WouldBlock`: accept(2)
    /// allocates a socket and a file before it looks at the backlog (`do_accept` in
    /// net/socket.c), and takes ten times as long as poll(2) to find it empty.
    pub fn has_pending(&mut self) -> bool {
        let mut fds = [PollFd::new(self, PollFlags::IN)];
        let is_empty = poll(&mut fds, Some(&Timespec::default())) == Ok(0);
        if is_empty {
            self.backlog_lacks = None;
        }
        !is_empty
    }

    /// Sets the options on a connection that was in the backlog of an inherited socket.
    /// The backlog is a queue, so once it is empty all others have inherited them.
    #[cold]
    fn complete_options(
        &mut self,
        options: StreamOptions,
        accepted: &io::Result<(TcpStream, SocketAddr)>,
    ) {
        match accepted {
            Ok((stream, peer)) => {
                if let Err(e) = options.set(&SockRef::from(stream)) {
                    log::debug!("{peer} cannot set socket options: {e}");
                }
                delay_acks(&SockRef::from(stream));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.backlog_lacks = None,
            Err(_) => {}
        }
    }
}

/// `addr`, as an IPv4 address if it is one that IPv6 maps (RFC 4291, section 2.5.5.2).
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        // It may have a scope.
        IpAddr::V6(_) => addr,
    }
}

/// The options that all streams have. Accepted sockets inherit them from the listener
/// when their handshake completes (tcp(7), socket(7)), so a connection costs no
/// `setsockopt`.
#[derive(Debug, Clone, Copy)]
struct StreamOptions {
    send_timeout: Option<Duration>,
}

impl StreamOptions {
    /// Sets the options on a listener, or on a stream that has not inherited them.
    fn set(self, socket: &Socket) -> io::Result<()> {
        // A line does not wait for the ACK of the line before it.
        socket.set_tcp_nodelay(true)?;
        // Urgent bytes are data like any other (RFC 6093, section 5).
        socket.set_out_of_band_inline(true)?;
        // Finds a peer that has vanished while no output is pending.
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_mins(1))
                .with_interval(Duration::from_secs(10))
                .with_retries(6),
        )?;
        // Finds a peer that has vanished, or takes nothing, while output is
        // pending. It limits keepalive's waiting as well (tcp(7)).
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(self.send_timeout)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = self.send_timeout;
        Ok(())
    }
}

/// # Errors
///
/// If `socket` is not a TCP socket that listens. Systems without `SO_PROTOCOL` and
/// `SO_ACCEPTCONN` check less.
fn check_kind(socket: &Socket) -> io::Result<()> {
    let not = |what| Err(io::Error::new(ErrorKind::InvalidInput, what));
    if socket.r#type()? != Type::STREAM || socket.local_addr()?.as_socket().is_none() {
        return not("not a TCP socket");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if socket.protocol()? != Some(Protocol::TCP) {
        return not("not a TCP socket");
    }
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        return not("the socket does not listen");
    }
    Ok(())
}

/// Lets the ACKs of accepted sockets wait for data to ride on, from the first one on:
/// by default the kernel acknowledges the first segments of a connection at once.
///
/// An accepted socket is a copy of its listener, `TCP_QUICKACK` included, but listen(2)
/// resets that option (`inet_csk_listen_start` in `net/ipv4/inet_connection_sock.c`): so
/// it is set after.
fn delay_acks(socket: &Socket) {
    #[cfg(target_os = "linux")]
    if let Err(e) = socket.set_tcp_quickack(false) {
        log::debug!("cannot set TCP_QUICKACK: {e}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether Linux moves handshakes, and connections that have not been accepted, to
/// another socket with the same port when a listener is closed
/// (`net.ipv4.tcp_migrate_req`). False if the setting or the kernel's release cannot be
/// read.
pub(crate) fn migrates_handshakes() -> bool {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let (setting, release) = (read("net/ipv4/tcp_migrate_req"), read("kernel/osrelease"));
    setting == "1\n" && can_migrate(&release)
}

/// Whether a kernel of this release, as uname(2) has it, can move handshakes: Linux 5.14
/// and later. Debian's 5.10 has the setting without the code.
fn can_migrate(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= (5, 14))
}

/// Whether an error of accept(2) belongs to the connection that was to be accepted:
/// Linux passes pending network errors of the new socket on, and the next accept
/// may succeed.
pub(crate) fn is_connection_error(e: &io::Error) -> bool {
    const CONNECTION_ERRORS: &[i32] = &[
        libc::ECONNABORTED,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EPERM,
        libc::EPROTO,
        libc::ETIMEDOUT,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::ENONET,
    ];
    e.raw_os_error()
        .is_some_and(|errno| CONNECTION_ERRORS.contains(&errno))
}

/// Whether a bind failed because the machine lacks the address family or address:
/// a kernel without IPv6, or one with IPv6 switched off (no `::1` on loopback).
pub(crate) fn lacks_family(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(7);

    /// Accepts a connection, which must be complete, and asserts its options.
    fn assert_options_of_next(listener: &mut Listener) {
        let (stream, _) = listener.accept().unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(TIMEOUT));
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_mins(1));
            assert_eq!(
                socket.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(10)
            );
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
            assert!(!socket.tcp_quickack().unwrap());
        }
    }

    #[test]
    fn accepted_sockets_inherit_what_is_set_on_the_listener() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut listener = Listener::bind(addr, false, Some(TIMEOUT)).unwrap();
        let _client = std::net::TcpStream::connect(listener.addr).unwrap();
        assert_options_of_next(&mut listener);
    }

    #[test]
    fn connections_to_an_inherited_listener_have_the_same_options() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let _before = [connect(), connect()];
        let mut listener = Listener::inherit(socket.try_clone().unwrap(), Some(TIMEOUT)).unwrap();
        let _after = connect();
        (0..3).for_each(|_| assert_options_of_next(&mut listener));
        let empty = listener.accept().unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        assert!(listener.backlog_lacks.is_none());
        let _later = connect();
        assert_options_of_next(&mut listener);
    }

    #[test]
    fn a_backlog_is_pending_until_all_connections_are_accepted() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), false, None).unwrap();
        assert!(!listener.has_pending());
        let connect = || std::net::TcpStream::connect(listener.addr).unwrap();
        let _clients = [connect(), connect()];
        for left in [true, false] {
            listener.accept().unwrap();
            assert_eq!(listener.has_pending(), left);
        }
    }

    #[test]
    fn handshakes_move_from_linux_5_14_on() {
        for release in [
            "5.14.0",
            "5.14.0-362.el9.x86_64\n",
            "5.15",
            "6.1.0-18-amd64",
            "10.0.1",
        ] {
            assert!(can_migrate(release), "{release}");
        }
        for release in [
            "5.10.0-28-amd64\n",
            "5.13.19",
            "5.9.99",
            "4.18.0-513.el8",
            "2.6.32",
        ] {
            assert!(!can_migrate(release), "{release}");
        }
        for release in ["", "\n", "6", "6.", "linux 6.1", "99999999999.1"] {
            assert!(!can_migrate(release), "{release}");
        }
    }

    #[test]
    fn connection_errors_are_told_from_a_lack_of_resources() {
        let of = |errno| is_connection_error(&io::Error::from_raw_os_error(errno));
        assert!(of(libc::ECONNABORTED) && of(libc::EPROTO) && of(libc::ENETDOWN));
        assert!(!of(libc::EMFILE) && !of(libc::ENFILE) && !of(libc::ENOBUFS) && !of(libc::ENOMEM));
    }
}
