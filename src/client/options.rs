//! What a client sends and expects.

use std::io;
use std::time::Duration;

use crate::client::proxy_header::ProxyHeader;
use crate::config::MAX_TIMEOUT;

/// What stands before the line in an echo.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prefix {
    /// These bytes.
    Fixed(Vec<u8>),
    /// Any bytes, up to [`MAX_PREFIX_LEN`](crate::MAX_PREFIX_LEN), by which the echoes are
    /// counted.
    Any,
}

/// What a client sends and expects. Begin with the default and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Bytes per line, newline included; at least 1, default 64.
    pub line_len: usize,
    /// What the server puts before each line; default nothing.
    pub prefix: Prefix,
    /// Lines per connection; `None`, the default: no limit.
    pub count: Option<u64>,
    /// Time between two bursts, also between the last of a connection and the first of the
    /// next, which is prolonged until the echoes of the first have come; up to [`MAX_TIMEOUT`], default 1 s.
    pub interval: Duration,
    /// Lines per burst; at least 1, the default. A burst is sent with one write, if it has
    /// up to 1 MiB and 16,384 lines.
    pub burst: u64,
    /// Whether a burst is sent when it is due, although echoes of the one before are missing.
    /// Then round trips count from when it was due. `interval` must not be 0.
    pub open_loop: bool,
    /// Lines that the server sends first, as a greeting; they are not judged. Default none.
    pub skip_lines: u64,
    /// What each connection begins with. Default nothing.
    pub proxy_header: Option<ProxyHeader>,
    /// How long an echo, a connect and the server's FIN may take; up to
    /// [`MAX_TIMEOUT`], default 2 s. While received lines wait to be judged, an echo may take
    /// up to twice as long.
    pub timeout: Duration,
    /// When to stop, counted from the start of the run: up to [`MAX_TIMEOUT`];
    /// `None`, the default: never.
    pub deadline: Option<Duration>,
    /// Whether to half-close after the last line, in the same segment.
    pub half_close: bool,
    /// Connections; at least 1, the default.
    pub connections: u64,
    /// Whether connections are open side by side, rather than one after the other, an
    /// interval apart.
    pub side_by_side: bool,
    /// Whether to report the data segments of each burst's echoes.
    pub count_segments: bool,
    /// Data segments that an echo should take; counted if it takes more or fewer.
    pub expected_segments: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            line_len: 64,
            prefix: Prefix::Fixed(Vec::new()),
            count: None,
            interval: Duration::from_secs(1),
            burst: 1,
            open_loop: false,
            skip_lines: 0,
            proxy_header: None,
            timeout: Duration::from_secs(2),
            deadline: None,
            half_close: false,
            connections: 1,
            side_by_side: false,
            count_segments: true,
            expected_segments: None,
        }
    }
}

impl Options {
    /// # Errors
    ///
    /// `InvalidInput` for the first option that is out of range.
    pub(crate) fn validate(&self) -> io::Result<()> {
        let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if self.line_len == 0 {
            return invalid("line_len is 0");
        }
        if self.burst == 0 || self.connections == 0 || self.count == Some(0) {
            return invalid("burst, connections or count is 0");
        }
        if self.open_loop && self.interval.is_zero() {
            return invalid("open_loop without an interval");
        }
        if self.timeout.is_zero() {
            return invalid("timeout is 0");
        }
        let deadline = self.deadline.unwrap_or_default();
        if [self.interval, self.timeout, deadline]
            .iter()
            .any(|time| *time > MAX_TIMEOUT)
        {
            return invalid("interval, timeout or deadline is over 2000000 s");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_clock_would_reach_are_refused() {
        let changes: [fn(&mut Options); 3] = [
            |options| options.interval = Duration::MAX,
            |options| options.timeout = Duration::MAX,
            |options| options.deadline = Some(Duration::MAX),
        ];
        for change in changes {
            let mut options = Options::default();
            change(&mut options);
            let error = options.validate().unwrap_err();
            let message = "interval, timeout or deadline is over 2000000 s";
            assert_eq!(error.to_string(), message);
        }
    }
}
