//! Processes that share a port (`--reuse-port`).

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clients::{connect, echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::namespace::in_private_network;
use crate::support::port::ReservedPort;
use crate::support::sessions::sessions_until;

fn start(listen: &str) -> Daemon {
    Daemon::spawn(Command::new(BINARY).args(["--listen", listen, "--reuse-port"]))
}

fn output(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

/// Asserts the exit status, and that stderr is one line with `message`.
fn assert_fails(output: &Output, status: i32, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, format!("echoline: {message}\n"));
    assert_eq!(output.status.code(), Some(status));
}

/// Connects until each of `daemons` has accepted a connection.
fn connect_until_all_accepted(addr: SocketAddr, daemons: &[&Daemon]) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    let has_one = |daemon: &&Daemon| daemon.log().iter().any(|line| line.contains("(1 open)"));
    while !daemons.iter().all(has_one) {
        // The kernel chooses by a hash: 2^-200 is the chance of a miss.
        assert!(clients.len() < 200, "one process gets no connection");
        let client = connect(addr);
        echo(&client, b"hello\n");
        clients.push(client);
    }
    clients
}

#[test]
fn two_processes_share_a_port_and_both_get_connections() {
    let port = ReservedPort::new();
    let addr = port.addr;
    let daemons = [start(&addr.to_string()), start(&addr.to_string())];
    connect_until_all_accepted(addr, &[&daemons[0], &daemons[1]]);
}

#[test]
fn two_processes_share_both_addresses_of_localhost() {
    let port = ReservedPort::new();
    let listen = format!("localhost:{}", port.addr.port());
    let daemons = [start(&listen), start(&listen)];
    for ip in ["127.0.0.1", "[::1]"] {
        let addrs = daemons.each_ref().map(|daemon| daemon.listen_addr(ip));
        assert_eq!(addrs[0], addrs[1]);
        echo(&connect(addrs[0]), b"hello\n");
    }
}

#[test]
fn a_port_is_shared_only_if_both_processes_have_the_option() {
    let in_use =
        |addr: &str| format!("cannot listen on {addr}: Address already in use (os error 98)");
    let port = ReservedPort::new();
    let sharing = start(&port.addr.to_string());
    let addr = sharing.addr.to_string();
    assert_fails(&output(&["--listen", &addr]), 1, &in_use(&addr));
    let alone = Daemon::start();
    let addr = alone.addr.to_string();
    let second = output(&["--listen", &addr, "--reuse-port"]);
    assert_fails(&second, 1, &in_use(&addr));
}

#[test]
fn a_port_that_the_kernel_chooses_is_not_shared() {
    let why = "--reuse-port cannot be used with port 0, for which each process gets a port of its own (see echoline --help)";
    let args = ["-l", "127.0.0.1:3000", "-l", "localhost:0", "--reuse-port"];
    assert_fails(&output(&args), 2, why);
}

#[test]
fn a_process_that_stops_drains_and_leaves_the_other_serving() {
    let port = ReservedPort::new();
    let addr = port.addr;
    let (mut first, second) = (start(&addr.to_string()), start(&addr.to_string()));
    let clients = connect_until_all_accepted(addr, &[&first, &second]);
    first.signal(Signal::TERM);
    // Then the log has all connections that it will have.
    first.wait_for_record("SIGTERM: stopping");
    let accepted_by_first = |client: &&TcpStream| {
        let local = client.local_addr().unwrap();
        let connected = format!("{local} connected");
        first.log().iter().any(|line| line.contains(&connected))
    };
    let (drained, kept): (Vec<_>, Vec<_>) = clients.iter().partition(accepted_by_first);
    for client in &drained {
        assert_eq!(read_to_end(client), b"");
    }
    assert!(!drained.is_empty() && !kept.is_empty());
    for client in kept {
        echo(client, b"hello\n");
    }
    drop(clients);
    assert_eq!(first.wait_for_exit().code(), Some(0));
    (0..20).for_each(|_| echo(&connect(addr), b"hello\n"));
}

/// The final ACK of a handshake is dropped, as if it were late; the client's first line
/// carries the next one. Nothing listens to a SYN that comes meanwhile.
#[test]
#[ignore = "needs unshare(1), ip(8), nft and user namespaces"]
fn a_process_that_stops_completes_handshakes_and_begins_none() {
    in_private_network(|| {
        let mut first = start("127.0.0.1:3000");
        for command in [
            "add table inet test",
            "add chain inet test input { type filter hook input priority 0 ; }",
            "add rule inet test input tcp dport 3000 tcp flags & (syn | psh) == 0x0 drop",
        ] {
            let status = Command::new("nft").args(command.split(' ')).status();
            assert!(status.expect("nft is installed").success());
        }
        let client = first.connect();
        first.signal(Signal::TERM);
        first.wait_for_record("SIGTERM: stopping (0 open)");
        let late = TcpStream::connect_timeout(&first.addr, Duration::from_millis(50));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        echo(&client, b"hello\n");
        assert_eq!(read_to_end(&client), b"");
        assert_eq!(first.wait_for_exit().code(), Some(0));
    });
}

/// 500 sessions per second, while the older of two processes is replaced 20 times.
fn replace_twenty_times(migrate_requests: &str) {
    fs::write("/proc/sys/net/ipv4/tcp_migrate_req", migrate_requests).unwrap();
    let addr = "127.0.0.1:3000";
    let mut daemons = vec![start(addr), start(addr)];
    let (stop, addr) = (AtomicBool::new(false), daemons[0].addr);
    let sessions = thread::scope(|scope| {
        let sessions = scope.spawn(|| sessions_until(&stop, addr, 500, Duration::from_millis(20)));
        for _ in 0..20 {
            daemons.push(start(&addr.to_string()));
            let mut oldest = daemons.remove(0);
            oldest.signal(Signal::TERM);
            assert_eq!(oldest.wait_for_exit().code(), Some(0));
        }
        stop.store(true, Ordering::Relaxed);
        sessions.join().unwrap()
    });
    let failed: Vec<_> = sessions.iter().filter(|s| !s.is_echoed()).collect();
    let late = sessions
        .iter()
        .filter(|s| s.took_longer_than(Duration::from_millis(500)));
    let (all, late) = (sessions.len(), late.count());
    println!(
        "{all} sessions, {} failed, {late} had to repeat their SYN",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(sessions.len() > 1000);
}

#[test]
#[ignore = "needs unshare(1), ip(8) and user namespaces"]
fn twenty_replacements_refuse_no_client_and_lose_no_line() {
    in_private_network(|| replace_twenty_times("0"));
}

#[test]
#[ignore = "needs unshare(1), ip(8) and user namespaces"]
fn twenty_replacements_with_migration_refuse_no_client_and_lose_no_line() {
    in_private_network(|| replace_twenty_times("1"));
}
