//! How lines and connections appear in the log.

use std::net::SocketAddr;

use log::{Level, log_enabled};

use crate::record;
use crate::records::{self, Excerpt};
use crate::server::connection::decoder::Decoded;

/// Logs the decoded lines at debug level, and a line that is too long as a warning.
#[inline(never)]
pub(crate) fn log_lines(peer: SocketAddr, decoded: &Decoded<'_>, max_line: usize) {
    if log_enabled!(Level::Debug) {
        for line in decoded.lines.split_inclusive(|&byte| byte == b'\n') {
            let line = Excerpt(line);
            record!(records::Message { peer, line });
        }
    }
    if let Some(known) = decoded.too_long {
        record!(records::LineTooLong {
            peer,
            known,
            max_line
        });
    }
}

/// Logs a new connection.
#[inline(never)]
pub(crate) fn log_connected(peer: SocketAddr, open: usize) {
    record!(records::Connected { peer, open });
}
