//! A TCP line echo server on a single-threaded [`mio`] loop: whoever sends a
//! line gets the same line back, one line in one packet, and every connection
//! is closed cleanly.
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
//! # The rooms
//!
//! Dependencies point downwards only. Rooms marked *pure* do no I/O.
//!
//! | file | owns |
//! |---|---|
//! | `main.rs` | the daemon: argv to configuration, one result to one exit code |
//! | `cli.rs` | the command line; nothing else knows clap |
//! | `logging.rs` | the daemon's logger |
//! | `lib.rs` | the public names |
//! | `server.rs` | the poll, the slab, the loop, the only insert and the only remove |
//! | `listener.rs` | bound sockets, accepting, and what accept errors mean |
//! | `signals.rs` | signals as an event source |
//! | `alarms.rs` | what is to be done later, and what time it is |
//! | `admission.rs` | who may come in: limits on connections |
//! | `descriptors.rs` | how many connections there can be |
//! | `connection.rs` | one peer: stream, phase, buffers; its turn ends in a verdict |
//! | `outbox.rs` | what waits to be sent, and how it is flushed |
//! | `socket.rs` | how a send becomes segments, when an ACK leaves |
//! | `packets.rs` | `TCP_INFO`: the kernel's count of segments |
//! | `ending.rs` | why connections end |
//! | `totals.rs` | what connections did |
//! | `line.rs` | pure: bytes in, complete lines out, length limit |
//! | `deadlines.rs` | pure: the earliest deadline |
//! | `config.rs` | settings, defaults, limits, addresses |
//!
//! One turn of the loop: poll, connections that are ready, accepts, deadlines,
//! signals.

mod admission;
mod alarms;
mod config;
mod connection;
mod deadlines;
mod descriptors;
mod ending;
mod line;
mod listener;
mod outbox;
mod packets;
mod server;
mod signals;
mod socket;
mod totals;

pub use config::{AddrError, Config, ListenAddr, MAX_LINE_LIMIT, MAX_TIMEOUT};
pub use descriptors::raise_descriptor_limit;
pub use ending::Closes;
pub use packets::Packets;
pub use server::{Handle, Server, TOTALS_TARGET};
pub use totals::Totals;
