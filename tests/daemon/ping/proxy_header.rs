//! `--proxy-header`, against the daemon, which logs the client that a header names.

use std::io::Read;
use std::net::TcpListener;

use super::ping;
use super::program::Ping;
use crate::support::daemon::Daemon;

#[test]
fn the_client_that_is_named_is_in_the_servers_log() {
    let daemon = Daemon::start_with(&["--proxy-protocol"]);
    for version in ["v1", "v2"] {
        let options = format!("-c 3 -i 0 --proxy-header {version}=192.0.2.1:56324");
        ping(daemon.addr, &options)
            .assert_exits(0)
            .assert_prints("3 lines sent, 3 echoed, 0 wrong, 0 lost\n");
    }
    daemon.wait_for_closed(2);
    let closing = "192.0.2.1:56324 closed by peer: 3 lines, ";
    let log = daemon.log();
    let named = log.iter().filter(|line| line.contains(closing)).count();
    assert_eq!(named, 2, "{log:?}");
}

/// localhost has addresses of both families; that of the client's is used.
#[test]
fn an_ipv6_client_is_named_to_an_ipv6_server() {
    let daemon = Daemon::start_with(&["--proxy-protocol", "--listen", "[::1]:0"]);
    let addr = format!("localhost:{}", daemon.listen_addr("[::1]").port());
    for version in ["v1", "v2"] {
        let options = format!("-c 1 --proxy-header {version}=[2001:db8::1]:56324");
        Ping::spawn_at(&addr, &options)
            .wait_for_exit()
            .assert_exits(0);
    }
    daemon.wait_for_closed(2);
    let closing = "[2001:db8::1]:56324 closed by peer: 1 line, ";
    let log = daemon.log();
    let named = log.iter().filter(|line| line.contains(closing)).count();
    assert_eq!(named, 2, "{log:?}");
}

#[test]
fn without_a_client_the_connection_is_the_senders_own() {
    let daemon = Daemon::start_with(&["--proxy-protocol"]);
    for version in ["v1", "v2"] {
        let options = format!("-c 1 --half-close --proxy-header {version}");
        ping(daemon.addr, &options).assert_exits(0);
    }
    daemon.wait_for_closed(2);
    let log = daemon.log();
    let own = |line: &&String| line.contains("127.0.0.1:") && line.contains(" closed by peer: ");
    assert_eq!(log.iter().filter(own).count(), 2, "{log:?}");
}

#[test]
fn each_connection_begins_with_the_header() {
    let daemon = Daemon::start_with(&["--proxy-protocol"]);
    for options in ["--connections 4 -i 0.001", "--connections 4 -i 0 -c 2"] {
        ping(daemon.addr, &format!("{options} --proxy-header v2"))
            .assert_exits(0)
            .assert_prints("4 connections: 4 closed cleanly by the server, ");
    }
}

#[test]
fn the_destination_is_the_servers_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let options = "-c 1 -s 1 -W 30 --proxy-header v1=192.0.2.1:56324";
    let running = Ping::spawn(addr, options);
    let (mut stream, _) = listener.accept().unwrap();
    let port = addr.port();
    let sent = format!("PROXY TCP4 192.0.2.1 127.0.0.1 56324 {port}\r\n\n");
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(
        received.escape_ascii().to_string(),
        sent.escape_default().to_string()
    );
    drop(stream);
    running.wait_for_exit().assert_exits(1);
}
