//! Binding the addresses of a host.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::with_context;
use crate::record;
use crate::records;

/// Has `bind` bind the addresses of one host. An address family that the machine lacks is
/// skipped if the host has another.
///
/// # Errors
///
/// If an address cannot be bound; the text says why, which, and that this is needed to
/// `purpose`: "cannot listen on 127.0.0.1:3000: …".
pub(crate) fn bind_all<T>(
    addrs: &[SocketAddr],
    purpose: &str,
    mut bind: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let (mut bound, mut skipped) = (Vec::new(), None);
    for &addr in addrs {
        match bind(addr) {
            Ok(socket) => bound.push(socket),
            Err(e) => {
                let error = with_context(&e, format_args!("cannot {purpose} {addr}"));
                if !lacks_family(&e) {
                    return Err(error);
                }
                record!(records::FamilyLacking { addr, error: &e });
                skipped = Some(error);
            }
        }
    }
    match skipped {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Non-blocking sockets that listen on the addresses of one host, for the program's metrics.
/// As for [`bind_all`].
#[doc(hidden)]
pub fn listen_on(
    addrs: &[SocketAddr],
    purpose: &str,
    backlog: i32,
) -> io::Result<Vec<TcpListener>> {
    bind_all(addrs, purpose, |addr| {
        let socket = bind(addr, false)?;
        socket.listen(backlog)?;
        Ok(socket.into())
    })
}

/// A non-blocking TCP socket that has its address, and does not listen yet. With
/// `reuse_port`, other sockets may have it too.
pub(crate) fn bind(addr: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?; // 0.0.0.0 and [::] are two listeners.
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Whether a bind failed because the machine lacks the address family or address:
/// a kernel without IPv6, or one with IPv6 switched off (no `::1` on loopback).
fn lacks_family(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(errors: &[i32]) -> io::Result<usize> {
        let addrs: Vec<SocketAddr> = (1..=errors.len())
            .map(|port| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())))
            .collect();
        let bind = |addr: SocketAddr| match errors[usize::from(addr.port()) - 1] {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        };
        bind_all(&addrs, "listen on", bind).map(|bound| bound.len())
    }

    #[test]
    fn a_family_that_is_lacking_is_skipped_unless_the_host_has_no_other() {
        for lacking in [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL] {
            assert_eq!(bound(&[0, lacking]).unwrap(), 1);
            assert_eq!(bound(&[lacking, 0]).unwrap(), 1);
            let error = bound(&[lacking]).unwrap_err().to_string();
            assert!(
                error.starts_with("cannot listen on 127.0.0.1:1: "),
                "{error}"
            );
        }
        let error = bound(&[0, libc::EADDRINUSE]).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot listen on 127.0.0.1:2: "),
            "{error}"
        );
    }
}
