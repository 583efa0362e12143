//! The server behind a real haproxy that sends PROXY headers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Child, Command};

use crate::support::clients::{connect_from, echo};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;
use crate::support::sockets::tcp_counter;

/// A running haproxy on 127.0.0.1:4000. It is killed on drop.
struct Haproxy {
    child: Child,
    config: String,
}

const FRONTEND: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000));

impl Haproxy {
    /// Starts haproxy in front of `daemon`, with these options of the server line.
    fn start(daemon: &Daemon, options: &str) -> Haproxy {
        let config = format!(
            "{}/haproxy.{}.cfg",
            env!("CARGO_TARGET_TMPDIR"),
            daemon.pid()
        );
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen echo\n bind {FRONTEND}\n server echoline {} {options}\n",
            daemon.addr
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f", &config])
            .spawn()
            .expect("haproxy is installed");
        Haproxy { child, config }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
    }
}

/// The daemon's log shows the addresses of three clients, and never haproxy's.
fn assert_clients_are_named(options: &str) {
    let daemon = Daemon::start_with(&["--proxy-protocol", "-v"]);
    let haproxy = Haproxy::start(&daemon, options);
    // The connections that succeed are clients too.
    wait_until("HAProxy to listen", || TcpStream::connect(FRONTEND).is_ok());
    for last in 2..5 {
        let client = connect_from([127, 0, 0, last], FRONTEND);
        let local = client.local_addr().unwrap();
        echo(&client, b"hello\n");
        echo(&client, b"again\n");
        drop(client);
        let record = daemon.closing_record(local);
        assert!(
            record.contains("closed by peer: 2 lines, 12/12 bytes"),
            "{record}"
        );
        daemon.wait_for_record(&format!("{local} message: \"again\""));
    }
    drop(haproxy);
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains(" WARN ")), "{log:?}");
}

/// Ten health checks leave no warning, no line and no byte, and are no errors.
fn assert_checks_are_no_fault(options: &str, count: impl Fn(&Daemon) -> usize) {
    let daemon = Daemon::start_with(&["--proxy-protocol", "--max-per-ip", "3"]);
    let haproxy = Haproxy::start(&daemon, &format!("check inter 20ms {options}"));
    wait_until("ten health checks", || count(&daemon) >= 10);
    drop(haproxy);
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains(" WARN ")), "{log:?}");
    let totals = log.last().unwrap();
    assert!(totals.contains(" 0 lines, 0/0 bytes, "), "{totals}");
    for reason in ["proxy header", "error"] {
        assert!(!totals.contains(reason), "{totals}");
    }
}

#[test]
#[ignore = "needs haproxy, ip, unshare(1) and user namespaces"]
fn send_proxy_names_the_clients() {
    in_private_network(|| assert_clients_are_named("send-proxy"));
}

#[test]
#[ignore = "needs haproxy, ip, unshare(1) and user namespaces"]
fn send_proxy_v2_names_the_clients() {
    in_private_network(|| {
        assert_clients_are_named("send-proxy-v2");
        // With TLVs: a checksum and an id.
        assert_clients_are_named("send-proxy-v2 proxy-v2-options crc32c,unique-id");
    });
}

#[test]
#[ignore = "needs haproxy, ip, unshare(1) and user namespaces"]
fn health_checks_are_no_fault() {
    in_private_network(|| {
        // Without a header, HAProxy holds back the last ACK of the handshake and resets it.
        // The server sees the connection only if that comes late.
        assert_checks_are_no_fault("", |daemon| {
            daemon.closed_count() + tcp_counter("AttemptFails")
        });
        assert_checks_are_no_fault("send-proxy", Daemon::closed_count);
        assert_checks_are_no_fault("send-proxy-v2", Daemon::closed_count);
    });
}
