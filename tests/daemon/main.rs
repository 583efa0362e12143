//! The real binary on real sockets.
//!
//! Tests that need more than Rust and Linux are ignored, and the attribute says what
//! they need. `.ci/run` installs that and runs them too.

mod addresses;
mod backpressure;
mod budgets;
mod captures;
mod chaos;
mod closing;
mod command_line;
mod environment;
mod faults;
mod haproxy;
mod health;
mod keepalive;
mod limits;
mod line_limit;
mod lines;
mod load;
mod load_balancer;
mod log;
mod memory;
mod metrics;
mod mptcp;
mod nc;
mod packets;
mod ping;
mod ping_servers;
mod prefix;
mod probes;
mod proxy_protocol;
mod readme;
mod reuse_port;
mod shutdown;
mod signals;
mod support;
mod systemd;
mod timeouts;
mod tour;
mod unknown_counts;
mod vanished_peers;
mod wireshark_filters;
