//! Settings, defaults and validation.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::address::HostPort;

/// The settings of a server. Begin with the default and assign what differs: settings may be
/// added, so a struct expression, with `..` too, is refused outside this crate (E0639).
///
/// ```
/// let mut config = echoline::Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// config.max_line = 1024;
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Config {
    /// The addresses to listen on; default `localhost:3000`. Not used by
    /// [`Server::from_listeners`](crate::Server::from_listeners).
    pub listen: Vec<HostPort>,
    /// Shares each address with other processes of the same user that do so too
    /// (`SO_REUSEPORT`, socket(7)); default false. Linux spreads the connections over
    /// the processes. Needs ports other than 0, as each process would get one of its own.
    ///
    /// A shutdown first leaves new connections to the other processes for 0.3 s, so that
    /// none is reset. Unless Linux moves handshakes between processes
    /// (`net.ipv4.tcp_migrate_req`), clients that connect in this time may have to repeat
    /// their SYN, which takes them a second.
    pub reuse_port: bool,
    /// The longest line in bytes, newline included: 1 to [`MAX_LINE_LIMIT`],
    /// default 65536.
    pub max_line: usize,
    /// One data segment per echoed line, with one system call per line; default:
    /// the lines that one read completes leave together, in at most as many data segments
    /// as they arrived in, and one for each read that ends inside a line or a segment.
    ///
    /// Exact on Linux for lines within the MSS and the peer's window. While received
    /// data has holes, the kernel takes 12, 20 or 28 bytes of a segment for SACK
    /// blocks, which cannot be prevented; lines of up to MSS - 28 bytes are never cut
    /// for this reason. On other systems, one write per line and best effort.
    pub packet_per_line: bool,
    /// What is put before each echoed line, in the same write and the same segment: up to
    /// [`MAX_PREFIX_LEN`] bytes without a newline; default nothing. Counts as bytes sent,
    /// and not for `max_line`.
    pub prefix: Vec<u8>,
    /// The most open connections, at least 1. `None`, the default: as many as file
    /// descriptors allow, which is `RLIMIT_NOFILE` less those open at the bind, less 16, at
    /// least 1. Connections above the limit wait in the listen backlog.
    pub max_connections: Option<usize>,
    /// The most open connections from one IP address, at least 1; `None`, the default: no
    /// limit. Connections above the limit are closed at once.
    pub max_per_ip: Option<usize>,
    /// Whether each connection begins with a PROXY protocol header, version 1 or 2
    /// (haproxy, doc/proxy-protocol.txt); default false. The client that it names is
    /// the peer in the log and for `max_per_ip`. A connection without a header is closed.
    pub proxy_protocol: bool,
    /// How long the header of `proxy_protocol` may take, from the accept to its last byte:
    /// 1 ms to [`MAX_TIMEOUT`], default 3 s; `None`: as long as `idle_timeout` allows, which
    /// holds in any case.
    pub proxy_timeout: Option<Duration>,
    /// Ends a connection that sends nothing for this long: 1 ms to
    /// [`MAX_TIMEOUT`]; `None`, the default: never.
    pub idle_timeout: Option<Duration>,
    /// Closes a connection if its peer acknowledges or takes nothing for this long
    /// while output is pending: 1 ms to [`MAX_TIMEOUT`], default 60 s; `None`: when the
    /// kernel gives up.
    ///
    /// The kernel keeps it (`TCP_USER_TIMEOUT`, Linux). Where the kernel does not, as with
    /// MPTCP, a timer of the server limits how long the kernel may take no output.
    pub send_timeout: Option<Duration>,
    /// The idle time before the first keepalive probe, which finds a peer that has
    /// vanished while no output is pending: whole seconds from 1 to [`MAX_KEEPALIVE`],
    /// default 60 s. Further probes follow each 10 s. `None`: no probes.
    pub keepalive: Option<Duration>,
    /// How long the loop polls without sleeping after an event, up to
    /// [`MAX_TIMEOUT`]; zero, the default: not at all. Saves the sender the time
    /// of a wake-up, at the cost of a processor.
    pub busy_poll: Duration,
    /// Whether to log connections that never send a byte, such as the probes of a
    /// load balancer; default true. If false, a connection is logged as connected
    /// at its first byte, and an empty one only when it is closed, at debug level.
    pub log_empty: bool,
    /// How long a shutdown may take, up to [`MAX_TIMEOUT`]; default 5 s.
    pub drain_timeout: Duration,
}

/// The shortest idle, send or proxy timeout, and the shortest time between heartbeats. Idle
/// times are in milliseconds, and a `TCP_USER_TIMEOUT` of 0 means the kernel's default
/// (tcp(7)); mio's poll rounds its timeout up to milliseconds.
pub(crate) const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// The longest timeout: 2,000,000 s, some 23 days.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(2_000_000);

/// The longest [`Config::keepalive`]: 32,767 s, the largest `TCP_KEEPIDLE` of Linux (tcp(7)).
pub const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// The largest value of [`Config::max_line`]: 1 GiB.
pub const MAX_LINE_LIMIT: usize = 1 << 30;

/// The longest [`Config::prefix`] in bytes.
pub const MAX_PREFIX_LEN: usize = 1024;

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![HostPort::localhost(3000)],
            reuse_port: false,
            max_line: 65536,
            packet_per_line: false,
            prefix: Vec::new(),
            max_connections: None,
            max_per_ip: None,
            proxy_protocol: false,
            proxy_timeout: Some(Duration::from_secs(3)),
            idle_timeout: None,
            send_timeout: Some(Duration::from_mins(1)),
            keepalive: Some(Duration::from_mins(1)),
            busy_poll: Duration::ZERO,
            log_empty: true,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Checks the ranges of all settings, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    ///
    /// For the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let faults = [
            ("reuse_port", self.fault_of_shared_ports()),
            ("max_line", outside(self.max_line, 1..=MAX_LINE_LIMIT)),
            ("prefix", fault_of_prefix(&self.prefix)),
            ("max_connections", fault_of_limit(self.max_connections)),
            ("max_per_ip", fault_of_limit(self.max_per_ip)),
            ("proxy_timeout", fault_of_timeout(self.proxy_timeout)),
            ("idle_timeout", fault_of_timeout(self.idle_timeout)),
            ("send_timeout", fault_of_timeout(self.send_timeout)),
            ("keepalive", fault_of_keepalive(self.keepalive)),
            ("drain_timeout", fault_of_time(self.drain_timeout)),
            ("busy_poll", fault_of_time(self.busy_poll)),
        ];
        let mut faults = faults.into_iter();
        let found = faults.find_map(|(setting, why)| Some(ConfigError { setting, why: why? }));
        found.map_or(Ok(()), Err)
    }

    fn fault_of_shared_ports(&self) -> Option<String> {
        const WHY: &str =
            "cannot be used with port 0, for which each process gets a port of its own";
        let is_chosen = self.listen.iter().any(|addr| addr.port() == 0);
        (self.reuse_port && is_chosen).then(|| WHY.to_owned())
    }
}

/// A setting of [`Config`] that is out of range. As text: `max_line is not in 1..=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: &'static str,
    why: String,
}

impl ConfigError {
    /// The name of the setting.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// What is wrong with the setting, without its name: `is not in 1..=…`.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.why)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for io::Error {
    fn from(e: ConfigError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, e)
    }
}

fn outside(number: usize, range: RangeInclusive<usize>) -> Option<String> {
    (!range.contains(&number)).then(|| format!("is not in {range:?}"))
}

fn fault_of_prefix(prefix: &[u8]) -> Option<String> {
    if prefix.contains(&b'\n') {
        return Some("has a newline".to_owned());
    }
    let len = prefix.len();
    (len > MAX_PREFIX_LEN).then(|| format!("has {len} bytes, over {MAX_PREFIX_LEN}"))
}

fn fault_of_limit(limit: Option<usize>) -> Option<String> {
    outside(limit?, 1..=usize::MAX).map(|_| "is 0".to_owned())
}

fn fault_of_timeout(timeout: Option<Duration>) -> Option<String> {
    let is_short = timeout? < MIN_TIMEOUT;
    let too_short = is_short.then(|| "is under 1 ms; None turns it off".to_owned());
    too_short.or_else(|| fault_of_time(timeout?))
}

fn fault_of_time(time: Duration) -> Option<String> {
    let longest = MAX_TIMEOUT.as_secs();
    (time > MAX_TIMEOUT).then(|| format!("is over {longest} s"))
}

fn fault_of_keepalive(idle: Option<Duration>) -> Option<String> {
    let (idle, longest) = (idle?, MAX_KEEPALIVE.as_secs());
    let is_whole = idle.subsec_nanos() == 0 && (1..=longest).contains(&idle.as_secs());
    (!is_whole).then(|| format!("is not a whole number of seconds from 1 to {longest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_valid() {
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        for max_line in [0, MAX_LINE_LIMIT + 1] {
            let why = refusal(|config| config.max_line = max_line);
            assert_eq!(why, "max_line is not in 1..=1073741824");
        }
        let too_long = MAX_TIMEOUT + Duration::from_millis(1);
        let why = refusal(|config| config.idle_timeout = Some(too_long));
        assert_eq!(why, "idle_timeout is over 2000000 s");
        let why = refusal(|config| config.drain_timeout = too_long);
        assert_eq!(why, "drain_timeout is over 2000000 s");
        let why = refusal(|config| config.proxy_timeout = Some(too_long));
        assert_eq!(why, "proxy_timeout is over 2000000 s");
        let why = refusal(|config| config.prefix = vec![b'x'; MAX_PREFIX_LEN + 1]);
        assert_eq!(why, "prefix has 1025 bytes, over 1024");
        let why = refusal(|config| config.prefix = b"two\nlines".to_vec());
        assert_eq!(why, "prefix has a newline");
    }

    #[test]
    fn a_keepalive_that_the_kernel_would_round_or_refuse_is_refused() {
        for millis in [0, 999, 1500, 32_767_001, 32_768_000] {
            let keepalive = Some(Duration::from_millis(millis));
            let why = refusal(|config| config.keepalive = keepalive);
            let expected = "is not a whole number of seconds from 1 to 32767";
            assert_eq!(why, format!("keepalive {expected}"));
        }
        for keepalive in [None, Some(Duration::from_secs(1)), Some(MAX_KEEPALIVE)] {
            let config = Config {
                keepalive,
                ..Config::default()
            };
            assert!(config.validate().is_ok());
        }
    }

    #[test]
    fn a_port_that_the_kernel_chooses_cannot_be_shared() {
        let why = refusal(|config| {
            config.reuse_port = true;
            config.listen.push("localhost:0".parse().unwrap());
        });
        let expected = "cannot be used with port 0, for which each process gets a port of its own";
        assert_eq!(why, format!("reuse_port {expected}"));
    }

    #[test]
    fn a_limit_of_no_connections_is_refused() {
        let why = refusal(|config| config.max_connections = Some(0));
        assert_eq!(why, "max_connections is 0");
        let why = refusal(|config| config.max_per_ip = Some(0));
        assert_eq!(why, "max_per_ip is 0");
    }

    #[test]
    fn timeouts_that_round_to_zero_are_refused() {
        for too_short in [Duration::ZERO, Duration::from_micros(999)] {
            let why = refusal(|config| config.idle_timeout = Some(too_short));
            assert_eq!(why, "idle_timeout is under 1 ms; None turns it off");
            let why = refusal(|config| config.send_timeout = Some(too_short));
            assert_eq!(why, "send_timeout is under 1 ms; None turns it off");
            let why = refusal(|config| config.proxy_timeout = Some(too_short));
            assert_eq!(why, "proxy_timeout is under 1 ms; None turns it off");
        }
    }
}
