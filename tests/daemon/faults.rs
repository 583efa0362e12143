//! System calls that fail: strace injects the errors.

use std::io::Write;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clients::{echo, read_exactly, read_to_end, send_and_read_to_end};
use crate::support::daemon::Daemon;
use crate::support::strace::{count_calls_with, inject_error};

/// The errors that accept(2) lists.
const ACCEPT_ERRORS: [&str; 19] = [
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOMEM",
    "ECONNABORTED",
    "EINTR",
    "EPROTO",
    "EPERM",
    "ENETDOWN",
    "ENOPROTOOPT",
    "EHOSTDOWN",
    "ENONET",
    "EHOSTUNREACH",
    "EOPNOTSUPP",
    "ENETUNREACH",
    "ETIMEDOUT",
    "EINVAL",
    "EFAULT",
    "ENOSR",
];

/// The client is accepted later, without another connect.
#[test]
#[ignore = "needs strace"]
fn a_client_is_served_after_any_accept_error() {
    let daemon = Daemon::start_with(&["-v"]);
    let other = daemon.connect();
    for errno in ACCEPT_ERRORS {
        let mut client = None;
        inject_error(&daemon, "accept4", errno, || {
            let waiting = daemon.connect();
            echo(&waiting, b"accepted\n");
            client = Some(waiting);
        });
        echo(&other, b"still here\n");
        echo(&client.unwrap(), b"still here\n");
    }
}

/// The error has paused accepting, but accept would succeed again when SIGTERM arrives.
#[test]
#[ignore = "needs strace"]
fn shutdown_during_an_accept_pause_accepts_the_backlog() {
    let mut daemon = Daemon::start();
    inject_error(&daemon, "accept4", "EMFILE", || {
        let mut client = daemon.connect();
        client.write_all(b"hello\n").unwrap();
        daemon.wait_for_record("accept paused");
        daemon.signal(Signal::TERM);
        assert_eq!(read_to_end(&client), b"hello\n");
    });
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// EPERM is an error of one connection, after which the next one is accepted. Here every
/// accept fails.
#[test]
#[ignore = "needs strace"]
fn a_persistent_accept_error_does_not_spin() {
    let daemon = Daemon::start();
    let mut client = None;
    let calls = count_calls_with(&daemon, &["-e", "inject=accept4:error=EPERM"], || {
        client = Some(daemon.connect());
        daemon.wait_for_record("accept paused: Operation not permitted");
        thread::sleep(Duration::from_secs(2));
    });
    assert!((1..1100).contains(&calls.of("accept4")), "{calls:?}");
    echo(&client.unwrap(), b"served after all\n");
}

/// Each error of `recvfrom` and `sendto`, and the reason in the closing record.
const STREAM_ERRORS: [(&str, &str, &str); 10] = [
    ("recvfrom", "ECONNRESET", "error (Connection reset by peer"),
    (
        "recvfrom",
        "ECONNREFUSED",
        "send timeout (Connection refused): ",
    ),
    ("recvfrom", "ENOMEM", "error (Cannot allocate memory"),
    ("recvfrom", "ETIMEDOUT", "send timeout: "),
    (
        "recvfrom",
        "ENOTCONN",
        "error (Transport endpoint is not connected",
    ),
    ("sendto", "ECONNRESET", "error (Connection reset by peer"),
    ("sendto", "EPIPE", "error (Broken pipe"),
    ("sendto", "ENOBUFS", "error (No buffer space available"),
    ("sendto", "ENOMEM", "error (Cannot allocate memory"),
    (
        "sendto",
        "EHOSTUNREACH",
        "send timeout (No route to host): ",
    ),
];

#[test]
#[ignore = "needs strace"]
fn a_read_or_write_error_closes_only_that_connection() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for (call, errno, reason) in STREAM_ERRORS {
        let mut client = daemon.connect();
        echo(&client, b"first\n"); // A reset without a byte is no error.
        let local = client.local_addr().unwrap();
        inject_error(&daemon, call, errno, || {
            client.write_all(b"hello\n").unwrap();
            daemon.closing_record(local);
        });
        let record = daemon.closing_record(local);
        assert!(record.contains(&format!("closed by {reason}")), "{record}");
        echo(&other, b"still here\n");
    }
}

#[test]
#[ignore = "needs strace"]
fn interrupted_calls_are_retried() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    for call in ["recvfrom", "sendto", "epoll_wait"] {
        inject_error(&daemon, call, "EINTR", || {
            echo(&client, b"one\n");
            echo(&client, b"two\n");
        });
    }
}

#[test]
#[ignore = "needs strace"]
fn a_failed_registration_refuses_only_that_connection() {
    let daemon = Daemon::start_with(&["--max-per-ip", "2"]);
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for errno in ["ENOMEM", "ENOSPC", "EPERM"] {
        inject_error(&daemon, "epoll_ctl", errno, || {
            assert_eq!(read_to_end(&daemon.connect()), b"");
        });
        daemon.wait_for_record("refused: cannot register");
        echo(&other, b"still here\n");
        // The refused connection no longer counts towards the address limit.
        echo(&daemon.connect(), b"hello\n");
        daemon.wait_for_record("closed by peer");
    }
}

#[test]
#[ignore = "needs strace"]
fn failing_socket_options_do_not_affect_the_echo() {
    let daemon = Daemon::start();
    for errno in ["EINVAL", "ENOPROTOOPT", "ENOMEM", "EINTR"] {
        inject_error(&daemon, "setsockopt", errno, || {
            let mut client = daemon.connect();
            client.write_all(b"hel").unwrap(); // Sets TCP_QUICKACK.
            daemon.wait_for_loop_run();
            client.write_all(b"lo\n").unwrap();
            assert_eq!(read_exactly(&client, 6), b"hello\n");
        });
    }
    for errno in ["EINVAL", "ENOBUFS"] {
        inject_error(&daemon, "getsockopt", errno, || {
            let client = daemon.connect();
            let local = client.local_addr().unwrap();
            assert_eq!(send_and_read_to_end(&client, b"hello\n"), b"hello\n");
            daemon.closing_record(local);
        });
    }
}
