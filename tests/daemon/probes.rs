//! `/healthz` and `/readyz` beside the metrics.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::metrics::{metrics_addr, request};
use crate::support::clients::{connect, echo, read_to_end, received_nothing};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;

const PROBES: [&str; 2] = ["/healthz", "/readyz"];

fn start(args: &[&str]) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start_with(&[&["--metrics", "127.0.0.1:0"], args].concat());
    let addr = metrics_addr(&daemon, "127.0.0.1");
    (daemon, addr)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Status and body of the response.
fn probe(addr: SocketAddr, path: &str) -> (String, String) {
    verdict(&request(addr, &get(path)))
}

fn verdict(response: &str) -> (String, String) {
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    let status = head.lines().next().unwrap();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap();
    (status.to_owned(), body.to_owned())
}

fn healthy() -> (String, String) {
    ("200 OK".to_owned(), "ok\n".to_owned())
}

fn unavailable(why: &str) -> (String, String) {
    let status = "503 Service Unavailable";
    (status.to_owned(), format!("{why}\n"))
}

/// Until the loop runs, just after the start, the answer is 503.
fn wait_for_loop(addr: SocketAddr) {
    wait_until("the loop to run", || probe(addr, "/healthz") == healthy());
}

#[test]
fn a_server_that_runs_is_healthy_and_ready() {
    let (_daemon, addr) = start(&[]);
    wait_for_loop(addr);
    for path in PROBES {
        assert_eq!(probe(addr, path), healthy(), "{path}");
        let head = format!("HEAD {path}?verbose HTTP/1.0\r\n\r\n");
        let (status, body) = verdict(&request(addr, &head));
        assert_eq!((&*status, &*body), ("200 OK", ""));
        let post = format!("POST {path} HTTP/1.0\r\n\r\n");
        let (status, _) = verdict(&request(addr, &post));
        assert_eq!(status, "405 Method Not Allowed");
    }
}

/// Quiet clients have all places: killing the server would cost them their connections,
/// and another one would be no better.
#[test]
fn a_server_without_a_free_place_is_healthy_and_ready() {
    let (daemon, addr) = start(&["--max-connections", "1"]);
    let client = daemon.connect_accepted();
    let _waiting = daemon.connect();
    daemon.wait_for_record("accept paused: connection limit");
    for path in PROBES {
        assert_eq!(probe(addr, path), healthy(), "{path}");
    }
    echo(&client, b"hello\n");
}

#[test]
fn a_server_that_drains_is_healthy_and_not_ready() {
    let (mut daemon, addr) = start(&["--drain-timeout", "1000"]);
    let client = daemon.connect_accepted();
    wait_for_loop(addr);
    daemon.signal(Signal::TERM);
    daemon.wait_for_record("SIGTERM: stopping (1 open)");
    for _ in 0..3 {
        let stopping = unavailable("the server stops");
        assert_eq!(probe(addr, "/readyz"), stopping);
        assert_eq!(probe(addr, "/healthz"), healthy());
    }
    assert!(read_to_end(&client).is_empty());
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

/// Sends a probe, then asks for a page that does not exist. Returns whether the page was
/// answered while the probe waited.
fn is_served_beside_a_probe(addr: SocketAddr) -> bool {
    let waiting = send(addr, "/healthz");
    let (status, _) = probe(addr, "/");
    assert_eq!(status, "404 Not Found");
    received_nothing(&waiting)
}

fn send(addr: SocketAddr, path: &str) -> TcpStream {
    let mut scraper = connect(addr);
    scraper.write_all(get(path).as_bytes()).unwrap();
    scraper
}

fn response(scraper: &TcpStream) -> (String, String) {
    verdict(&String::from_utf8(read_to_end(scraper)).unwrap())
}

#[test]
fn a_stuck_loop_is_unhealthy_and_holds_up_no_other_exchange() {
    let (daemon, addr) = start(&[]);
    wait_for_loop(addr);
    daemon.while_loop_is_held(|| {
        // The first probes may get the answer of before.
        wait_until("a page beside a probe", || is_served_beside_a_probe(addr));
        let paths = ["/healthz", "/readyz", "/metrics", "/healthz"];
        let waiting = paths.map(|path| send(addr, path));
        for scraper in waiting {
            let late = unavailable("the loop has not answered within 1 s");
            assert_eq!(response(&scraper), late);
        }
    });
    wait_for_loop(addr);
    assert_eq!(probe(addr, "/readyz"), healthy());
}

#[test]
fn probers_that_have_gone_leave_nothing_behind() {
    let (daemon, addr) = start(&[]);
    wait_for_loop(addr);
    let fds = daemon.fd_count();
    daemon.while_loop_is_held(|| {
        for _ in 0..20 {
            drop(send(addr, "/healthz"));
        }
        assert_eq!(probe(addr, "/").0, "404 Not Found");
    });
    wait_for_loop(addr);
    wait_until("the descriptors to be closed", || daemon.fd_count() == fds);
}
