//! A stdout that cannot be written: only records are lost, and the echo goes on.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::{Action, tcflow};

use crate::support::clients::{connect, echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon, spawn_on_reserved_port};
use crate::support::deadline::wait_for;
use crate::support::process::send_signal;
use crate::support::strace::inject_error;
use crate::support::terminal::open_terminal;

/// Starts the daemon with `stdout`, and with a pipe for stderr.
fn start_with_stdout(stdout: impl Into<Stdio>) -> (Child, SocketAddr) {
    let mut command = Command::new(BINARY);
    command.arg("-v").env_remove("RUST_LOG");
    spawn_on_reserved_port(command.stdout(stdout).stderr(Stdio::piped()))
}

/// Has 2,000 lines and 100 sessions logged, more than a pipe holds.
fn generate_records(addr: SocketAddr) {
    let client = connect(addr);
    for _ in 0..2000 {
        echo(&client, b"a line that is logged, because of -v\n");
    }
    for _ in 0..100 {
        echo(&connect(addr), b"hello\n");
    }
}

fn wait_for_exit(child: &mut Child) -> ExitStatus {
    wait_for("the daemon to exit", || child.try_wait().unwrap())
}

/// Sends SIGTERM; asserts exit status 0 and an empty stderr.
fn stop(mut child: Child) {
    send_signal(child.id(), Signal::TERM);
    assert_eq!(wait_for_exit(&mut child).code(), Some(0));
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

#[test]
fn a_closed_pipe_loses_only_records() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (child, addr) = start_with_stdout(writer);
    drop(reader);
    generate_records(addr);
    stop(child);
}

#[test]
fn a_full_disk_loses_only_records() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (child, addr) = start_with_stdout(full);
    generate_records(addr);
    stop(child);
}

#[test]
fn a_full_pipe_holds_nothing_up_and_the_loss_is_logged() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (child, addr) = start_with_stdout(writer);
    generate_records(addr);
    // The pipe holds 64 KiB; the other records are lost.
    reader.read_exact(&mut vec![0; 60_000]).unwrap();
    echo(&connect(addr), b"hello\n");
    stop(child);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let loss = rest
        .lines()
        .position(|line| line.ends_with(" log records lost"));
    let after = rest.lines().nth(loss.expect("a record of the loss") + 1);
    assert!(after.is_some(), "{rest}");
    // The 60,000 bytes end in the middle of a record.
    let whole = rest.lines().skip(1).all(|line| line.contains("[echoline]"));
    assert!(whole, "{rest}");
    assert!(rest.contains("totals: "), "{rest}");
}

/// Reads, in a thread, what a terminal shows until its last descriptor is closed.
fn read_terminal(controller: OwnedFd) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut controller = File::from(controller);
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = controller.read(&mut piece) {
            shown.extend_from_slice(&piece[..n]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    })
}

/// Logs to a terminal that is not read, or that Ctrl-S has stopped besides.
fn log_to_a_blocked_terminal(ctrl_s: bool) {
    let (controller, terminal) = open_terminal();
    let (child, addr) = start_with_stdout(terminal.try_clone().unwrap());
    if ctrl_s {
        tcflow(&terminal, Action::OOff).unwrap();
    }
    generate_records(addr);
    if ctrl_s {
        tcflow(&terminal, Action::OOn).unwrap();
    }
    let shown = read_terminal(controller);
    // Records get through again, so the loss is logged.
    for _ in 0..50 {
        echo(&connect(addr), b"hello\n");
        thread::sleep(Duration::from_millis(2));
    }
    stop(child);
    drop(terminal);
    let shown = shown.join().unwrap();
    assert!(shown.contains(" log records lost"), "{shown}");
}

#[test]
fn a_stopped_terminal_holds_nothing_up() {
    log_to_a_blocked_terminal(true);
}

#[test]
fn a_terminal_that_is_not_read_holds_nothing_up() {
    log_to_a_blocked_terminal(false);
}

/// stdout and stderr are the same full pipe, as with `2>&1 | less`.
#[test]
fn a_full_stderr_does_not_delay_the_exit() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let (stdout, stderr) = (writer.try_clone().unwrap(), writer.try_clone().unwrap());
    let mut command = Command::new(BINARY);
    command
        .args(["--drain-timeout", "1000"])
        .stdout(stdout)
        .stderr(stderr);
    let (mut child, addr) = spawn_on_reserved_port(&mut command);
    let client = connect(addr);
    echo(&client, b"hello\n");
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    send_signal(child.id(), Signal::TERM);
    assert_eq!(read_to_end(&client), b"", "a FIN: the daemon is stopping");
    send_signal(child.id(), Signal::TERM);
    assert_eq!(wait_for_exit(&mut child).code(), Some(1));
}

#[test]
#[ignore = "needs strace"]
fn a_failing_write_loses_only_records() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for errno in [
        "EINTR", "EAGAIN", "EIO", "ENOSPC", "EPIPE", "EBADF", "EFBIG", "EDQUOT",
    ] {
        inject_error(&daemon, "write", errno, || {
            let client = daemon.connect();
            echo(&client, b"hello\n");
            drop(client);
            echo(&other, b"still here\n");
        });
    }
}
