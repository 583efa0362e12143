//! `echoline health`: whether the server is well that the same options and variables
//! start.
//!
//! With `--metrics` it asks that server's `/healthz`, which needs no free place among the
//! connections. Otherwise it sends one line to the first listen address.

mod connection;
mod echo;
mod probe;

use std::fmt;

use echoline::HostPort;

use crate::server_options::ServerOptions;
use connection::Connection;
use echo::Echo;

/// What is checked, and how.
pub struct Check<'a> {
    addr: &'a HostPort,
    method: Method,
}

enum Method {
    Probe,
    Echo(Echo),
}

/// Why the server is not well.
#[derive(Debug)]
pub struct Unhealthy(String);

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unhealthy: {}", self.0)
    }
}

impl<'a> Check<'a> {
    /// The check of a server with these options.
    ///
    /// # Errors
    ///
    /// If its port is not known: the text says which option is wrong.
    pub fn of(options: &'a ServerOptions) -> Result<Check<'a>, String> {
        let echo = || Method::Echo(Echo::of(&options.config));
        let (option, addr, method) = match &options.metrics {
            Some(addr) => ("--metrics", addr, Method::Probe),
            None => ("--listen", options.first_addr(), echo()),
        };
        if addr.port() == 0 {
            return Err(format!(
                "{option} {addr} cannot be checked, as the kernel chooses its port (see echoline health --help)"
            ));
        }
        Ok(Check { addr, method })
    }

    /// Checks the server, for 2 s at most. Returns what shows that it is well.
    ///
    /// # Errors
    ///
    /// If it is not well, or no connection can be made.
    pub fn run(&self) -> Result<String, Unhealthy> {
        let connection = Connection::open(self.addr)?;
        match &self.method {
            Method::Probe => probe::run(connection),
            Method::Echo(echo) => echo.run(connection),
        }
    }
}
