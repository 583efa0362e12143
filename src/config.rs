//! What the server is told, its defaults and its limits.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// The settings of a server. Begin with the default and change what differs.
///
/// ```
/// let mut config = echoline::Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// config.max_line = 1024;
/// # Ok::<(), echoline::AddrError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The addresses to listen on; default `localhost:3000`.
    pub listen: Vec<ListenAddr>,
    /// The longest line in bytes, newline included: 1 to [`MAX_LINE_LIMIT`],
    /// default 65536.
    pub max_line: usize,
    /// Exactly one data segment per echoed line on Linux (if it is not longer
    /// than the MSS or than the peer's window can take), with one system call
    /// per line; elsewhere one write per line, which is the best effort.
    /// Default: as few segments as will do.
    ///
    /// While received data has holes, the kernel takes 12, 20 or 28 bytes from
    /// a segment for SACK blocks in its header, which cannot be forbidden: a
    /// line of up to MSS − 28 bytes is never cut for this reason.
    pub packet_per_line: bool,
    /// The most connections at a time; 0, the default: as many as the limit on
    /// file descriptors allows, less what is open when the server is bound, and
    /// 16. Connections above the limit wait in the listen backlog.
    pub max_connections: usize,
    /// The most connections at a time from one address; 0, the default: no
    /// limit. Who is over it is closed at once.
    pub max_per_ip: usize,
    /// Ends a connection that sends nothing for so long, 1 ms up to
    /// [`MAX_TIMEOUT`]; `None`, the default: never.
    pub idle_timeout: Option<Duration>,
    /// Drops a peer that acknowledges or takes nothing for so long while it is
    /// owed something (`TCP_USER_TIMEOUT`, on Linux), up to [`MAX_TIMEOUT`];
    /// default 60 s; `None`: when the system gives up.
    pub send_timeout: Option<Duration>,
    /// For how long after an event the loop polls without sleeping, up to
    /// [`MAX_TIMEOUT`]; zero, the default: not at all. It spares the sender the
    /// time to wake the server, and costs a processor meanwhile.
    pub busy_poll: Duration,
    /// Whether connections are logged that never send a byte, as the probes of
    /// load balancers do; default true. If not, a connection is logged as
    /// connected at its first byte, and one that ends without is logged at debug
    /// level only.
    pub log_empty: bool,
    /// How long stopping may take, up to [`MAX_TIMEOUT`]; default 5 s.
    pub drain_timeout: Duration,
}

/// The least idle or send timeout: both are counted in milliseconds, and of
/// these 0 would mean something else (`TCP_USER_TIMEOUT`, tcp(7)).
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// The largest timeout: 2,000,000 s, some 23 days.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(2_000_000);

/// The largest value of [`Config::max_line`]: 1 GiB.
pub const MAX_LINE_LIMIT: usize = 1 << 30;

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![ListenAddr {
                host: Host::Localhost,
                port: 3000,
            }],
            max_line: 65536,
            packet_per_line: false,
            max_connections: 0,
            max_per_ip: 0,
            idle_timeout: None,
            send_timeout: Some(Duration::from_secs(60)),
            busy_poll: Duration::ZERO,
            log_empty: true,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Checks what the types do not.
    pub(crate) fn validate(&self) -> io::Result<()> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if self.listen.is_empty() {
            return invalid("no address to listen on".into());
        }
        if !(1..=MAX_LINE_LIMIT).contains(&self.max_line) {
            return invalid(format!("max_line is not in 1..={MAX_LINE_LIMIT}"));
        }
        let timeouts = [self.drain_timeout, self.busy_poll];
        let optional = [self.idle_timeout, self.send_timeout];
        let mut all = timeouts.into_iter().chain(optional.into_iter().flatten());
        if all.any(|timeout| timeout > MAX_TIMEOUT) {
            return invalid(format!("a timeout is over {} s", MAX_TIMEOUT.as_secs()));
        }
        for (name, timeout) in [("idle_timeout", optional[0]), ("send_timeout", optional[1])] {
            if timeout.is_some_and(|timeout| timeout < MIN_TIMEOUT) {
                return invalid(format!("{name} is under 1 ms; None turns it off"));
            }
        }
        Ok(())
    }
}

/// An address to listen on, written `HOST:PORT`.
///
/// The host is an IPv4 address, an IPv6 address in brackets, `localhost`
/// (127.0.0.1 and `::1`) or a name to resolve. Without a host, `:PORT` or `PORT`,
/// it is all addresses of both families. Port 0 lets the kernel choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr {
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

/// Why a text is not a [`ListenAddr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<ListenAddr, AddrError> {
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
        Ok(ListenAddr {
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
        // The last label of a name is never a number (RFC 3696, 2): this is a
        // mistyped address, which a resolver might still make something of.
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

impl fmt::Display for ListenAddr {
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

impl ListenAddr {
    /// The addresses that this one stands for, each once and at least one.
    ///
    /// # Errors
    ///
    /// When a name does not resolve.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
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
        text.parse::<ListenAddr>().map(|addr| addr.to_string())
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
            let addrs = text.parse::<ListenAddr>().unwrap().resolve();
            let expected = ["0.0.0.0:3000", "[::]:3000"].map(|addr| addr.parse().unwrap());
            assert_eq!(addrs.unwrap(), expected);
        }
    }

    #[test]
    fn localhost_is_both_loopback_addresses() {
        let addrs = "LocalHost:3000".parse::<ListenAddr>().unwrap().resolve();
        let expected = ["127.0.0.1:3000", "[::1]:3000"].map(|addr| addr.parse().unwrap());
        assert_eq!(addrs.unwrap(), expected);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let mut config = Config::default();
        assert!(config.validate().is_ok());
        for max_line in [0, MAX_LINE_LIMIT + 1] {
            config.max_line = max_line;
            assert!(config.validate().is_err());
        }
        config = Config::default();
        config.idle_timeout = Some(MAX_TIMEOUT + Duration::from_millis(1));
        assert!(config.validate().is_err());
        for too_short in [Duration::ZERO, Duration::from_micros(999)] {
            config = Config::default();
            config.idle_timeout = Some(too_short);
            let error = config.validate().unwrap_err().to_string();
            assert_eq!(error, "idle_timeout is under 1 ms; None turns it off");
            config = Config::default();
            config.send_timeout = Some(too_short);
            let error = config.validate().unwrap_err().to_string();
            assert_eq!(error, "send_timeout is under 1 ms; None turns it off");
        }
        config = Config::default();
        config.listen.clear();
        assert!(config.validate().is_err());
    }
}
