//! Draining: what is still accepted, read and echoed after SIGTERM.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::clients::{connect, echo, read_to_end};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;
use crate::support::process::{raise_fd_limit, send_signal};
use crate::support::sockets::wait_until_arrived;

#[test]
fn the_drain_timeout_closes_a_client_that_stays() {
    let mut daemon = Daemon::start_with(&["--drain-timeout", "1"]);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("closed by shutdown: 1 line");
}

/// Connections that were not accepted yet are drained too. Partial lines are not echoed.
#[test]
fn every_complete_line_that_arrived_before_the_signal_is_echoed() {
    let mut daemon = Daemon::start();
    let accepted = daemon.connect_many(50);
    for client in &accepted {
        echo(client, b"hello\n");
    }
    daemon.signal(Signal::STOP);
    let in_backlog = daemon.connect_many(500);
    for mut client in accepted.iter().chain(&in_backlog) {
        client.write_all(b"one\ntwo\nincompl").unwrap();
    }
    wait_until_arrived(accepted.iter().chain(&in_backlog), 15);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in accepted.iter().chain(&in_backlog) {
        assert_eq!(read_to_end(client), b"one\ntwo\n");
    }
    drop((accepted, in_backlog));
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    let totals = daemon.wait_for_record("totals: 550 connections, 0 open, 1150 lines");
    assert!(totals.contains("; closed 550 by shutdown"), "{totals}");
}

/// More connections than two backlogs hold wait at three listeners.
#[test]
#[ignore = "needs 10,600 file descriptors"]
fn the_backlogs_of_all_listeners_are_accepted() {
    const EACH: usize = 3500;
    raise_fd_limit(3 * EACH + 100);
    let mut daemon = Daemon::start_with(&["-l", "127.0.0.2:0", "-l", "127.0.0.3:0"]);
    let addrs = ["127.0.0.1:", "127.0.0.2:", "127.0.0.3:"].map(|ip| daemon.listen_addr(ip));
    daemon.signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..3 * EACH).map(|i| connect(addrs[i % 3])).collect();
    for mut client in &clients {
        client.write_all(b"hello\n").unwrap();
    }
    wait_until_arrived(&clients, 6);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in clients {
        assert_eq!(read_to_end(&client), b"hello\n");
    }
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// 1,000 clients have sent their lines; 100 more are sending when the signal arrives.
#[test]
fn shutdown_under_load_loses_no_line_that_was_sent_before() {
    const CLIENTS: usize = 1000;
    raise_fd_limit(CLIENTS + 400);
    let mut daemon = Daemon::start();
    let clients = daemon.connect_many(CLIENTS);
    let lines = LINE.repeat(100);
    for mut client in &clients {
        client.write_all(&lines).unwrap();
        client.write_all(b"and a part of").unwrap();
    }
    let senders: Vec<_> = (0..100).map(|_| Sender::start(daemon.connect())).collect();
    wait_until("all to send", || senders.iter().all(|s| s.sent() > 20));
    let sent: Vec<usize> = senders.iter().map(Sender::sent).collect();
    daemon.signal(Signal::TERM);
    for client in clients {
        assert_eq!(read_to_end(&client), lines);
    }
    for (sender, sent) in senders.into_iter().zip(sent) {
        let echoed = sender.finish();
        assert!(echoed.chunks(LINE.len()).all(|line| line == LINE));
        let bytes = echoed.len();
        assert!(bytes >= LINE.len() * sent, "{sent} lines, {bytes} bytes");
    }
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("totals: 1100 connections, 0 open, ");
}

const LINE: &[u8] = b"0123456789\n";

/// A client that sends up to 2,000 lines, one by one, in a thread.
struct Sender {
    client: TcpStream,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(client: TcpStream) -> Sender {
        let sent = Arc::new(AtomicUsize::new(0));
        let (mut stream, count) = (client.try_clone().unwrap(), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            for _ in 0..2000 {
                if stream.write_all(LINE).is_err() {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        Sender {
            client,
            sent,
            thread,
        }
    }

    /// Lines sent so far.
    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Returns all that the server has sent, once it has sent its FIN.
    fn finish(self) -> Vec<u8> {
        let echoed = read_to_end(&self.client);
        self.thread.join().unwrap();
        echoed
    }
}

/// The server has read lines, and the window of the client does not admit their echoes yet.
#[test]
fn pending_output_is_sent_before_the_exit() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(65536).unwrap();
    send_until_blocked(&client);
    daemon.signal(Signal::TERM);
    daemon.wait_for_record("SIGTERM: stopping (1 open)");
    let echoed = read_to_end(&client);
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    assert!(echoed.chunks(LINE.len()).all(|line| line == LINE));
    // The record has the same figures: all complete lines that were read.
    let record = daemon.wait_for_record("closed by shutdown: ");
    let lines = echoed.len() / LINE.len();
    let lines = format!("shutdown: {lines} lines, ");
    assert!(record.contains(&lines), "{record}");
    let bytes = format!("/{} bytes, ", echoed.len());
    assert!(record.contains(&bytes), "{record}");
}

/// Sends lines until the server, with output pending, reads no more.
fn send_until_blocked(mut client: &TcpStream) {
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(n) = client.write(&LINE[sent % LINE.len()..]) {
        sent += n;
    }
    client.set_nonblocking(false).unwrap();
}

#[test]
fn a_drain_timeout_of_zero_still_accepts_the_backlog() {
    const CLIENTS: usize = 600;
    let mut daemon = Daemon::start_with(&["--drain-timeout", "0"]);
    daemon.signal(Signal::STOP);
    let clients = daemon.connect_many(CLIENTS);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("SIGTERM: stopping (600 open)");
    drop(clients);
}

/// A poll that SIGCONT interrupts (signal(7)) must not start the time over.
#[test]
fn interrupted_polls_do_not_prolong_the_drain_timeout() {
    let mut daemon = Daemon::start_with(&["--drain-timeout", "1"]);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    wait_until("the daemon to exit", || {
        if daemon.has_exited() {
            return true;
        }
        send_signal(daemon.pid(), Signal::STOP);
        send_signal(daemon.pid(), Signal::CONT);
        thread::sleep(Duration::from_millis(100));
        false
    });
}
