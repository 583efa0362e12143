//! All records that the library logs: a row each, with level, fields and text. The table of
//! records in docs/usage.md is tested against them.

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;

use mio::event::Event;

use crate::stats::{ConnectionStats, Plural, Totals};

/// Bytes of a line that a record shows at most.
const EXCERPT_LEN: usize = 256;

crate::records! {
    // The server.
    Info Listening { addr: SocketAddr } = "listening on {addr}";
    Warn SharedPackets { addr: SocketAddr } =
        "{addr}: lines may share packets, as MPTCP ignores MSG_EOR";
    Warn QuietPeersStay {} =
        "without keepalive and an idle timeout, a quiet peer that vanishes stays for ever";
    Warn EndlessHeader {} =
        "a PROXY header may take for ever: neither proxy-timeout nor idle-timeout is set";
    Warn IdleProxyTimeout {} = "proxy-timeout has no effect without proxy-protocol";
    Warn ConnectionsLowered { wanted: usize, allowed: usize, limit: usize } =
        "max-connections lowered from {wanted} to {allowed}: RLIMIT_NOFILE is {limit}";
    Info SighupIgnored {} = "SIGHUP: ignored";
    Info Stopping { cause: &'static str, open: usize } = "{cause}: stopping ({open} open)";
    Warn NoLeave<'a> { error: &'a io::Error } = "new connections may be reset: {error}";
    Warn Aborted { connections: Plural } = "{connections} aborted";
    Info TotalsSoFar { totals: Totals } = "totals: {totals}";

    // Listeners, and connections that are not open.
    Debug FamilyLacking<'a> { addr: SocketAddr, error: &'a io::Error } =
        "cannot listen on {addr}: {error}";
    Warn ListenerOption<'a> { addr: SocketAddr, option: &'a str, error: &'a io::Error } =
        "{addr}: cannot set {option}: {error}";
    Debug ListenerDeregister<'a> { addr: SocketAddr, error: &'a io::Error } =
        "cannot deregister {addr}: {error}";
    Warn AcceptPaused<'a> { cause: &'a dyn Display } = "accept paused: {cause}";
    Info AcceptResumed {} = "accept resumed";
    Debug AbortedBeforeAccept<'a> { error: &'a io::Error } =
        "connection aborted before accept: {error}";
    Warn CannotRegister<'a> { peer: SocketAddr, error: &'a io::Error } =
        "{peer} refused: cannot register: {error}";
    Warn AddressLimit { peer: SocketAddr, limit: usize, others: u64 } =
        "{peer} refused: address limit {limit} reached ({others} others refused)";

    // Connections.
    Info Connected { peer: SocketAddr, open: usize } = "{peer} connected ({open} open)";
    Debug Message<'a> { peer: SocketAddr, line: Excerpt<'a> } = "{peer} message: {line}";
    Warn LineTooLong { peer: SocketAddr, known: usize, max_line: usize } =
        "{peer} line too long: at least {known} bytes, the limit is {max_line}";
    Warn NoHeader<'a> { peer: SocketAddr, error: &'a dyn Display, others: u64 } =
        "{peer} without a PROXY header: {error} ({others} others)";
    Info Closed<'a> { peer: SocketAddr, cause: &'a dyn Display, stats: &'a ConnectionStats } =
        "{peer} closed by {cause}: {stats}";
    Debug ClosedEmpty<'a> { peer: SocketAddr, cause: &'a dyn Display, stats: &'a ConnectionStats } =
        "{peer} closed by {cause}: {stats}";
    Warn CannotDeregister<'a> { peer: SocketAddr, error: &'a io::Error } =
        "{peer} cannot deregister: {error}";
    Debug StreamOption<'a> { peer: SocketAddr, option: &'a str, error: &'a io::Error } =
        "{peer}: cannot set {option}: {error}";
    Debug QuickAck<'a> { error: &'a io::Error } = "cannot set TCP_QUICKACK: {error}";
    Debug Cork<'a> { error: &'a io::Error } = "cannot clear TCP_CORK: {error}";
    Trace ConnectionEvent<'a> { peer: SocketAddr, event: &'a Event } = "{peer} event: {event:?}";
}

/// A client's line in a record: escaped and cut, so that a client can write neither
/// control characters nor forged records nor megabytes into the log.
#[derive(Debug)]
pub(crate) struct Excerpt<'a>(pub &'a [u8]);

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
