//! What each signal does.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::clients::{echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_until;
use crate::support::process::is_sleeping;

#[test]
fn sigint_sigterm_and_sighup_stop_cleanly_with_totals() {
    for (signal, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        // SIGHUP is ignored where the tests run under nohup.
        let mut command = Command::new("env");
        command.args(["--default-signal", BINARY, "-l", "127.0.0.1:0"]);
        let mut daemon = Daemon::spawn(command.args(["--drain-timeout", "1000"]));
        let client = daemon.connect();
        echo(&client, b"hello\n");
        daemon.signal(signal);
        daemon.wait_for_record(&format!("{name}: stopping (1 open)"));
        assert_eq!(read_to_end(&client), b"", "a FIN, and no RST");
        drop(client);
        assert_eq!(daemon.wait_for_exit().code(), Some(0));
        daemon.wait_for_record("closed by shutdown: 1 line, 6/6 bytes, ");
        daemon.wait_for_record("totals: 1 connection, 0 open, 1 line, 6/6 bytes, ");
    }
}

#[test]
fn a_second_signal_aborts_the_open_connections_and_says_how_many() {
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
    let message = "echoline: SIGTERM while stopping: 2 connections aborted\n";
    assert_eq!(daemon.stderr(), message);
    daemon.wait_for_record("totals: 2 connections, 0 open, 2 lines");
}

/// Signals that one run of the loop finds are one command. The second would abort.
#[test]
fn signals_that_arrive_together_stop_cleanly() {
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

#[test]
fn sigusr1_logs_totals_and_serving_goes_on() {
    let daemon = Daemon::start();
    let (first, second) = (daemon.connect(), daemon.connect());
    echo(&first, b"hello\n");
    echo(&second, b"hi\n");
    drop(second);
    daemon.wait_for_record("closed by peer");
    daemon.signal(Signal::USR1);
    daemon.wait_for_record("totals: 2 connections, 1 open, 2 lines, 9/9 bytes, ");
    echo(&first, b"again\n");
    daemon.signal(Signal::USR1);
    daemon.wait_for_record("totals: 2 connections, 1 open, 3 lines, 15/15 bytes, ");
}

/// nohup(1) ignores SIGHUP so that its program outlives the terminal.
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

/// The daemon of a parent that has blocked all signals, as programs do that wait for them
/// in one place.
#[test]
fn signals_that_the_parent_has_blocked_work() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::HUP, "SIGHUP")] {
        let mut command = Command::new("env");
        let mut daemon = Daemon::spawn(command.args([
            "--default-signal",
            "--block-signal",
            BINARY,
            "-l",
            "127.0.0.1:0",
        ]));
        daemon.signal(Signal::USR1);
        daemon.wait_for_record("totals: 0 connections");
        daemon.signal(signal);
        assert_eq!(daemon.wait_for_exit().code(), Some(0));
        daemon.wait_for_record(&format!("{name}: stopping"));
    }
}

#[test]
fn a_sleeping_daemon_reacts_to_signals() {
    let mut daemon = Daemon::start();
    wait_until("the daemon to sleep", || is_sleeping(daemon.pid()));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}
