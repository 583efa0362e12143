//! The daemon's memory: bounded, and given back.

use std::io::Write;
use std::net::TcpStream;

use crate::support::clients::echo;
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;
use crate::support::process::raise_fd_limit;

const MIB: usize = 1 << 20;

/// Each of 1,000 clients sends 60 KiB of an unfinished line.
#[test]
fn memory_is_bounded_and_given_back() {
    const CLIENTS: usize = 1000;
    const PART: usize = 60 * 1024;
    raise_fd_limit(CLIENTS + 100);
    let daemon = Daemon::start();
    echo(&daemon.connect(), b"warm\n");
    let before = daemon.rss();
    let part = vec![b'x'; PART];
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = daemon.connect();
            client.write_all(&part).unwrap();
            client
        })
        .collect();
    wait_until("the parts to be read", || {
        daemon.rss() > before + CLIENTS * PART * 9 / 10
    });
    let growth = daemon.rss() - before;
    assert!(growth < CLIENTS * (2 * PART + 4096), "{growth} bytes");
    drop(clients);
    wait_until("the memory to be given back", || {
        daemon.rss() < before + 4 * MIB
    });
}

/// There is one timer of each kind per slot, which the next connection in the slot inherits. One
/// timer per connection, 50 bytes, would be half a MiB here.
#[test]
fn closed_connections_leave_no_timers_behind() {
    assert_sessions_leave_nothing(&["--idle-timeout", "1000000"], b"");
    assert_sessions_leave_nothing(
        &["--proxy-protocol", "--proxy-timeout", "1000000"],
        b"PROXY UNKNOWN\r\n",
    );
}

fn assert_sessions_leave_nothing(args: &[&str], header: &[u8]) {
    let daemon = Daemon::start_with(args);
    let session = || {
        let mut client = daemon.connect();
        client.write_all(header).unwrap();
        echo(&client, b"hello\n");
    };
    (0..100).for_each(|_| session());
    let before = daemon.rss();
    (0..10_000).for_each(|_| session());
    let growth = daemon.rss().saturating_sub(before);
    assert!(growth < MIB / 4, "{args:?}: {growth} bytes");
}
