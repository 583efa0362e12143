//! A listening socket: the options that accepted sockets inherit, and what the
//! errors of bind and accept mean.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockFilter;
use socket2::{Protocol, SockRef, Socket, Type};

use crate::net::bind::bind;
use crate::net::options::{StreamOptions, Support, is_mptcp};
use crate::record;
use crate::records;

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
    /// What the kernel does for streams that have inherited their options.
    support: Support,
    is_mptcp: bool,
    /// Options that accepted streams may lack: those that completed their handshake before
    /// an inherited socket got the options, and wait in its backlog; and all TCP streams
    /// of an MPTCP socket, which passes on less than TCP takes.
    lacking: Option<StreamOptions>,
}

impl Listener {
    /// Binds a non-blocking socket to `addr` and listens. With `reuse_port`, other
    /// sockets may listen on `addr` too.
    pub fn bind(
        addr: SocketAddr,
        reuse_port: bool,
        options: StreamOptions,
    ) -> io::Result<Listener> {
        let socket = bind(addr, reuse_port)?;
        let mut listener = Listener::new(socket.into(), options)?;
        SockRef::from(&listener.socket).listen(BACKLOG.into())?;
        delay_acks(&SockRef::from(&listener.socket));
        listener.lacking = listener.lacking.filter(|_| listener.is_mptcp);
        Ok(listener)
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    ///
    /// If `socket` is not a TCP socket that listens.
    pub fn inherit(socket: std::net::TcpListener, options: StreamOptions) -> io::Result<Listener> {
        check_kind(&SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let listener = Listener::new(socket, options)?;
        delay_acks(&SockRef::from(&listener.socket));
        Ok(listener)
    }

    /// Sets the options on a socket that has its address.
    fn new(socket: std::net::TcpListener, options: StreamOptions) -> io::Result<Listener> {
        let addr = socket.local_addr()?;
        let borrowed = SockRef::from(&socket);
        let support = options.set(&borrowed, |option, error| {
            record!(records::ListenerOption {
                addr,
                option,
                error
            });
        });
        Ok(Listener {
            is_mptcp: is_mptcp(&borrowed),
            socket: TcpListener::from_std(socket),
            addr,
            support,
            lacking: Some(options),
        })
    }

    /// The address as bound, with the port that the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether streams may use several paths (MPTCP, RFC 8684).
    pub fn is_mptcp(&self) -> bool {
        self.is_mptcp
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
    pub fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, Support)> {
        loop {
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    let support = self.complete_options(&stream, peer);
                    return Ok((stream, canonical(peer), support));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == ErrorKind::WouldBlock {
                        self.backlog_is_empty();
                    }
                    return Err(e);
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
            self.backlog_is_empty();
        }
        !is_empty
    }

    /// The backlog is a queue, so all later streams have inherited the options.
    fn backlog_is_empty(&mut self) {
        if !self.is_mptcp {
            self.lacking = None;
        }
    }

    /// Sets the options that a stream may lack. Returns what the kernel does for it.
    fn complete_options(&self, stream: &TcpStream, peer: SocketAddr) -> Support {
        match self.lacking {
            None => self.support,
            Some(options) => set_options(options, stream, peer),
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

#[cold]
fn set_options(options: StreamOptions, stream: &TcpStream, peer: SocketAddr) -> Support {
    let socket = SockRef::from(stream);
    let support = options.set(&socket, |option, error| {
        record!(records::StreamOption {
            peer,
            option,
            error
        });
    });
    delay_acks(&socket);
    support
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
    if socket.protocol()? != Some(Protocol::TCP) && !is_mptcp(socket) {
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
        record!(records::QuickAck { error: &e });
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OPTIONS: StreamOptions = StreamOptions {
        send_timeout: Some(Duration::from_secs(7)),
        keepalive: Some(Duration::from_secs(90)),
    };

    /// Accepts a connection, which must be complete, and asserts its options.
    fn assert_options_of_next(listener: &mut Listener) {
        let (stream, _, support) = listener.accept().unwrap();
        assert!(support.has_tcp_info());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.out_of_band_inline().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(support, Support::Full);
            assert_eq!(socket.tcp_user_timeout().unwrap(), OPTIONS.send_timeout);
            let idle = socket.tcp_keepalive_time().unwrap();
            assert_eq!(Some(idle), OPTIONS.keepalive);
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
        let mut listener = Listener::bind(addr, false, OPTIONS).unwrap();
        let _client = std::net::TcpStream::connect(listener.addr).unwrap();
        assert_options_of_next(&mut listener);
    }

    #[test]
    fn connections_to_an_inherited_listener_have_the_same_options() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let _before = [connect(), connect()];
        let mut listener = Listener::inherit(socket.try_clone().unwrap(), OPTIONS).unwrap();
        let _after = connect();
        (0..3).for_each(|_| assert_options_of_next(&mut listener));
        let empty = listener.accept().unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        assert!(listener.lacking.is_none());
        let _later = connect();
        assert_options_of_next(&mut listener);
    }

    #[test]
    fn a_backlog_is_pending_until_all_connections_are_accepted() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), false, OPTIONS).unwrap();
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
