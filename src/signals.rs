//! Signals as an event source.

use std::io;
use std::mem;
use std::ptr;

use mio::{Interest, Registry, Token};
use signal_hook_mio::v1_0::Signals as SignalSource;

/// Signals that are reported by events of one token. Their handlers stay until the
/// process ends.
pub(crate) struct Signals(SignalSource);

impl Signals {
    /// Installs handlers for `signals`, and unblocks these in the calling thread. The
    /// parent may have blocked them for its own use, as programs do that wait in
    /// sigwait(3) or signalfd(2), and a child inherits the mask (signal(7)).
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed, if `registry` does not take the source, or if a
    /// signal cannot be unblocked.
    pub fn register(
        signals: &[libc::c_int],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Signals> {
        let mut source = SignalSource::new(signals)?;
        registry.register(&mut source, token, Interest::READABLE)?;
        unblock(signals)?;
        Ok(Signals(source))
    }

    /// Takes the signals that have come, each once.
    pub fn take(&mut self) -> impl Iterator<Item = libc::c_int> {
        self.0.pending()
    }
}

/// Takes `signals` from the calling thread's mask. Those that are pending come now.
fn unblock(signals: &[libc::c_int]) -> io::Result<()> {
    // SAFETY: a signal set is plain data, of which zeroed memory is a valid value, and
    // sigemptyset initializes it before its use. The calls write nothing else.
    #[allow(unsafe_code)]
    let errno = unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut())
    };
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Whether this process ignores `signal`. nohup starts programs with SIGHUP ignored
/// and expects it to stay so (POSIX, nohup).
pub(crate) fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: `sigaction` has integer and pointer fields only, so zeroed memory is a
    // valid value. Without a new action, the call only writes the current one.
    #[allow(unsafe_code)]
    let (result, current) = unsafe {
        let mut current: libc::sigaction = mem::zeroed();
        let result = libc::sigaction(signal, ptr::null(), &raw mut current);
        (result, current)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(current.sa_sigaction == libc::SIG_IGN)
}
