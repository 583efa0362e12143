//! A TCP line echo server on a single-threaded [`mio`] loop: a line and its newline leave
//! together, and every connection is closed cleanly.
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpStream;
//! use std::thread;
//!
//! let mut config = echoline::Config::default();
//! config.listen = vec!["127.0.0.1:0".parse()?];
//! let server = echoline::Server::bind(&config)?;
//! let (addr, handle) = (server.local_addrs()[0], server.handle());
//! let running = thread::spawn(move || server.run());
//!
//! let mut client = TcpStream::connect(addr)?;
//! client.write_all(b"hello\n")?;
//! let mut echo = String::new();
//! BufReader::new(&client).read_line(&mut echo)?;
//! assert_eq!(echo, "hello\n");
//! drop(client);
//!
//! handle.shutdown()?;
//! let totals = running.join().expect("the server does not panic")?;
//! assert_eq!((totals.accepted, totals.lines), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a client can rely on is in [docs/behaviour.md][behaviour], what happens
//! under faults in [docs/reliability.md][reliability].
//!
//! # Embedding
//!
//! - [`testing::Echo`] is a server for the tests of a network client, in one line.
//! - [`Server::run`] blocks its thread until the server stops. It waits in one
//!   `poll` call for connections, its [`Handle`]s and, if
//!   [`Server::handle_signals`] was called, signals. It starts no threads.
//! - [`Handle::totals`] asks the loop what it has done, and [`Handle::request_totals`] does
//!   so without waiting. The daemon's metrics are built on the latter.
//! - Records go to the [`log`] crate. Without a logger there are none.
//! - [`Server::from_listeners`] serves sockets that listen already, and an
//!   [`Observer`] is told what the server does. The daemon's support for systemd is
//!   built on these two.
//! - The limit on file descriptors belongs to the process: [`raise_fd_limit`]
//!   raises it, [`Server::bind`] does not.
//!
//! # Features
//!
//! - `cli` (default) is for the `echoline` binary: command line and logger. It includes
//!   `capture` and `client`. Library users turn it off with `default-features = false`, and
//!   compile 15 other packages instead of 39. It is a default for `cargo install echoline`,
//!   which otherwise would install nothing and succeed.
//! - `capture` adds `echoline::capture`, which counts the packets of a line echo in a
//!   capture. `echoline packets` prints its results ([docs/counting.md][counting]).
//! - `client` adds `echoline::client`, which sends lines to any line echo server,
//!   compares the echoes, and counts their segments. `echoline ping` prints its results
//!   ([docs/ping.md][ping]).
//!
//! # Platforms
//!
//! Linux is tested. [`SegmentCounts`] need Linux 4.6. Other Unix systems with epoll or
//! kqueue are supported without what only Linux has: `MSG_EOR`, `MSG_MORE`,
//! `TCP_QUICKACK`, `TCP_USER_TIMEOUT` and the counts. One packet per line is best
//! effort there, and so it is with MPTCP.
//!
//! [behaviour]: https://docs.rs/crate/echoline/latest/source/docs/behaviour.md
//! [counting]: https://docs.rs/crate/echoline/latest/source/docs/counting.md
//! [ping]: https://docs.rs/crate/echoline/latest/source/docs/ping.md
//! [reliability]: https://docs.rs/crate/echoline/latest/source/docs/reliability.md

#[cfg(mio_unsupported_force_poll_poll)]
compile_error!(
    "echoline relies on edges, as epoll and kqueue report them; mio's poll(2) selector \
     (--cfg mio_unsupported_force_poll_poll) reports none"
);

// The tests' helpers, which the fuzz targets share, name the crate from outside.
#[cfg(fuzzing)]
extern crate self as echoline;

mod address;
#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "client")]
pub mod client;
mod clock;
mod config;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod net;
#[cfg(test)]
mod property;
mod record;
mod records;
mod server;
mod signals;
mod stats;
pub mod testing;

pub use address::{AddrError, HostPort};
pub use config::{Config, MAX_KEEPALIVE, MAX_LINE_LIMIT, MAX_PREFIX_LEN, MAX_TIMEOUT};
pub use error::RunError;
#[doc(hidden)]
pub use net::bind::listen_on;
#[doc(hidden)]
pub use records::ROWS as RECORDS;
pub use server::{Handle, Observer, Server, TOTALS_TARGET, raise_fd_limit};
#[doc(hidden)]
pub use stats::Plural;
pub use stats::{CloseCounts, CloseReason, SegmentCounts, Totals};
