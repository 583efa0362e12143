//! Budgets that do not depend on the machine's speed: system calls, instructions, bytes.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::callgrind::{Profile, require_release_build};
use crate::support::clients::{echo, read_exactly};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::process::raise_fd_limit;
use crate::support::strace::count_calls;

const LINE: &[u8] = b"fifteen bytes..\n";

#[test]
#[ignore = "needs strace"]
fn a_ping_pong_line_takes_three_system_calls_and_no_epoll_ctl() {
    for args in [&[][..], &["--idle-timeout", "60"]] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        // Urgent data makes reads go on, but not for ever.
        SockRef::from(&client).send_out_of_band(b"!").unwrap();
        (&client).write_all(b"\n").unwrap();
        assert_eq!(read_exactly(&client, 2), b"!\n");
        echo(&client, LINE);
        let calls = count_calls(&daemon, || (0..1000).for_each(|_| echo(&client, LINE)));
        println!("{} system calls for 1000 lines: {calls:?}", calls.total());
        assert!(calls.total() <= 3020, "{calls:?}");
        assert_eq!(calls.of("epoll_ctl"), 0, "{calls:?}");
    }
}

/// Nothing is spent on an accept that would block, nor on options that the listener
/// has passed on.
#[test]
#[ignore = "needs strace"]
fn a_connection_takes_one_accept_and_no_setsockopt() {
    let daemon = Daemon::start();
    let calls = count_calls(&daemon, || {
        (0..100).for_each(|_| echo(&daemon.connect(), LINE));
    });
    println!("system calls for 100 connections: {calls:?}");
    assert_eq!(calls.of("accept4"), 100, "{calls:?}");
    assert_eq!(calls.of("setsockopt"), 0, "{calls:?}");
}

#[test]
#[ignore = "needs strace"]
fn an_accept_pause_does_not_spin() {
    let daemon = Daemon::start_with(&["--max-connections", "1"]);
    let first = daemon.connect();
    echo(&first, LINE);
    let _waiting = daemon.connect_many(20);
    daemon.wait_for_record("accept paused: connection limit 1 reached");
    let calls = count_calls(&daemon, || thread::sleep(Duration::from_secs(2)));
    println!("system calls in a pause of 2 s: {calls:?}");
    assert!(calls.total() <= 10, "{calls:?}");
}

/// At the connection limit none of 1,000 listeners can accept. Shutdown checks each
/// backlog once, and takes no longer than draining does.
#[test]
#[ignore = "needs strace"]
fn shutdown_checks_each_of_many_listeners_once() {
    let mut args = vec!["--max-connections", "1", "--drain-timeout", "0"];
    args.extend(["-l", "127.0.0.1:0"].repeat(1000));
    let mut daemon = Daemon::start_with(&args);
    echo(&daemon.connect(), LINE);
    daemon.wait_for_closed(1);
    let client = daemon.connect();
    echo(&client, LINE);
    let calls = count_calls(&daemon, || {
        daemon.signal(Signal::TERM);
        daemon.wait_for_record("totals: ");
    });
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
    println!("system calls of the shutdown: {calls:?}");
    assert!(calls.of("poll") + calls.of("ppoll") < 20, "{calls:?}");
    assert!(calls.of("accept4") <= 1001, "{calls:?}");
}

#[test]
#[ignore = "needs strace"]
fn an_idle_daemon_sleeps_after_its_busy_poll_time() {
    let daemon = Daemon::start_with(&["--busy-poll", "1000"]);
    let client = daemon.connect();
    let calls = count_calls(&daemon, || {
        echo(&client, LINE);
        thread::sleep(Duration::from_millis(500));
    });
    assert!(calls.of("epoll_wait") > 3, "no busy polling: {calls:?}");
    let calls = count_calls(&daemon, || thread::sleep(Duration::from_secs(2)));
    // strace interrupts one call.
    assert!(calls.of("epoll_wait") <= 1, "{calls:?}");
    echo(&client, LINE);
}

#[test]
#[ignore = "needs strace"]
fn an_idle_daemon_makes_no_system_call() {
    let daemon = Daemon::start();
    let clients = daemon.connect_many(10);
    for client in &clients {
        echo(client, LINE);
    }
    let calls = count_calls(&daemon, || thread::sleep(Duration::from_secs(10)));
    println!("system calls in 10 s: {calls:?}");
    // strace interrupts one call.
    assert!(calls.of("epoll_wait") <= 1, "{calls:?}");
    assert_eq!(calls.total(), calls.of("epoll_wait"), "{calls:?}");
}

/// Instructions that the daemon executes, from start to exit, for `lines` ping-pong
/// lines.
fn instructions(lines: usize) -> u64 {
    let profile = Profile::new(&format!("server.{lines}"));
    let daemon = Daemon::spawn(profile.command().args(["--listen", "127.0.0.1:0"]));
    let client = daemon.connect();
    (0..lines).for_each(|_| echo(&client, LINE));
    drop(client);
    daemon.stop();
    profile.instructions()
}

/// A fifth of what tokio's line server takes (docs/performance.md).
#[test]
#[ignore = "needs valgrind and a release build"]
fn a_ping_pong_line_takes_at_most_400_instructions() {
    require_release_build();
    let per_line = (instructions(11_000) - instructions(1_000)) / 10_000;
    println!("{per_line} instructions per ping-pong line of 16 bytes");
    assert!(per_line <= 400, "{per_line}");
}

/// The kernel maps file pages in windows of 64 KiB around those that are used
/// (`do_fault_around` in mm/memory.c), and where the windows lie in a file depends on the
/// random address of its mapping. So one start takes up to 100 KiB more or less than another,
/// and the median of nine counts.
#[test]
#[ignore = "needs a release build"]
fn the_binary_and_its_memory_at_the_start_are_small() {
    require_release_build();
    let size = fs::metadata(BINARY).unwrap().len();
    let mut starts = [0; 9].map(|_| Daemon::start().rss());
    starts.sort_unstable();
    let rss = starts[4];
    println!("binary {size} bytes, RSS at the start {rss} bytes");
    assert!(size <= (16 << 20) / 10, "{size}");
    assert!(rss <= 3 << 20, "{rss}");
}

/// The first 2,000 do not count: until the slab is large, it lies in malloc's heap. That
/// grows in steps of 132 KiB, and whether one more is taken depends on what lies beside it.
#[test]
#[ignore = "needs 12,100 file descriptors and a release build"]
fn an_idle_connection_takes_at_most_144_bytes() {
    const CLIENTS: usize = 10_000;
    require_release_build();
    raise_fd_limit(CLIENTS + 2_100);
    let daemon = Daemon::start();
    let connect = || {
        let client = daemon.connect();
        echo(&client, b"hello\n");
        client
    };
    let mut clients: Vec<TcpStream> = (0..2_000).map(|_| connect()).collect();
    let before = daemon.rss();
    clients.extend((0..CLIENTS).map(|_| connect()));
    let growth = daemon.rss() - before;
    println!("{growth} bytes of RSS for {CLIENTS} idle connections, {before} before");
    assert!(growth <= 144 * CLIENTS, "{growth}");
}
