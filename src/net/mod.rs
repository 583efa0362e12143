//! TCP sockets as the kernel sees them: options, segments and readiness.

pub(crate) mod bind;
pub(crate) mod listener;
pub(crate) mod options;
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tcp_info;
