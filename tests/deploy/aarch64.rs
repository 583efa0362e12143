//! The build for aarch64, which QEMU runs: its system calls are those of this kernel.
//!
//! QEMU returns 4 bytes of `TCP_INFO` (`do_getsockopt` in `linux-user/syscall.c`), so
//! emulated programs report no packet counts. `MSG_EOR` reaches the kernel: a native ping
//! counts the packets.

use std::io::Write;
use std::process::Command;

use rustix::process::Signal;

use crate::repository;
use crate::run::run;
use crate::support::clients::read_to_end;
use crate::support::daemon::{BINARY, Daemon};
use crate::support::process::without_inherited_settings;

/// echoline for aarch64, in QEMU.
fn emulated() -> Command {
    let binary = repository("target/aarch64-unknown-linux-gnu/debug/echoline");
    let path = binary.display();
    assert!(
        binary.exists(),
        "no {path}: tests/check.sh has the command that builds it"
    );
    let mut command = Command::new("qemu-aarch64-static");
    command.arg(binary);
    command
}

fn emulated_daemon() -> Daemon {
    Daemon::spawn(emulated().args(["--packet-per-line", "--listen", "127.0.0.1:0"]))
}

/// Runs `echoline ping`: two bursts of four lines of 64 bytes.
#[track_caller]
fn assert_pings(mut program: Command, daemon: &Daemon, options: &[&str]) {
    let ping = program.arg("ping").args(options);
    ping.args(["--count", "8", "--burst", "4", "--interval", "0"]);
    ping.args(["--half-close", "--timeout", "60"]);
    ping.arg(daemon.addr.to_string());
    let output = run(without_inherited_settings(ping));
    for part in [
        "8 lines sent, 8 echoed, 0 wrong, 0 lost",
        "closed cleanly by the server",
    ] {
        assert!(output.contains(part), "{output}");
    }
}

#[test]
#[ignore = "needs an aarch64 build (tests/check.sh) and qemu-aarch64-static"]
fn native_and_emulated_pings_get_their_echoes_from_an_emulated_server() {
    let daemon = emulated_daemon();
    assert_pings(Command::new(BINARY), &daemon, &["--expect-packets", "1"]);
    assert_pings(emulated(), &daemon, &[]);
    let log = daemon.stop();
    let closed = "closed by peer: 8 lines, 512/512 bytes";
    let count = log.iter().filter(|record| record.contains(closed)).count();
    assert_eq!(count, 2, "{log:?}");
}

#[test]
#[ignore = "needs an aarch64 build (tests/check.sh) and qemu-aarch64-static"]
fn an_emulated_ping_gets_its_echoes_from_a_native_server() {
    let daemon = Daemon::start_with(&["--packet-per-line"]);
    assert_pings(emulated(), &daemon, &[]);
    let log = daemon.stop();
    let closed = "closed by peer: 8 lines, 512/512 bytes, ";
    let record = log.iter().find(|record| record.contains(closed));
    let record = record.expect("a closing record");
    assert!(record.contains("(2/8 data)"), "{record}");
}

#[test]
#[ignore = "needs an aarch64 build (tests/check.sh) and qemu-aarch64-static"]
fn an_emulated_server_drains_on_sigterm_and_exits_with_status_0() {
    let mut daemon = emulated_daemon();
    let client = daemon.connect_accepted();
    (&client).write_all(b"one\ntwo\n").unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"one\ntwo\n");
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    daemon.wait_for_record("totals: 1 connection, 0 open, 2 lines");
}
