//! How lines and connections appear in the log.

use std::fmt;
use std::net::SocketAddr;

use log::{Level, debug, info, log_enabled, warn};

use crate::server::connection::decoder::Decoded;

/// Bytes of a line that a record shows at most.
const EXCERPT_LEN: usize = 256;

/// Logs the decoded lines at debug level, and a line that is too long as a warning.
#[inline(never)]
pub(crate) fn log_lines(peer: SocketAddr, decoded: &Decoded<'_>, max_line: usize) {
    if log_enabled!(Level::Debug) {
        for line in decoded.lines.split_inclusive(|&byte| byte == b'\n') {
            debug!("{peer} message: {}", Excerpt(line));
        }
    }
    if let Some(known) = decoded.too_long {
        warn!("{peer} line too long: at least {known} bytes, the limit is {max_line}");
    }
}

/// Logs a new connection.
#[inline(never)]
pub(crate) fn log_connected(peer: SocketAddr, open: usize) {
    info!("{peer} connected ({open} open)");
}

/// A client's line in a record: escaped and cut, so that a client can write neither
/// control characters nor forged records nor megabytes into the log.
struct Excerpt<'a>(&'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0.strip_suffix(b"\n").unwrap_or(self.0);
        let (shown, rest) = line.split_at(line.len().min(EXCERPT_LEN));
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if !rest.is_empty() {
            write!(f, " and {} more bytes", rest.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_escaped_and_cut() {
        let show = |bytes: &[u8]| Excerpt(bytes).to_string();
        assert_eq!(show(b"hello\n"), r#""hello""#);
        assert_eq!(show(b"\x1b[2J\"\r\n"), r#""\x1b[2J\"\r""#);
        let cut = show(&[b'a'; 300]);
        assert_eq!(cut, format!("\"{}\" and 44 more bytes", "a".repeat(256)));
    }
}
