//! The daemon as a service of systemd: the sockets that it inherits, and what it tells
//! the service manager.
//!
//! `sd_notify::notify` is not used, as it opens a socket per message and blocks while
//! `net.unix.max_dgram_qlen` messages wait to be read (unix(7)).

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use echoline::{MAX_TIMEOUT, Observer, Totals, record};
use sd_notify::NotifyState;

use crate::records;

/// The sockets of socket activation (`LISTEN_FDS`, `sd_listen_fds(3)`), if there are
/// any. Their kind is not checked, and their names are ignored. To be called once,
/// before the process opens anything.
///
/// # Errors
///
/// If the variables are malformed, or name descriptors that are not open.
pub fn inherited_listeners() -> io::Result<Vec<TcpListener>> {
    let fds = sd_notify::listen_fds().map_err(|e| {
        let text = format!("cannot use the sockets that LISTEN_FDS names: {e}");
        io::Error::new(e.kind(), text)
    })?;
    let listeners = fds.map(|fd| {
        // SAFETY: the descriptor is open, as listen_fds has set its close-on-exec flag.
        // It is this process's, as LISTEN_PID says, and has no other owner, as nothing
        // has been opened yet.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        TcpListener::from(fd)
    });
    Ok(listeners.collect())
}

/// Whether a service manager has started the daemon and waits for what it tells.
pub fn runs_as_service() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells the service manager what the server does (`sd_notify(3)`).
pub struct ServiceManager {
    socket: UnixDatagram,
    addr: SocketAddr,
    watchdog: Option<Duration>,
    /// A change of state that has not been sent. It leaves with the next message.
    unsent: Option<NotifyState<'static>>,
    /// The last message failed, which has been logged.
    failed: bool,
}

impl ServiceManager {
    /// The service manager, if `NOTIFY_SOCKET` says that there is one.
    ///
    /// # Errors
    ///
    /// If there is no socket for messages, or no address to send them to.
    pub fn from_environment() -> io::Result<Option<ServiceManager>> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Some(ServiceManager {
            socket,
            addr: socket_addr(name.as_bytes())?,
            watchdog: sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()),
            unsent: None,
            failed: false,
        }))
    }

    fn change_state(&mut self, state: NotifyState<'static>, totals: &Totals) {
        self.unsent = Some(state);
        self.progress(totals);
    }

    /// Sends one datagram, or none if that would block.
    fn send(&mut self, news: &NotifyState<'_>) {
        let mut message = String::new();
        for state in self.unsent.iter().chain([news]) {
            writeln!(message, "{state}").expect("a string takes all");
        }
        match self.socket.send_to_addr(message.as_bytes(), &self.addr) {
            Ok(_) => (self.unsent, self.failed) = (None, false),
            Err(e) if !self.failed => {
                self.failed = true;
                record!(records::CannotNotify { error: &e });
            }
            Err(_) => {}
        }
    }
}

impl Observer for ServiceManager {
    fn listening(&mut self, totals: &Totals) {
        self.change_state(NotifyState::Ready, totals);
    }

    fn progress(&mut self, totals: &Totals) {
        let (open, lines) = (totals.open, totals.lines);
        let status = format!("open connections: {open}, lines echoed: {lines}");
        self.send(&NotifyState::Status(&status));
    }

    fn draining(&mut self, totals: &Totals) {
        self.change_state(NotifyState::Stopping, totals);
    }

    /// Half of the watchdog's time (`sd_watchdog_enabled(3)`), as far as the loop takes it.
    fn heartbeat_interval(&self) -> Option<Duration> {
        let half = self.watchdog? / 2;
        Some(half.clamp(Duration::from_millis(1), MAX_TIMEOUT))
    }

    fn heartbeat(&mut self) {
        self.send(&NotifyState::Watchdog);
    }
}

/// The address that `NOTIFY_SOCKET` names: a path, or after `@` a name in the abstract
/// namespace (unix(7)).
fn socket_addr(name: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(OsStr::from_bytes(name))
}
