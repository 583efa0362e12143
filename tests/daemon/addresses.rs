//! The addresses that `--listen` names, and their backlogs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clients::{connect, echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_for;

/// Waits until the daemon listens on `count` addresses; returns them.
fn listen_addrs(daemon: &Daemon, count: usize) -> Vec<SocketAddr> {
    wait_for("the listeners", || {
        let addrs: Vec<SocketAddr> = daemon
            .log()
            .iter()
            .filter_map(|line| line.split_once("listening on ")?.1.parse().ok())
            .collect();
        (addrs.len() == count).then_some(addrs)
    })
}

#[test]
fn localhost_listens_on_ipv4_and_ipv6() {
    let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", "localhost:0"]));
    let addrs = listen_addrs(&daemon, 2);
    assert_eq!(addrs[0].ip().to_string(), "127.0.0.1");
    assert_eq!(addrs[1].ip().to_string(), "::1");
    for addr in addrs {
        assert_ne!(addr.port(), 0);
        let client = connect(addr);
        echo(&client, b"hello\n");
        let local = client.local_addr().unwrap();
        daemon.wait_for_record(&format!("{local} connected"));
    }
}

#[test]
fn a_port_alone_listens_on_all_addresses_of_both_families() {
    for addr in [":0", "0"] {
        let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", addr]));
        let addrs = listen_addrs(&daemon, 2);
        assert_eq!(addrs[0].ip().to_string(), "0.0.0.0");
        assert_eq!(addrs[1].ip().to_string(), "::");
        for (ip, listener) in [("127.0.0.2", addrs[0]), ("::1", addrs[1])] {
            let addr = SocketAddr::new(ip.parse().unwrap(), listener.port());
            echo(&connect(addr), b"hello\n");
        }
    }
}

#[test]
fn every_address_that_is_given_is_listened_on() {
    let daemon = Daemon::start_with(&["-l", "127.0.0.1:0", "-l", "127.0.0.2:0", "-l", "[::1]:0"]);
    for addr in listen_addrs(&daemon, 4) {
        echo(&connect(addr), b"hello\n");
    }
}

/// `[::]` does not accept IPv4, so a listener on 0.0.0.0 can have the same port.
#[test]
fn ipv4_and_ipv6_wildcards_are_two_listeners() {
    let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
    let addr = format!("[::]:{}", v4.local_addr().unwrap().port());
    let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", &addr]));
    let loopback = SocketAddr::new("::1".parse().unwrap(), daemon.addr.port());
    echo(&connect(loopback), b"hello\n");
}

#[test]
fn a_port_in_time_wait_can_be_listened_on_again() {
    let mut daemon = Daemon::start();
    let addr = daemon.addr.to_string();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    // The server sends the first FIN, so its socket goes to TIME_WAIT.
    daemon.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    assert!(daemon.wait_for_exit().success());
    let again = Daemon::spawn(Command::new(BINARY).args(["--listen", &addr]));
    echo(&again.connect(), b"hello\n");
}

#[test]
fn the_backlog_holds_more_than_a_thousand_clients() {
    let daemon = Daemon::start();
    daemon.signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..1200)
        .map(|_| {
            let timeout = Duration::from_secs(5);
            TcpStream::connect_timeout(&daemon.addr, timeout).expect("the backlog has space")
        })
        .collect();
    daemon.signal(Signal::CONT);
    daemon.wait_for_record("(1200 open)");
    drop(clients);
}

#[test]
#[ignore = "needs unshare(1) and user namespaces"]
fn localhost_works_without_ipv6() {
    let script = "ip link set lo up && \
                  echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 && \
                  exec \"$0\" --listen localhost:0";
    let daemon = Daemon::spawn(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
            .arg(BINARY),
    );
    let log = daemon.stop();
    let listening = log.iter().filter(|l| l.contains("listening on")).count();
    assert_eq!(listening, 1, "{log:?}");
}
