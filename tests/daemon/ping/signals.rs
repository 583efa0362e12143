//! SIGINT, and a stdout that is closed.

use std::process::Command;
use std::sync::mpsc::channel;

use super::faulty_server::FaultyServer;
use super::program::Ping;
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_until;

#[test]
fn an_interrupt_prints_the_statistics() {
    let daemon = Daemon::start();
    let running = Ping::spawn(daemon.addr, "-i 1000");
    running.wait_for_output("line=1 time=");
    running.interrupt();
    running
        .wait_for_exit()
        .assert_exits(0)
        .assert_prints("1 line sent, 1 echoed, 0 wrong, 0 lost\n")
        .assert_prints("closed cleanly by the server in ");
}

#[test]
fn an_interrupt_that_the_parent_has_blocked_ends_ping() {
    let daemon = Daemon::start();
    let mut command = Command::new("env");
    command.args(["--block-signal", BINARY, "ping", &daemon.addr.to_string()]);
    let running = Ping::spawn_command(&mut command);
    running.wait_for_output("line=1 time=");
    running.interrupt();
    running.wait_for_exit().assert_exits(0);
}

#[test]
fn an_interrupt_ends_a_ping_that_sends_without_pause() {
    let daemon = Daemon::start();
    let running = Ping::spawn(daemon.addr, "-i 0 --connections 5");
    running.wait_for_output("line=2 time=");
    running.interrupt();
    running
        .wait_for_exit()
        .assert_exits(0)
        .assert_prints(" 0 wrong, 0 lost\n")
        .assert_prints("5 connections: 5 closed cleanly by the server, ");
}

/// The server answers after the signal. If ping has not yet handled the signal then, ping
/// closes after the echo as well.
#[test]
fn an_interrupt_waits_for_the_echo_of_the_last_line() {
    let (sender, interrupted) = channel();
    let (line_read, wait_for_line) = channel();
    let server = FaultyServer::start(move |mut peer| {
        let line = peer.line();
        line_read.send(()).unwrap();
        interrupted.recv().unwrap();
        peer.send(&line);
        peer.expect_fin();
    });
    let running = Ping::spawn(server.addr, "-i 1000 -W 60");
    running.wait_for_output("PING ");
    wait_for_line.recv().unwrap();
    running.interrupt();
    sender.send(()).unwrap();
    running
        .wait_for_exit()
        .assert_exits(0)
        .assert_prints("1 line sent, 1 echoed, 0 wrong, 0 lost\n");
    server.join();
}

/// The server never answers, and the timeout is long. The signal is repeated, as signals
/// that come together are one.
#[test]
fn a_second_interrupt_ends_ping_at_once() {
    let server = FaultyServer::start(|mut peer| {
        peer.line();
        peer.hold();
    });
    let mut running = Ping::spawn(server.addr, "-W 1000");
    running.wait_for_output("PING ");
    wait_until("ping to exit", || {
        let exited = running.has_exited();
        if !exited {
            running.interrupt();
        }
        exited
    });
    running
        .wait_for_exit()
        .assert_exits(1)
        .assert_prints("1 line sent, 0 echoed, 0 wrong, 0 lost\n")
        .assert_prints("stopped before the connection was closed\n");
    server.join();
}

/// Without a count only the closed pipe ends ping.
#[test]
fn a_closed_stdout_ends_ping_without_a_message() {
    let daemon = Daemon::start();
    for options in ["-i 0", "-i 0 --json", "-i 0 --burst 10"] {
        let script = format!("\"$0\" ping {} {options} | head -1", daemon.addr);
        let mut command = Command::new("sh");
        let running = Ping::spawn_command(command.args(["-c", &script, BINARY]));
        let finished = running.wait_for_exit().assert_exits(0);
        assert_eq!(finished.stdout.lines().count(), 1, "{finished:?}");
    }
}
