//! `--metrics`: what a scrape gets, and what it costs.

mod http;
mod prometheus;

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::Signal;

use crate::support::clients::{connect, echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::{wait_for, wait_until};
use crate::support::port::ReservedPort;
use crate::support::strace::count_calls;

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";

fn start(args: &[&str]) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start_with(&[&["--metrics", "127.0.0.1:0"], args].concat());
    let addr = metrics_addr(&daemon, "127.0.0.1");
    (daemon, addr)
}

/// The address in the record.
pub fn metrics_addr(daemon: &Daemon, ip: &str) -> SocketAddr {
    let record = daemon.wait_for_record(&format!("metrics on http://{ip}"));
    let (_, url) = record.split_once("http://").unwrap();
    url.strip_suffix("/metrics").unwrap().parse().unwrap()
}

/// Sends a request, and returns the whole response.
pub fn request(addr: SocketAddr, text: &str) -> String {
    let mut scraper = connect(addr);
    scraper.write_all(text.as_bytes()).unwrap();
    String::from_utf8(read_to_end(&scraper)).unwrap()
}

pub fn scrape(addr: SocketAddr) -> String {
    let response = request(addr, GET);
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// The value of a sample, named without its prefix.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let prefix = format!("echoline_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Scrapes until `name` has `expected`: the totals may be 100 ms old.
fn wait_for_value(addr: SocketAddr, name: &str, expected: &str) -> String {
    wait_for(&format!("{name} {expected}"), || {
        Some(scrape(addr)).filter(|text| value(text, name) == expected)
    })
}

/// Asserts that each accepted connection is open or closed; returns how many are open.
fn assert_all_are_counted(text: &str) -> u64 {
    let sum = |name: &str| -> u64 {
        let samples = text.lines().filter(|line| line.starts_with(name));
        let values = samples.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    let open = sum("echoline_connections_open ");
    let closed = sum("echoline_connections_closed_total{");
    assert_eq!(
        sum("echoline_connections_accepted_total "),
        open + closed,
        "{text}"
    );
    open
}

#[test]
fn accepted_connections_are_open_or_closed_also_while_they_await_a_header() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n";
    let (daemon, addr) = start(&["--proxy-protocol", "--max-per-ip", "1"]);
    let silent = [(); 7].map(|()| daemon.connect());
    let text = wait_for_value(addr, "connections_open", "7");
    assert_eq!(assert_all_are_counted(&text), 7);
    let mut first = daemon.connect();
    first.write_all(HEADER).unwrap();
    echo(&first, b"hello\n");
    for _ in 0..20 {
        assert_all_are_counted(&scrape(addr));
        let mut refused = daemon.connect();
        refused.write_all(HEADER).unwrap();
        assert!(read_to_end(&refused).is_empty());
        let mut malformed = daemon.connect();
        malformed.write_all(b"no header\n").unwrap();
        assert!(read_to_end(&malformed).is_empty());
        drop(malformed);
    }
    drop(silent);
    let text = wait_for_value(addr, "connections_open", "1");
    assert_eq!(assert_all_are_counted(&text), 1);
    assert_eq!(value(&text, "connections_refused_total"), "20");
    assert_eq!(value(&text, "connections_accepted_total"), "28");
}

/// The names of the daemon's threads.
fn threads(daemon: &Daemon) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let name = |task: &Path| fs::read_to_string(task.join("comm")).unwrap();
    let names = tasks.map(|task| name(&task.unwrap().path()).trim().to_owned());
    names.collect()
}

#[test]
fn without_the_option_there_is_one_thread() {
    let daemon = Daemon::start();
    echo(&daemon.connect(), b"hello\n");
    assert_eq!(threads(&daemon), ["echoline"]);
    let (daemon, _) = start(&[]);
    let with_metrics = HashSet::from(["echoline".to_owned(), "metrics".to_owned()]);
    wait_until("both threads", || {
        threads(&daemon).into_iter().collect::<HashSet<_>>() == with_metrics
    });
}

#[test]
fn a_scrape_has_the_counts_of_the_traffic() {
    let (daemon, addr) = start(&["--max-per-ip", "2", "--max-line", "8"]);
    let first = daemon.connect_accepted();
    echo(&first, b"one\n");
    echo(&first, b"two\n");
    drop(daemon.connect_accepted());
    daemon.wait_for_closed(1);
    let second = daemon.connect_accepted();
    assert!(read_to_end(&daemon.connect()).is_empty(), "refused");
    (&second).write_all(b"too long a line\n").unwrap();
    assert!(read_to_end(&second).is_empty());
    drop(second);
    let text = wait_for_value(addr, "connections_closed_total{reason=\"line_limit\"}", "1");
    for (name, expected) in [
        ("build_info{version=\"0.1.0\"}", "1"),
        ("connections_accepted_total", "3"),
        ("connections_open", "1"),
        ("connections_refused_total", "1"),
        ("connections_empty_total", "1"),
        ("connections_closed_total{reason=\"peer\"}", "1"),
        ("connections_closed_total{reason=\"error\"}", "0"),
        ("lines_total", "2"),
        ("received_bytes_total", "24"),
        ("sent_bytes_total", "8"),
        ("retransmitted_segments_total", "0"),
        ("accept_pauses_total", "0"),
        ("log_records_lost_total", "0"),
    ] {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    // A SYN, an ACK and a FIN at least of each, and the long line.
    let count = |name: &str| value(&text, name).parse::<u64>().unwrap();
    assert!(count("received_segments_total") >= 6, "{text}");
    assert_eq!(count("received_data_segments_total"), 1);
    assert!(count("sent_segments_total") >= 2, "{text}");
    assert_eq!(count("sent_data_segments_total"), 0);
}

#[test]
fn accept_pauses_and_lost_records_are_counted() {
    let (daemon, addr) = start(&["--max-connections", "1"]);
    let _open = daemon.connect_accepted();
    let _waiting = daemon.connect();
    wait_for_value(addr, "accept_pauses_total", "1");

    let mut command = Command::new(BINARY);
    let free = ReservedPort::new();
    let addr = free.addr;
    let args = ["-l", "127.0.0.1:0", "--metrics", &addr.to_string()];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Killed(command.args(args).stdout(full).spawn().unwrap());
    free.wait_for_listener(&mut child.0);
    // Until the loop runs the answer is 503.
    wait_until("the loop to run", || request(addr, GET).contains(" 200 OK"));
    // Those of the listener and of the metrics.
    wait_for_value(addr, "log_records_lost_total", "2");
    assert!(child.0.try_wait().unwrap().is_none());
}

#[test]
fn an_address_in_use_is_named_and_a_port_alone_is_both_families() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let output = Command::new(BINARY)
        .args(["-l", "127.0.0.1:0", "--metrics", &addr.to_string()])
        .output()
        .unwrap();
    let why =
        format!("echoline: cannot serve metrics on {addr}: Address already in use (os error 98)\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), why);
    assert_eq!(output.status.code(), Some(1));

    let daemon = Daemon::start_with(&["--metrics", "0"]);
    let any = metrics_addr(&daemon, "0.0.0.0");
    scrape(SocketAddr::from(([127, 0, 0, 1], any.port())));
}

/// Idle connections, slow heads and heads without an end, all held open.
#[test]
fn hostile_scrapers_hold_up_neither_the_echo_nor_a_scrape() {
    let (daemon, addr) = start(&[]);
    let client = daemon.connect();
    echo(&client, b"before\n");
    let fds = daemon.fd_count();
    let hostile: Vec<TcpStream> = (0..210)
        .map(|i| {
            let mut scraper = connect(addr);
            let head = match i {
                ..200 => String::new(),
                200..205 => "GET /metrics HT".to_owned(),
                _ => format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 16)),
            };
            // The server may have closed the connection.
            let _ = scraper.write_all(head.as_bytes());
            scraper
        })
        .collect();
    echo(&client, b"meanwhile\n");
    wait_for_value(addr, "lines_total", "2");
    assert!(daemon.fd_count() <= fds + 8);
    echo(&client, b"after\n");
    drop(hostile);
    wait_until("the descriptors to be closed", || daemon.fd_count() == fds);
}

#[test]
fn descriptors_are_kept_for_scrapes_at_the_connection_limit() {
    let daemon = Daemon::start_with_fd_limit(64, "--metrics 127.0.0.1:0");
    let addr = metrics_addr(&daemon, "127.0.0.1");
    let _clients = daemon.connect_many(64);
    daemon.wait_for_record("accept paused: connection limit");
    let _idle: Vec<TcpStream> = (0..20).map(|_| connect(addr)).collect();
    let open = wait_for_value(addr, "accept_pauses_total", "1");
    let open: usize = value(&open, "connections_open").parse().unwrap();
    assert!((30..64).contains(&open), "{open}");
}

#[test]
fn a_request_that_never_ends_is_closed_in_the_end() {
    let (daemon, addr) = start(&[]);
    let fds = daemon.fd_count();
    let mut scraper = connect(addr);
    scraper.write_all(b"GET /metrics HT").unwrap();
    match scraper.read(&mut [0]) {
        Ok(0) => {}
        other => assert_eq!(other.unwrap_err().kind(), ErrorKind::ConnectionReset),
    }
    daemon.assert_nothing_leaked(fds);
}

#[test]
fn a_scraper_that_never_finishes_does_not_delay_the_exit() {
    let (daemon, addr) = start(&["--drain-timeout", "1000"]);
    let mut slow = connect(addr);
    slow.write_all(b"GET /metrics HT").unwrap();
    scrape(addr); // The thread has seen both.
    daemon.stop();
}

/// The metrics show the drain.
#[test]
fn the_metrics_are_served_while_the_server_drains() {
    let (mut daemon, addr) = start(&["--drain-timeout", "1000"]);
    let client = daemon.connect_accepted();
    daemon.signal(Signal::TERM);
    assert!(read_to_end(&client).is_empty());
    wait_for_value(addr, "connections_open", "1");
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

#[test]
#[ignore = "needs strace"]
fn a_scrape_costs_the_loop_one_wake_up() {
    const SCRAPES: usize = 10;
    let (daemon, addr) = start(&[]);
    scrape(addr);
    let mut answers = HashSet::new();
    // strace traces the thread that it attaches to: that of the loop.
    let calls = count_calls(&daemon, || {
        while answers.len() < SCRAPES {
            answers.insert(value(&scrape(addr), "uptime_seconds").to_owned());
        }
    });
    println!("{calls:?} for {SCRAPES} answers");
    // A poll each, and the wake-up of the thread that waits. The first answer may be from
    // before.
    assert!(calls.of("epoll_wait") <= SCRAPES + 1, "{calls:?}");
    assert!(calls.total() <= 2 * SCRAPES + 1, "{calls:?}");
    assert!(calls.total() >= SCRAPES - 1, "{calls:?}");
}

/// Is killed on drop.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}
