//! What the daemon does when it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{
    BINARY, Daemon, connect, echo, raise_fd_limit, read_to_end, send_signal, spawn_on_free_port,
    wait_until,
};

#[test]
fn sigint_sigterm_and_sighup_end_it_cleanly_with_totals() {
    for (signal, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let mut daemon = Daemon::start_with(&["--drain-timeout", "1000"]);
        let client = daemon.connect();
        echo(&client, b"hello\n");
        daemon.signal(signal);
        daemon.wait_for_record(&format!("{name}: stopping (1 open)"));
        assert_eq!(read_to_end(&client), b"", "a FIN, and no RST");
        drop(client);
        assert_eq!(daemon.wait_for_exit().code(), Some(0));
        daemon.wait_for_record("closed by shutdown: 1 line, 6 bytes in, 6 bytes out");
        daemon
            .wait_for_record("totals: 1 connection, 0 open, 1 line, 6 bytes in, 6 bytes out, up ");
    }
}

#[test]
fn a_client_that_stays_does_not_keep_it_from_ending() {
    let mut daemon = Daemon::start_with(&["--drain-timeout", "1"]);
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("closed by shutdown: 1 line");
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_what_was_cut_off() {
    let args = ["--listen", "127.0.0.1:0", "--drain-timeout", "1000"];
    let mut command = Command::new(BINARY);
    let mut daemon = Daemon::spawn(command.args(args).stderr(Stdio::piped()));
    let clients = [daemon.connect(), daemon.connect()];
    for client in &clients {
        echo(client, b"hello\n");
    }
    daemon.signal(Signal::INT);
    daemon.wait_for_record("SIGINT: stopping (2 open)");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(1));
    let why = "echoline: SIGTERM while stopping: 2 connections aborted\n";
    assert_eq!(daemon.stderr(), why);
    daemon.wait_for_record("totals: 2 connections, 0 open, 2 lines");
}

/// One request, however many signals it was made with.
#[test]
fn signals_that_arrive_together_stop_it_once() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::STOP);
    daemon.signal(Signal::INT);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// Accepted or not, read or not: what had arrived when the signal came is
/// echoed, but for lines that are not complete.
#[test]
fn everything_that_had_arrived_is_echoed() {
    let mut daemon = Daemon::start();
    let old: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    for client in &old {
        echo(client, b"hello\n");
    }
    daemon.signal(Signal::STOP);
    let new: Vec<_> = (0..500).map(|_| daemon.connect()).collect();
    for mut client in old.iter().chain(&new) {
        client.write_all(b"one\ntwo\nincompl").unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in old.iter().chain(&new) {
        assert_eq!(read_to_end(client), b"one\ntwo\n");
    }
    drop((old, new));
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    let totals = daemon.wait_for_record("totals: 550 connections, 0 open, 1150 lines");
    assert!(totals.contains("; closed 550 by shutdown; "), "{totals}");
}

/// More than fit two backlogs wait for a stopped server with three listeners.
#[test]
#[ignore = "needs 10,600 file descriptors"]
fn everybody_in_every_backlog_is_accepted() {
    const EACH: usize = 3500;
    raise_fd_limit(3 * EACH + 100);
    let mut daemon = Daemon::start_with(&["-l", "127.0.0.2:0", "-l", "127.0.0.3:0"]);
    let addrs = ["127.0.0.1:", "127.0.0.2:", "127.0.0.3:"].map(|ip| -> SocketAddr {
        let record = daemon.wait_for_record(&format!("listening on {ip}"));
        record.rsplit(' ').next().unwrap().parse().unwrap()
    });
    daemon.signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..3 * EACH).map(|i| connect(addrs[i % 3])).collect();
    for mut client in &clients {
        client.write_all(b"hello\n").unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in clients {
        assert_eq!(read_to_end(&client), b"hello\n");
    }
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// A thousand clients, a hundred of them in the middle of sending lines.
#[test]
fn a_stop_under_load_loses_no_line_that_had_been_sent() {
    const CLIENTS: usize = 1000;
    raise_fd_limit(CLIENTS + 400);
    let mut daemon = Daemon::start();
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| daemon.connect()).collect();
    let lines = b"0123456789\n".repeat(100);
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
        assert!(echoed.chunks(11).all(|line| line == b"0123456789\n"));
        assert!(
            echoed.len() >= 11 * sent,
            "{sent} lines, {} bytes",
            echoed.len()
        );
    }
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("totals: 1100 connections, 0 open, ");
}

/// A client that sends up to 2,000 lines, one by one, while nobody reads them.
struct Sender {
    client: TcpStream,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(client: TcpStream) -> Sender {
        let sent = Arc::new(AtomicUsize::new(0));
        let (mut out, count) = (client.try_clone().unwrap(), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            for _ in 0..2000 {
                if out.write_all(b"0123456789\n").is_err() {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
            }
        });
        Sender {
            client,
            sent,
            thread,
        }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// All that came back.
    fn finish(self) -> Vec<u8> {
        let echoed = read_to_end(&self.client);
        self.thread.join().unwrap();
        echoed
    }
}

/// The server holds echoes that a client was too slow to take: they still
/// reach it.
#[test]
fn nothing_already_read_is_lost() {
    let mut daemon = Daemon::start();
    let mut client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(65536).unwrap();
    client.set_nonblocking(true).unwrap();
    let line = b"0123456789\n";
    let mut sent = 0;
    // Until the server takes no more: its own output waits.
    while let Ok(n) = client.write(&line[sent % line.len()..]) {
        sent += n;
    }
    client.set_nonblocking(false).unwrap();
    daemon.signal(Signal::TERM);
    daemon.wait_for_record("SIGTERM: stopping (1 open)");
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).expect("no RST");
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    assert!(echoed.chunks(line.len()).all(|got| got == line));
    // All that was read, less the part of a line at its end.
    let record = daemon.wait_for_record("closed by shutdown: ");
    let lines = echoed.len() / line.len();
    assert!(
        record.contains(&format!("shutdown: {lines} lines, ")),
        "{record}"
    );
    assert!(
        record.contains(&format!(" {} bytes out, ", echoed.len())),
        "{record}"
    );
}

#[test]
fn sigusr1_logs_totals_and_nothing_stops() {
    let daemon = Daemon::start();
    let (first, second) = (daemon.connect(), daemon.connect());
    echo(&first, b"hello\n");
    echo(&second, b"hi\n");
    drop(second);
    daemon.wait_for_record("closed by peer");
    daemon.signal(Signal::USR1);
    daemon.wait_for_record("totals: 2 connections, 1 open, 2 lines, 9 bytes in, 9 bytes out, up ");
    echo(&first, b"again\n");
    daemon.signal(Signal::USR1);
    daemon
        .wait_for_record("totals: 2 connections, 1 open, 3 lines, 15 bytes in, 15 bytes out, up ");
}

/// As nohup has it, which would see its program end with the terminal.
#[test]
fn sighup_stays_ignored_under_nohup() {
    let mut command = Command::new("nohup");
    let mut daemon = Daemon::spawn(command.args([BINARY, "--listen", "127.0.0.1:0"]));
    let client = daemon.connect();
    echo(&client, b"hello\n");
    for _ in 0..2 {
        daemon.signal(Signal::HUP);
        echo(&client, b"still here\n");
    }
    drop(client);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("SIGTERM: stopping");
    assert!(daemon.log().iter().all(|line| !line.contains("SIGHUP")));
}

#[test]
fn an_idle_daemon_reacts_to_signals() {
    let mut daemon = Daemon::start();
    wait_until("the daemon to sleep", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        stat.contains(") S ")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}
