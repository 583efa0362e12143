//! Figures that do not vary: system calls, instructions, bytes.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{BINARY, Daemon, connect, echo, raise_fd_limit, strace};

const LINE: &[u8] = b"fifteen bytes..\n";

/// Runs `strace -c` on the daemon while `work` is done, and returns the calls
/// by name, with how often each was made.
fn count_calls(daemon: &Daemon, work: impl FnOnce()) -> Vec<(String, usize)> {
    let table = strace(daemon, &["-c", "-U", "name,calls"], work);
    let calls = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, count) = (fields.next()?, fields.next()?.parse().ok()?);
        (name != "total").then(|| (name.to_owned(), count))
    });
    calls.collect()
}

#[test]
#[ignore = "needs strace"]
fn a_ping_pong_line_takes_three_system_calls_and_no_epoll_ctl() {
    for args in [&[][..], &["--idle-timeout", "60"]] {
        let daemon = Daemon::start_with(args);
        let client = daemon.connect();
        echo(&client, LINE);
        let calls = count_calls(&daemon, || (0..1000).for_each(|_| echo(&client, LINE)));
        let total: usize = calls.iter().map(|(_, count)| count).sum();
        println!("{total} system calls for 1000 lines: {calls:?}");
        assert!(total <= 3020, "{calls:?}");
        let has_epoll_ctl = calls.iter().any(|(name, _)| name == "epoll_ctl");
        assert!(!has_epoll_ctl, "{calls:?}");
    }
}

#[test]
#[ignore = "needs strace"]
fn paused_accepting_does_not_spin() {
    let daemon = Daemon::start_with(&["--max-connections", "1"]);
    let first = daemon.connect();
    echo(&first, LINE);
    let waiting: Vec<TcpStream> = (0..20).map(|_| daemon.connect()).collect();
    daemon.wait_for_record("accept paused: connection limit 1 reached");
    let calls = count_calls(&daemon, || std::thread::sleep(Duration::from_secs(2)));
    println!("system calls in 2 s of pause: {calls:?}");
    assert!(
        calls.iter().map(|(_, count)| count).sum::<usize>() <= 10,
        "{calls:?}"
    );
    drop(waiting);
}

/// At the limit on connections, nothing can be accepted from 1,000 listeners: one
/// look at them is enough, and stopping takes no longer than draining does.
#[test]
#[ignore = "needs strace"]
fn stopping_does_not_look_at_many_listeners_many_times() {
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
    let count = |name| {
        calls
            .iter()
            .find(|call| call.0 == name)
            .map_or(0, |call| call.1)
    };
    println!("system calls of the stop: {calls:?}");
    assert!(count("poll") + count("ppoll") < 20, "{calls:?}");
    assert!(count("accept4") <= 1001, "{calls:?}");
}

/// Busy polling is for when there is something to poll for.
#[test]
#[ignore = "needs strace"]
fn an_idle_daemon_sleeps_although_it_may_poll_busily() {
    let daemon = Daemon::start_with(&["--busy-poll", "1000"]);
    let client = daemon.connect();
    let calls = count_calls(&daemon, || {
        echo(&client, LINE);
        // 1 ms is long over, and then there is nothing for two seconds.
        std::thread::sleep(Duration::from_millis(500));
    });
    let polls = |calls: Vec<(String, usize)>| -> usize {
        let polls = calls.into_iter().filter(|(name, _)| name == "epoll_wait");
        polls.map(|(_, count)| count).sum()
    };
    assert!(polls(calls) > 3, "it did poll busily");
    let calls = count_calls(&daemon, || std::thread::sleep(Duration::from_secs(2)));
    assert!(polls(calls) <= 1, "one that strace interrupted");
    echo(&client, LINE);
}

#[test]
#[ignore = "needs strace"]
fn an_idle_daemon_makes_no_system_call() {
    let daemon = Daemon::start();
    let clients: Vec<TcpStream> = (0..10).map(|_| daemon.connect()).collect();
    for client in &clients {
        echo(client, LINE);
    }
    let calls = count_calls(&daemon, || std::thread::sleep(Duration::from_secs(10)));
    // The one call that strace interrupted when it came and went.
    let made: Vec<_> = calls
        .iter()
        .filter(|(name, count)| !(name == "epoll_wait" && *count <= 1))
        .collect();
    println!("system calls in 10 s: {calls:?}");
    assert!(made.is_empty(), "{calls:?}");
}

/// The instructions that the daemon takes for `lines` ping-pong lines.
fn instructions(lines: usize) -> u64 {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let out = format!("{dir}/callgrind.{}.{lines}", std::process::id());
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", &format!("--callgrind-out-file={out}")])
        .args(["-q", BINARY, "--listen", "127.0.0.1:0"]);
    let daemon = Daemon::spawn(&mut command);
    let client = daemon.connect();
    (0..lines).for_each(|_| echo(&client, LINE));
    drop(client);
    daemon.stop();
    let profile = fs::read_to_string(&out).unwrap();
    fs::remove_file(&out).unwrap();
    let total = profile.lines().find_map(|l| l.strip_prefix("totals: "));
    total.unwrap().trim().parse().unwrap()
}

/// A fifth of what tokio's line server takes (docs/performance.md).
#[test]
#[ignore = "needs valgrind and a release build"]
fn a_ping_pong_line_takes_at_most_300_instructions() {
    needs_release_build();
    let per_line = (instructions(11_000) - instructions(1_000)) / 10_000;
    println!("{per_line} instructions per ping-pong line of 16 bytes");
    assert!(per_line <= 300, "{per_line}");
}

#[test]
#[ignore = "needs a release build"]
fn the_binary_and_its_memory_at_the_start_are_small() {
    needs_release_build();
    let size = fs::metadata(BINARY).unwrap().len();
    let daemon = Daemon::start();
    let rss = daemon.rss();
    println!("binary {size} bytes, RSS at the start {rss} bytes");
    assert!(size <= 3 << 19, "{size}");
    assert!(rss <= 3 << 20, "{rss}");
}

#[test]
#[ignore = "needs 10,100 file descriptors and a release build"]
fn an_idle_connection_takes_at_most_144_bytes() {
    const CLIENTS: usize = 10_000;
    needs_release_build();
    raise_fd_limit(CLIENTS + 100);
    let daemon = Daemon::start();
    let first = daemon.connect();
    echo(&first, b"hello\n");
    let before = daemon.rss();
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let client = connect(daemon.addr);
            echo(&client, b"hello\n");
            client
        })
        .collect();
    let grown = daemon.rss() - before;
    println!("{grown} bytes of RSS for {CLIENTS} idle connections");
    drop(clients);
    assert!(grown <= 144 * CLIENTS, "{grown}");
}

fn needs_release_build() {
    let release = !cfg!(debug_assertions);
    assert!(release, "run with --release");
}
