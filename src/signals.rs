//! Signals as a mio event source.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::signal_name;

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGINT, SIGTERM or SIGHUP, by name.
    Stop(&'static str),
    /// SIGUSR1.
    Report,
}

/// The process's handlers of the signals above; they stay until it ends.
pub(crate) struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    /// Installs the handlers, but for SIGHUP if it is ignored, and has `registry` report `token` on a signal.
    ///
    /// # Errors
    ///
    /// When a handler cannot be installed or the source not registered.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = signal_hook_mio::v1_0::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
        if !is_ignored(SIGHUP)? {
            source.add_signal(SIGHUP)?;
        }
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals(source))
    }

    /// What has been asked for since the last call.
    pub fn pending(&mut self) -> impl Iterator<Item = Request> + use<'_> {
        self.0.pending().map(|signal| match signal {
            SIGUSR1 => Request::Report,
            stop => Request::Stop(signal_name(stop).unwrap_or("signal")),
        })
    }
}

/// Whether this process ignores `signal`. nohup has SIGHUP ignored in what it
/// runs, and expects that to stay (POSIX, nohup).
fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: `sigaction` is made of integers and a pointer, for which all bits
    // zero is a value. With no new action, the call only writes the current one.
    #[allow(unsafe_code)]
    let (result, current) = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        let result = libc::sigaction(signal, std::ptr::null(), &raw mut current);
        (result, current)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(current.sa_sigaction == libc::SIG_IGN)
}
