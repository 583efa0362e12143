//! A connection whose calls all end by one deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use echoline::HostPort;

use super::Unhealthy;

/// How long a whole check may take: the name, the connect, and the answer.
const TIMEOUT: Duration = Duration::from_secs(2);

pub struct Connection {
    stream: TcpStream,
    pub addr: SocketAddr,
    deadline: Instant,
}

impl Connection {
    /// Connects to the first address of `addr` that accepts. The check's time begins.
    ///
    /// # Errors
    ///
    /// If the name does not resolve, or no address accepts in time.
    pub fn open(addr: &HostPort) -> Result<Connection, Unhealthy> {
        let deadline = Instant::now() + TIMEOUT;
        let addrs =
            resolve(addr, deadline).map_err(|e| failed(&format!("cannot resolve {addr}"), &e))?;
        let mut last = Unhealthy(format!("{addr} has no address"));
        for addr in addrs {
            match time_left(deadline).and_then(|left| TcpStream::connect_timeout(&addr, left)) {
                Ok(stream) => {
                    return Ok(Connection {
                        stream,
                        addr,
                        deadline,
                    });
                }
                Err(e) => last = failed(&format!("cannot connect to {addr}"), &e),
            }
        }
        Err(last)
    }
}

/// Resolves `addr`. The resolver has timeouts of its own, which are longer (resolv.conf(5)),
/// so it runs in a thread that may be left behind.
fn resolve(addr: &HostPort, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = channel();
    let addr = addr.clone();
    thread::Builder::new().spawn(move || sender.send(addr.connect_addrs()))?;
    receiver
        .recv_timeout(time_left(deadline)?)
        .unwrap_or_else(|e| {
            Err(match e {
                RecvTimeoutError::Timeout => ErrorKind::TimedOut.into(),
                RecvTimeoutError::Disconnected => io::Error::other("the resolver has panicked"),
            })
        })
}

/// The time until `deadline`.
///
/// # Errors
///
/// `TimedOut` if there is none.
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// What has failed, and why.
pub fn failed(what: &str, e: &io::Error) -> Unhealthy {
    let is_late = matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
    Unhealthy(if is_late {
        format!("{what} within {} s", TIMEOUT.as_secs())
    } else {
        format!("{what}: {e}")
    })
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream
            .set_read_timeout(Some(time_left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream
            .set_write_timeout(Some(time_left(self.deadline)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
