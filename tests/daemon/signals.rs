//! What the daemon does when it is told to.

use std::io::{Read, Write};

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{Daemon, echo, read_to_end, wait_until};

#[test]
fn sigint_sigterm_and_sighup_end_it_cleanly_with_totals() {
    for (signal, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let mut daemon = Daemon::start();
        let client = daemon.connect();
        echo(&client, b"hello\n");
        daemon.signal(signal);
        daemon.wait_for_record(&format!("{name}: stopping (1 open)"));
        assert_eq!(read_to_end(&client), b"", "a FIN, and no RST");
        drop(client);
        assert_eq!(daemon.wait_for_exit().code(), Some(0));
        daemon.wait_for_record("closed by shutdown: 1 lines, 6 bytes in, 6 bytes out");
        daemon.wait_for_record(
            "totals: 1 connections, 0 open, 1 lines, 6 bytes in, 6 bytes out, up ",
        );
    }
}

#[test]
fn a_client_that_stays_does_not_keep_it_from_ending() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    daemon.signal(Signal::INT);
    daemon.wait_for_record("SIGINT: stopping (1 open)");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    drop(client);
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
