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
    /// Installs the handlers and has `registry` report `token` on a signal.
    ///
    /// # Errors
    ///
    /// When a handler cannot be installed or the source not registered.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut source = signal_hook_mio::v1_0::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
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
