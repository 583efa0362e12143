//! TCP sockets as the kernel sees them: options, segments and readiness.

/// The selector reports edges, as epoll(7) and kqueue(2) do. mio's poll(2) selector,
/// which a flag chooses for tests, reports nothing before a call on the socket would
/// block, and nothing after both sides have shut down a connection.
pub(crate) const EDGE_TRIGGERED: bool = cfg!(not(mio_unsupported_force_poll_poll));

pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod tcp_info;
