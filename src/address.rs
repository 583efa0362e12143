//! `HOST:PORT`: parsing and resolving.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An address to listen on, written `HOST:PORT`.
///
/// The host is an IPv4 address, an IPv6 address in brackets, `localhost`
/// (127.0.0.1 and `::1`) or a name to resolve. Without a host, `:PORT` or `PORT`,
/// it is all addresses of both families. Port 0 lets the kernel choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// All addresses of both families.
    Any,
    Localhost,
    Ip(IpAddr),
    Name(String),
}

/// The reason that a text is not a [`HostPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddrError {
    /// It is not of the form `HOST:PORT`.
    Form,
    /// The port is not a number from 0 to 65535.
    Port,
    /// The host cannot be a name, or is an IPv6 address without brackets.
    Host,
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddrError::Form => "not of the form HOST:PORT",
            AddrError::Port => "the port is not a number from 0 to 65535",
            AddrError::Host => "not a host name, an IPv4 address or an IPv6 address in brackets",
        })
    }
}

impl std::error::Error for AddrError {}

impl FromStr for HostPort {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<HostPort, AddrError> {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match text.rsplit_once(':') {
            Some(parts) => parts,
            None if !text.is_empty() && is_number(text) => ("", text),
            None => return Err(AddrError::Form),
        };
        // `u16::from_str` would also take "+80".
        if !is_number(port) {
            return Err(AddrError::Port);
        }
        Ok(HostPort {
            host: if host.is_empty() {
                Host::Any
            } else {
                host.parse()?
            },
            port: port.parse().map_err(|_| AddrError::Port)?,
        })
    }
}

impl FromStr for Host {
    type Err = AddrError;

    fn from_str(host: &str) -> Result<Host, AddrError> {
        if let Some(v6) = host.strip_prefix('[') {
            let v6 = v6.strip_suffix(']').ok_or(AddrError::Host)?;
            return v6
                .parse::<Ipv6Addr>()
                .map(|ip| Host::Ip(ip.into()))
                .map_err(|_| AddrError::Host);
        }
        if let Ok(v4) = host.parse::<Ipv4Addr>() {
            return Ok(Host::Ip(v4.into()));
        }
        let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        // The last label of a name is never a number (RFC 3696, section 2), so
        // this is a mistyped address. A resolver might still accept it.
        let like_v4 = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if like_v4 || !host.bytes().all(in_names) {
            return Err(AddrError::Host);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(Host::Localhost);
        }
        Ok(Host::Name(host.to_owned()))
    }
}

/// As for [`SocketAddr`]: `HostPort::from((Ipv4Addr::LOCALHOST, 0))`.
impl<I: Into<IpAddr>> From<(I, u16)> for HostPort {
    fn from((ip, port): (I, u16)) -> HostPort {
        HostPort {
            host: Host::Ip(ip.into()),
            port,
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Any => write!(f, ":{port}"),
            Host::Localhost => write!(f, "localhost:{port}"),
            Host::Ip(ip) => SocketAddr::new(*ip, port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

impl HostPort {
    /// The socket addresses to connect to: at least one, each once. A wildcard is the
    /// loopback address of its family, and without a host that of both.
    ///
    /// # Errors
    ///
    /// If a name does not resolve.
    pub fn connect_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addrs = self.resolve()?;
        for addr in &mut addrs {
            match addr.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
        }
        Ok(addrs)
    }

    /// The port; 0 lets the kernel choose.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The loopback addresses of both families.
    #[must_use]
    pub fn localhost(port: u16) -> HostPort {
        HostPort {
            host: Host::Localhost,
            port,
        }
    }

    /// The socket addresses that this one stands for: at least one, each once.
    ///
    /// # Errors
    ///
    /// When a name does not resolve.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let ips = match &self.host {
            Host::Any => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            Host::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => {
                let mut ips = Vec::new();
                for addr in (name.as_str(), self.port).to_socket_addrs()? {
                    if !ips.contains(&addr.ip()) {
                        ips.push(addr.ip());
                    }
                }
                ips
            }
        };
        Ok(ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, self.port))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, AddrError> {
        text.parse::<HostPort>().map(|addr| addr.to_string())
    }

    #[test]
    fn addresses_are_read_and_shown_as_they_were_written() {
        for text in [
            "localhost:3000",
            "127.0.0.1:0",
            "[::1]:65535",
            "echo-1.example.com:7",
            ":3000",
        ] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn malformed_addresses_are_refused_with_what_is_wrong() {
        for (text, error) in [
            ("", AddrError::Form),
            ("localhost", AddrError::Form),
            ("65536", AddrError::Port),
            (":", AddrError::Port),
            ("localhost:", AddrError::Port),
            ("localhost:http", AddrError::Port),
            ("localhost:+80", AddrError::Port),
            ("localhost:-1", AddrError::Port),
            ("localhost:65536", AddrError::Port),
            ("*:3000", AddrError::Host),
            ("::1:3000", AddrError::Host),
            ("[::1:3000", AddrError::Host),
            ("[127.0.0.1]:3000", AddrError::Host),
            ("127.0.0.256:3000", AddrError::Host),
            ("two words:3000", AddrError::Host),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_port_alone_is_all_addresses_of_both_families() {
        for text in [":3000", "3000"] {
            let addrs = text.parse::<HostPort>().unwrap().resolve();
            let expected = ["0.0.0.0:3000", "[::]:3000"].map(|addr| addr.parse().unwrap());
            assert_eq!(addrs.unwrap(), expected);
        }
    }

    #[test]
    fn a_wildcard_is_connected_to_by_loopback_of_its_family() {
        let (v4, v6) = ("127.0.0.1:3000", "[::1]:3000");
        for (text, expected) in [
            (":3000", &[v4, v6][..]),
            ("0.0.0.0:3000", &[v4]),
            ("[::]:3000", &[v6]),
            ("127.0.0.2:3000", &["127.0.0.2:3000"]),
        ] {
            let addrs = text.parse::<HostPort>().unwrap().connect_addrs().unwrap();
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            assert_eq!(addrs, expected, "{text}");
        }
    }

    #[test]
    fn an_ip_address_and_a_port_need_no_text() {
        for (addr, text) in [
            (HostPort::from((Ipv4Addr::LOCALHOST, 0)), "127.0.0.1:0"),
            (HostPort::from((Ipv6Addr::LOCALHOST, 7)), "[::1]:7"),
        ] {
            assert_eq!(text.parse(), Ok(addr));
        }
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let addrs = "LocalHost:3000".parse::<HostPort>().unwrap().resolve();
        let expected = ["127.0.0.1:3000", "[::1]:3000"].map(|addr| addr.parse().unwrap());
        assert_eq!(addrs.unwrap(), expected);
    }
}
