//! Errors of the system calls, made by strace, and a log that nobody takes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};

use crate::support::{
    BINARY, Daemon, connect, echo, read_to_end, send_and_read_to_end, send_signal,
    spawn_on_free_port, strace,
};

/// Has the daemon's next call of `call` fail with `errno` while `work` is done.
fn inject(daemon: &Daemon, call: &str, errno: &str, work: impl FnOnce()) {
    let trace = format!("trace={call}");
    let fault = format!("inject={call}:error={errno}:when=1");
    let seen = strace(daemon, &["-e", &trace, "-e", &fault], work);
    assert!(
        seen.contains("(INJECTED)"),
        "{call} {errno} did not happen: {seen}"
    );
}

/// The errors that accept(2) lists: the client that waited is accepted in the
/// end, without another one having to come.
#[test]
#[ignore = "needs strace"]
fn every_error_of_accept_is_survived() {
    let daemon = Daemon::start_with(&["-v"]);
    let other = daemon.connect();
    for errno in [
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
    ] {
        let mut client = None;
        inject(&daemon, "accept4", errno, || {
            let waiting = daemon.connect();
            echo(&waiting, b"accepted\n");
            client = Some(waiting);
        });
        echo(&other, b"still here\n");
        echo(&client.unwrap(), b"still here\n");
    }
}

/// Accepting has paused when the stop comes; but it is possible again.
#[test]
#[ignore = "needs strace"]
fn a_stop_during_a_pause_accepts_those_who_wait() {
    let mut daemon = Daemon::start();
    inject(&daemon, "accept4", "EMFILE", || {
        let mut client = daemon.connect();
        client.write_all(b"hello\n").unwrap();
        daemon.wait_for_record("accept paused");
        daemon.signal(Signal::TERM);
        assert_eq!(read_to_end(&client), b"hello\n");
    });
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// An error that should be of the one connection, and comes for ever.
#[test]
#[ignore = "needs strace"]
fn an_endless_error_of_accept_does_not_spin() {
    let daemon = Daemon::start();
    let fault = ["-c", "-U", "calls,name", "-e", "inject=accept4:error=EPERM"];
    let mut client = None;
    let table = strace(&daemon, &fault, || {
        client = Some(daemon.connect());
        daemon.wait_for_record("accept paused: Operation not permitted");
        std::thread::sleep(std::time::Duration::from_secs(2));
    });
    let accepts = table
        .lines()
        .find(|line| line.ends_with("accept4"))
        .unwrap();
    let accepts: usize = accepts.split_whitespace().next().unwrap().parse().unwrap();
    assert!(accepts < 1100, "{table}");
    echo(&client.unwrap(), b"served after all\n");
}

#[test]
#[ignore = "needs strace"]
fn an_error_of_a_read_or_a_write_ends_that_one_connection() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for (call, failures) in [
        (
            "recvfrom",
            [
                ("ECONNRESET", "error (Connection reset by peer"),
                ("ECONNREFUSED", "send timeout (Connection refused): "),
                ("ENOMEM", "error (Cannot allocate memory"),
                ("ETIMEDOUT", "send timeout: "),
                ("ENOTCONN", "error (Transport endpoint is not connected"),
            ],
        ),
        (
            "sendto",
            [
                ("ECONNRESET", "error (Connection reset by peer"),
                ("EPIPE", "error (Broken pipe"),
                ("ENOBUFS", "error (No buffer space available"),
                ("ENOMEM", "error (Cannot allocate memory"),
                ("EHOSTUNREACH", "send timeout (No route to host): "),
            ],
        ),
    ] {
        for (errno, reason) in failures {
            let mut client = daemon.connect();
            let local = client.local_addr().unwrap();
            daemon.wait_for_record(&format!("{local} connected"));
            inject(&daemon, call, errno, || {
                client.write_all(b"hello\n").unwrap();
                daemon.closing_record(local);
            });
            let record = daemon.closing_record(local);
            assert!(record.contains(&format!("closed by {reason}")), "{record}");
            echo(&other, b"still here\n");
        }
    }
}

#[test]
#[ignore = "needs strace"]
fn interrupted_calls_are_made_again() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    for call in ["recvfrom", "sendto", "epoll_wait"] {
        inject(&daemon, call, "EINTR", || {
            echo(&client, b"one\n");
            echo(&client, b"two\n");
        });
    }
}

#[test]
#[ignore = "needs strace"]
fn a_connection_that_cannot_be_registered_is_refused_and_nobody_else_is() {
    let daemon = Daemon::start_with(&["--max-per-ip", "2"]);
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for errno in ["ENOMEM", "ENOSPC", "EPERM"] {
        inject(&daemon, "epoll_ctl", errno, || {
            assert_eq!(read_to_end(&daemon.connect()), b"");
        });
        daemon.wait_for_record("refused: cannot register");
        echo(&other, b"still here\n");
        // It has not used up its address's share.
        echo(&daemon.connect(), b"hello\n");
        daemon.wait_for_record("closed by peer");
    }
}

#[test]
#[ignore = "needs strace"]
fn socket_options_that_cannot_be_set_cost_nothing_but_packets() {
    let daemon = Daemon::start();
    for errno in ["EINVAL", "ENOPROTOOPT", "ENOMEM", "EINTR"] {
        inject(&daemon, "setsockopt", errno, || {
            echo(&daemon.connect(), b"hello\n");
        });
    }
    for errno in ["EINVAL", "ENOBUFS"] {
        inject(&daemon, "getsockopt", errno, || {
            let client = daemon.connect();
            let local = client.local_addr().unwrap();
            assert_eq!(send_and_read_to_end(&client, b"hello\n"), b"hello\n");
            daemon.closing_record(local);
        });
    }
}

#[test]
#[ignore = "needs strace"]
fn an_error_of_the_logs_write_costs_records() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    echo(&other, b"hello\n");
    for errno in [
        "EINTR", "EAGAIN", "EIO", "ENOSPC", "EPIPE", "EBADF", "EFBIG", "EDQUOT",
    ] {
        inject(&daemon, "write", errno, || {
            let client = daemon.connect();
            echo(&client, b"hello\n");
            drop(client);
            echo(&other, b"still here\n");
        });
    }
}

/// Starts the daemon with its log going to `stdout`, which may not take it.
fn with_log_to(stdout: Stdio) -> (Child, std::net::SocketAddr) {
    let mut command = Command::new(BINARY);
    command.arg("-v").env_remove("RUST_LOG");
    spawn_on_free_port(command.stdout(stdout).stderr(Stdio::piped()))
}

/// Two thousand lines and a hundred sessions: records enough to fill a pipe.
fn use_it(addr: std::net::SocketAddr) {
    let client = connect(addr);
    for _ in 0..2000 {
        echo(&client, b"a line that is logged, because of -v\n");
    }
    for _ in 0..100 {
        echo(&connect(addr), b"hello\n");
    }
}

/// Stops it and returns what it wrote to stderr.
fn stop(mut child: Child) -> String {
    send_signal(child.id(), Signal::TERM);
    let status = crate::support::wait_for("the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let mut text = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_log_that_nobody_reads_any_more_costs_records_only() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (child, addr) = with_log_to(writer.into());
    drop(reader);
    use_it(addr);
    assert_eq!(stop(child), "");
}

#[test]
fn a_log_on_a_full_disk_costs_records_only() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (child, addr) = with_log_to(full.into());
    use_it(addr);
    assert_eq!(stop(child), "");
}

#[test]
fn a_log_whose_reader_is_stuck_holds_nothing_up_and_says_what_is_missing() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (child, addr) = with_log_to(writer.into());
    use_it(addr);
    // 64 KiB are in the pipe, and the rest is lost.
    let mut seen = vec![0; 60_000];
    reader.read_exact(&mut seen).unwrap();
    echo(&connect(addr), b"hello\n");
    assert_eq!(stop(child), "");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let lost = rest
        .lines()
        .position(|line| line.ends_with(" log records lost"));
    let after = rest.lines().nth(lost.expect("a record of the loss") + 1);
    assert!(after.is_some(), "{rest}");
    // The first was cut by the read of the 60,000.
    let whole = rest.lines().skip(1).all(|line| line.contains("[echoline]"));
    assert!(whole, "{rest}");
    assert!(rest.contains("totals: "), "{rest}");
}

/// Ctrl-S on the terminal that it logs to, or nobody there to show it.
#[test]
fn a_stopped_terminal_and_one_that_nobody_reads_hold_nothing_up() {
    for stopped in [true, false] {
        log_to_a_stuck_terminal(stopped);
    }
}

fn log_to_a_stuck_terminal(stopped: bool) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let (child, addr) = with_log_to(OwnedFd::from(terminal.try_clone().unwrap()).into());
    if stopped {
        tcflow(&terminal, Action::OOff).unwrap();
    }
    use_it(addr);
    if stopped {
        tcflow(&terminal, Action::OOn).unwrap();
    }
    // The terminal is read again, and hears of what it has missed.
    let reader = std::thread::spawn(move || {
        let mut controller = std::fs::File::from(controller);
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = controller.read(&mut piece) {
            shown.extend_from_slice(&piece[..n]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    for _ in 0..50 {
        echo(&connect(addr), b"hello\n");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(stop(child), "");
    drop(terminal);
    let shown = reader.join().unwrap();
    assert!(shown.contains(" log records lost"), "{shown}");
}

/// Both outputs are the same pipe, as with `2>&1 | less`, and it is full.
#[test]
fn a_stuck_stderr_does_not_keep_it_from_ending() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let (mut child, _client) = {
        let (out, err) = (writer.try_clone().unwrap(), writer.try_clone().unwrap());
        let mut command = Command::new(BINARY);
        command.args(["--drain-timeout", "1000"]);
        let (child, addr) = spawn_on_free_port(command.stdout(out).stderr(err));
        let client = connect(addr);
        echo(&client, b"hello\n");
        // 4 KiB at a time, until the pipe takes no more.
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        send_signal(child.id(), Signal::TERM);
        assert_eq!(read_to_end(&client), b"", "a FIN: it is stopping");
        send_signal(child.id(), Signal::TERM);
        (child, client)
    };
    let status = crate::support::wait_for("the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
}
