//! Signals as an event source.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook_mio::v1_0::Signals as Source;

/// Signals that are reported by events of one token. Their handlers stay until the
/// process ends.
pub(crate) struct Signals {
    source: Source,
    token: Token,
}

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
        Ok(Signals { source, token })
    }

    /// Takes the signals that have come, each once.
    ///
    /// signal-hook reads them past mio. mio's poll(2) selector needs to be told; to epoll
    /// and kqueue it makes no difference.
    pub fn take(&mut self, registry: &Registry) -> Vec<libc::c_int> {
        let taken = self.source.pending().collect();
        let registered = registry.reregister(&mut self.source, self.token, Interest::READABLE);
        if let Err(e) = registered {
            log::warn!("cannot register the signals again: {e}");
        }
        taken
    }
}
