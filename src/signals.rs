//! Signals as an event source.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook_mio::v1_0::Signals as Source;

/// Signals that are reported by events of one token. Their handlers stay until the
/// process ends.
pub(crate) struct Signals(Source);

impl Signals {
    /// Installs handlers for `signals`.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed, or `registry` does not take the source.
    pub fn register(
        signals: &[libc::c_int],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Signals> {
        let mut source = Source::new(signals)?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals(source))
    }

    /// Takes the signals that have come, each once.
    pub fn take(&mut self) -> impl Iterator<Item = libc::c_int> {
        self.0.pending()
    }
}
