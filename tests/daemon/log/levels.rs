//! Which records are logged: `-q`, `-v`, `-vv` and `RUST_LOG`.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::clients::{connect, echo, read_to_end, send_and_read_to_end};
use crate::support::daemon::{BINARY, Daemon, spawn_on_reserved_port};
use crate::support::process::send_signal;

/// What a daemon that has exited wrote to stdout, which is a pipe.
fn stdout_of(child: &mut Child) -> String {
    let mut log = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut log).unwrap();
    log
}

/// Stops the daemon; returns what it wrote to stdout, which is a pipe.
fn stop_and_read_log(mut child: Child) -> String {
    send_signal(child.id(), Signal::TERM);
    assert!(child.wait().unwrap().success());
    stdout_of(&mut child)
}

#[test]
fn v_logs_messages_and_vv_logs_events() {
    for (args, message, event) in [
        (vec![], false, false),
        (vec!["-v"], true, false),
        (vec!["-vv"], true, true),
        (vec!["-v", "-v"], true, true),
    ] {
        let daemon = Daemon::start_with(&args);
        send_and_read_to_end(&daemon.connect(), b"hello\n");
        let log = daemon.stop();
        let has = |part| log.iter().any(|line| line.contains(part));
        assert_eq!(has("DEBUG [echoline] 127.0.0.1:"), message, "{args:?}");
        assert_eq!(has("TRACE [echoline] 127.0.0.1:"), event, "{args:?}");
    }
}

#[test]
fn quiet_logs_warnings_only() {
    let mut command = Command::new(BINARY);
    command
        .args(["-q", "--max-line", "5"])
        .stdout(Stdio::piped());
    let (child, addr) = spawn_on_reserved_port(command.env_remove("RUST_LOG"));
    let mut client = connect(addr);
    client.write_all(b"too long\n").unwrap();
    assert_eq!(read_to_end(&client), b"");
    let log = stop_and_read_log(child);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(" WARN  [echoline] 127.0.0.1:"), "{log}");
}

#[test]
fn rust_log_overrides_the_level() {
    let mut command = Command::new(BINARY);
    command
        .arg("-vv")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped());
    let (child, addr) = spawn_on_reserved_port(&mut command);
    send_and_read_to_end(&connect(addr), b"hello\n");
    assert_eq!(stop_and_read_log(child), "");
}

/// Runs a daemon with `RUST_LOG` for one line; returns its log.
fn log_with(rust_log: &OsStr) -> Vec<String> {
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("RUST_LOG", rust_log);
    let daemon = Daemon::spawn(&mut command);
    send_and_read_to_end(&daemon.connect(), b"hello\n");
    daemon.stop()
}

/// Programs in Rust share this variable. Directives for others change nothing here.
#[test]
fn rust_log_may_have_directives_for_other_crates_and_for_this_one() {
    for (rust_log, logs_messages) in [
        ("info,hyper=warn", false),
        ("hyper=trace", false),
        ("debug,hyper=warn", true),
        ("info,echoline=debug", true),
        ("info,echoline::server::connection=debug", true),
        ("debug,echoline=info", false),
    ] {
        let log = log_with(OsStr::new(rust_log));
        let is_message = |line: &String| line.contains(" message: \"hello\"");
        assert_eq!(log.iter().any(is_message), logs_messages, "{rust_log}");
        assert!(log.iter().all(|line| !line.contains(" WARN ")), "{log:?}");
    }
}

#[test]
fn a_malformed_directive_in_rust_log_is_a_warning() {
    for (rust_log, shown) in [
        (&b"verbose"[..], "verbose"),
        (b"info,echoline=loud", "echoline=loud"),
        (b"3", "3"),
        (b"\n\xff", "\u{fffd}"),
    ] {
        let log = log_with(OsStr::from_bytes(rust_log));
        let warnings: Vec<_> = log.iter().filter(|line| line.contains(" WARN ")).collect();
        let why = format!("RUST_LOG: '{shown}' is ignored: ");
        assert!(warnings.len() == 1 && warnings[0].contains(&why), "{log:?}");
    }
}

#[test]
fn ping_takes_any_rust_log() {
    let daemon = Daemon::start();
    for rust_log in ["info,hyper=warn", "verbose"] {
        let mut command = Command::new(BINARY);
        command.args(["ping", "-c", "1", &daemon.addr.to_string()]);
        let output = command.env("RUST_LOG", rust_log).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
}

/// The totals at the exit are an ordinary record, which these levels hide.
#[test]
fn sigusr1_logs_totals_at_every_level_and_the_exit_does_not() {
    for level in ["off", "error", "warn"] {
        let mut command = Command::new(BINARY);
        command
            .args(["-q"])
            .env("RUST_LOG", level)
            .stdout(Stdio::piped());
        let (mut child, addr) = spawn_on_reserved_port(&mut command);
        echo(&connect(addr), b"hello\n");
        send_signal(child.id(), Signal::USR1);
        send_signal(child.id(), Signal::TERM);
        assert!(child.wait().unwrap().success());
        let log = stdout_of(&mut child);
        assert_eq!(log.lines().count(), 1, "{level}: {log}");
        assert!(log.contains(" INFO  [echoline] totals: "), "{log}");
    }
}
