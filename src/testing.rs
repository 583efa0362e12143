//! An echo server for the tests of a network client.
//!
//! [`Echo`] runs on a free port, in a thread of its own, and stops when it is dropped:
//!
//! ```
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpStream;
//!
//! use echoline::testing::Echo;
//!
//! let echo = Echo::start();
//! let mut client = TcpStream::connect(echo.addr())?;
//! client.write_all(b"hello\n")?;
//! let mut line = String::new();
//! BufReader::new(&client).read_line(&mut line)?;
//! assert_eq!(line, "hello\n");
//!
//! // Or see what the server has done. The client may stay open.
//! let totals = echo.stop();
//! assert_eq!((totals.accepted, totals.lines), (1, 1));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It needs none of the features:
//!
//! ```toml
//! [dev-dependencies]
//! echoline = { version = "0.1", default-features = false }
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::address::HostPort;
use crate::config::Config;
use crate::error::RunError;
use crate::server::{Handle, Peers, Server};
use crate::stats::Totals;

/// How long a stop waits for clients that do not take their echoes, or go on sending.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How much longer than its drain timeout a server may take to stop. A loop that does not
/// end is held up by something that it calls, such as a logger.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// A running server, which stops when it is dropped.
///
/// All methods panic when something is wrong, as a test does. Servers that run at once have
/// ports of their own. One in a `static` serves all tests of a program.
///
/// # The stop
///
/// [`stop`](Echo::stop) and drop accept the clients that have connected, echo the lines that
/// have arrived, and send each client a FIN. Unlike [`Server::run`] they do not wait for the
/// clients to close. If a client does not take its echoes or goes on sending, the stop takes
/// [`drain_timeout`](Config::drain_timeout), which is 1 s here.
///
/// A server that has failed makes both panic. While the thread is panicking already, drop
/// writes to stderr instead.
#[must_use = "the server stops when this is dropped"]
pub struct Echo {
    addr: SocketAddr,
    handle: Handle,
    /// `None` once it has been stopped.
    running: Option<Running>,
}

impl Echo {
    /// Starts a server with the default settings on a free port of 127.0.0.1. Clients can
    /// connect at once.
    ///
    /// # Panics
    ///
    /// If no server can be started, as without file descriptors.
    #[track_caller]
    pub fn start() -> Echo {
        Echo::start_with(|_| {})
    }

    /// Starts a server with other settings.
    ///
    /// ```
    /// use echoline::testing::Echo;
    ///
    /// let echo = Echo::start_with(|config| config.max_line = 80);
    /// ```
    ///
    /// # Panics
    ///
    /// If a setting is out of range, or an address cannot be bound.
    #[track_caller]
    pub fn start_with(change: impl FnOnce(&mut Config)) -> Echo {
        let mut config = Config {
            listen: vec![HostPort::from((Ipv4Addr::LOCALHOST, 0))],
            drain_timeout: DRAIN_TIMEOUT,
            ..Config::default()
        };
        change(&mut config);
        // No closures: a panic in one has a place of its own, instead of the test's.
        match Echo::start_server(&config) {
            Ok(echo) => echo,
            Err(why) => panic!("cannot start an echo server: {why}"),
        }
    }

    /// The address to connect to; the first one, if the settings have several.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A handle of the server, as for its totals while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the server, and says what it has done: every line that had arrived is in it.
    ///
    /// # Panics
    ///
    /// If the server has failed.
    #[track_caller]
    pub fn stop(mut self) -> Totals {
        match self.end() {
            Ok(totals) => totals,
            Err(why) => panic!("the echo server has failed: {why}"),
        }
    }

    fn start_server(config: &Config) -> Result<Echo, String> {
        let server = Server::bind(config).map_err(|e| e.to_string())?;
        let (addr, handle) = (server.local_addrs()[0], server.handle());
        let running = Running::start(server, config.drain_timeout + STUCK_AFTER)?;
        Ok(Echo {
            addr,
            handle,
            running: Some(running),
        })
    }

    fn end(&mut self) -> Result<Totals, String> {
        let running = self.running.take().expect("a server is stopped once");
        // A second shutdown would be an abort.
        if !self.handle.is_stopping()
            && let Err(e) = self.handle.shutdown()
        {
            return Err(format!("cannot wake its loop: {e}"));
        }
        running.join()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if self.running.is_none() {
            return; // By `stop`.
        }
        match self.end() {
            Ok(_) => {}
            Err(why) if thread::panicking() => eprintln!("the echo server has failed: {why}"),
            Err(why) => panic!("the echo server has failed: {why}"),
        }
    }
}

impl fmt::Debug for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Echo")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// The thread of a server.
struct Running {
    thread: JoinHandle<Result<Totals, RunError>>,
    /// Is disconnected when the thread ends. In a `Mutex`, as tests may share an [`Echo`].
    alive: Mutex<Receiver<()>>,
    /// The thread is stuck if it takes longer to stop.
    limit: Duration,
}

impl Running {
    /// Returns when the server serves, so that its handles get answers.
    fn start(mut server: Server, limit: Duration) -> Result<Running, String> {
        let (sender, alive) = mpsc::channel();
        let run = move || {
            server.begin()?;
            let _ = sender.send(()); // The receiver waits.
            server.serve(Peers::Dismissed)
        };
        let thread = thread::Builder::new().name("echoline".to_owned());
        let thread = thread.spawn(run).map_err(|e| format!("no thread: {e}"))?;
        let began = alive.recv().is_ok();
        let running = Running {
            thread,
            alive: Mutex::new(alive),
            limit,
        };
        if began {
            return Ok(running);
        }
        Err(running.join().expect_err("it has failed before it served"))
    }

    /// Waits for the end of the server.
    fn join(mut self) -> Result<Totals, String> {
        let alive = self.alive.get_mut().expect("it is never locked");
        if alive.recv_timeout(self.limit) == Err(RecvTimeoutError::Timeout) {
            return Err("something blocks its loop".to_owned());
        }
        match self.thread.join() {
            Ok(Ok(totals)) => Ok(totals),
            Ok(Err(RunError::Aborted { totals, .. })) => Ok(*totals),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("its thread has panicked".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::LazyLock;

    use super::*;

    /// So long that a test which waits for it fails.
    const FOR_EVER: Duration = Duration::from_secs(1000);

    fn connect(echo: &Echo) -> TcpStream {
        let client = TcpStream::connect(echo.addr()).unwrap();
        let deadline = Some(Duration::from_mins(1));
        client.set_read_timeout(deadline).unwrap();
        client.set_write_timeout(deadline).unwrap();
        client
    }

    fn echo_line(mut client: &TcpStream, line: &[u8]) {
        client.write_all(line).unwrap();
        let mut echoed = vec![0; line.len()];
        client.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, line);
    }

    /// All that comes until the FIN; an RST is an error.
    fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Lets the loop panic.
    fn break_loop(echo: &Echo) {
        let handle = echo.handle();
        handle.request_totals(|_| panic!("on purpose")).unwrap();
        while handle.totals().is_ok() {}
    }

    fn panic_text(f: impl FnOnce()) -> String {
        let payload = panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        let text = payload.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned())
    }

    #[test]
    fn servers_that_start_at_once_have_ports_of_their_own() {
        let use_one = || {
            let echo = Echo::start();
            let client = connect(&echo);
            echo_line(&client, b"hello\n");
            drop(client);
            echo.stop()
        };
        let threads: Vec<_> = (0..32).map(|_| thread::spawn(use_one)).collect();
        for thread in threads {
            let totals = thread.join().unwrap();
            assert_eq!((totals.accepted, totals.lines, totals.open), (1, 1, 0));
        }
    }

    #[test]
    fn two_servers_of_one_test_do_not_meet() {
        let (one, other) = (Echo::start(), Echo::start());
        assert_ne!(one.addr(), other.addr());
        let (one_client, other_client) = (connect(&one), connect(&other));
        assert_eq!(one.stop().lines, 0);
        assert_eq!(read_to_end(&one_client), b"");
        echo_line(&other_client, b"still here\n");
        assert_eq!(other.stop().lines, 1);
    }

    #[test]
    fn all_tests_of_a_program_can_share_one() {
        static ECHO: LazyLock<Echo> = LazyLock::new(Echo::start);
        let use_it = || echo_line(&connect(&ECHO), b"shared\n");
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(use_it)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_drop_sends_open_clients_a_fin_and_does_not_wait_for_theirs() {
        let echo = Echo::start_with(|config| config.drain_timeout = FOR_EVER);
        let clients = [(); 100].map(|()| connect(&echo));
        echo_line(&clients[0], b"hello\n");
        drop(echo);
        for client in &clients {
            assert_eq!(read_to_end(client), b"");
        }
    }

    #[test]
    fn a_stop_echoes_and_counts_what_clients_have_sent() {
        for _ in 0..100 {
            let echo = Echo::start_with(|config| config.drain_timeout = FOR_EVER);
            let mut client = connect(&echo);
            client.write_all(b"one\ntwo\nincompl").unwrap();
            let totals = echo.stop();
            assert_eq!((totals.accepted, totals.open, totals.lines), (1, 0, 2));
            assert_eq!((totals.bytes_in, totals.bytes_out), (15, 8));
            assert_eq!(totals.closes[crate::CloseReason::Shutdown], 1);
            assert_eq!(read_to_end(&client), b"one\ntwo\n");
        }
    }

    /// A client that reads later gets all of them.
    #[test]
    fn a_stop_waits_until_a_slow_client_has_taken_its_echoes() {
        let echo = Echo::start_with(|config| config.drain_timeout = FOR_EVER);
        let mut client = connect(&echo);
        let mut reader = client.try_clone().unwrap();
        // More than the buffers of both sides hold, so that the server has pending output.
        let len = 40 << 20;
        let sender = thread::spawn(move || {
            let _ = client.write_all(&vec![b'\n'; len]); // The stop cuts it off.
        });
        let mut first = [0; 1];
        reader.read_exact(&mut first).unwrap();
        let stop = thread::spawn(move || echo.stop());
        let rest = thread::spawn(move || read_to_end(&reader).len());
        let totals = stop.join().unwrap();
        assert_eq!(rest.join().unwrap() as u64 + 1, totals.bytes_out);
        sender.join().unwrap();
    }

    #[test]
    fn a_drop_ends_clients_that_flood() {
        let flood = |mut client: TcpStream| {
            while client.write_all(&[b'\n'; 4096]).is_ok() {}
        };
        let discard = |mut client: TcpStream| {
            while client.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {}
        };
        let echo = Echo::start_with(|config| config.drain_timeout /= 10);
        let (reads, never_reads) = (connect(&echo), connect(&echo));
        let threads = [
            thread::spawn({
                let client = reads.try_clone().unwrap();
                move || discard(client)
            }),
            thread::spawn(move || flood(reads)),
            thread::spawn(move || flood(never_reads)),
        ];
        while echo.handle().totals().unwrap().bytes_in < 1 << 20 {}
        drop(echo);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_stop_after_a_shutdown_by_a_handle_gives_the_totals() {
        for shutdowns in 1..=2 {
            let echo = Echo::start_with(|config| config.drain_timeout = FOR_EVER);
            let client = connect(&echo);
            echo_line(&client, b"hello\n");
            for _ in 0..shutdowns {
                echo.handle().shutdown().unwrap();
            }
            assert_eq!(read_to_end(&client), b"");
            assert_eq!(echo.stop().lines, 1);
        }
    }

    #[test]
    fn a_server_that_has_failed_makes_the_test_fail() {
        let echo = Echo::start();
        break_loop(&echo);
        let text = panic_text(|| _ = echo.stop());
        assert_eq!(text, "the echo server has failed: its thread has panicked");
        let echo = Echo::start();
        break_loop(&echo);
        let text = panic_text(|| drop(echo));
        assert_eq!(text, "the echo server has failed: its thread has panicked");
    }

    /// A panic while panicking would end the process, and all tests with it.
    #[test]
    fn a_failed_server_does_not_hide_why_a_test_fails() {
        let echo = Echo::start();
        break_loop(&echo);
        let text = panic_text(|| {
            let _echo = echo;
            panic!("the test itself");
        });
        assert_eq!(text, "the test itself");
    }

    #[test]
    fn a_loop_that_is_held_up_is_reported_and_not_waited_for() {
        let mut echo = Echo::start();
        echo.running.as_mut().unwrap().limit = Duration::from_millis(1);
        let (release, blocked) = mpsc::channel::<()>();
        let block = move |_| _ = blocked.recv();
        echo.handle().request_totals(block).unwrap();
        let text = panic_text(|| drop(echo));
        let expected = "the echo server has failed: something blocks its loop";
        assert_eq!(text, expected);
        drop(release);
    }

    #[test]
    fn wrong_settings_are_named() {
        let text = panic_text(|| drop(Echo::start_with(|config| config.max_line = 0)));
        let expected = "cannot start an echo server: max_line is not in 1..=1073741824";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_listens_after_a_drop() {
        let echo = Echo::start();
        let addr = echo.addr();
        drop(echo);
        let error = TcpStream::connect(addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
