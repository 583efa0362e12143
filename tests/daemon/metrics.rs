//! `--metrics`: what a scrape gets, and what it costs.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::clients::{connect, echo, read_to_end, wait_for_data};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::{wait_for, wait_until};
use crate::support::namespace::in_private_network;
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
    let free = free_addr();
    let args = ["-l", "127.0.0.1:0", "--metrics", &free.to_string()];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Killed(command.args(args).stdout(full).spawn().unwrap());
    wait_until("the metrics", || TcpStream::connect(free).is_ok());
    // Until the loop runs the answer is 503.
    wait_until("the loop to run", || request(free, GET).contains(" 200 OK"));
    // Those of the listener and of the metrics.
    wait_for_value(free, "log_records_lost_total", "2");
    assert!(child.0.try_wait().unwrap().is_none());
}

/// A scrape with this header.
fn scrape_with(addr: SocketAddr, header: &str) -> String {
    let response = request(
        addr,
        &format!("GET /metrics HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n"),
    );
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    response
}

#[test]
fn the_accept_header_chooses_open_metrics() {
    let (_daemon, addr) = start(&[]);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let response = scrape_with(addr, accept);
    let content_type =
        "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(response.contains(content_type), "{response}");
    assert!(response.contains("\n# TYPE echoline_lines counter\necholine_lines_total 0\n"));
    assert!(response.ends_with("\n# EOF\n"));
    let text = scrape(addr);
    assert!(text.contains("\n# TYPE echoline_lines_total counter\necholine_lines_total 0\n"));
}

#[test]
fn open_metrics_that_is_not_wanted_is_not_sent() {
    let (_daemon, addr) = start(&[]);
    for accept in [
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.5, text/plain",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-textual",
        "text/plain;a=\"application/openmetrics-text\"",
    ] {
        let response = scrape_with(addr, &format!("Accept: {accept}"));
        let content_type = "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
        assert!(response.contains(content_type), "{accept}: {response}");
    }
}

/// RFC 9112, section 3.2.2.
#[test]
fn an_absolute_target_is_served() {
    let (_daemon, addr) = start(&[]);
    let target = format!("http://{addr}/metrics?a");
    let response = request(
        addr,
        &format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\n\r\n"),
    );
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(
        response.contains("\necholine_lines_total 0\n"),
        "{response}"
    );
}

/// RFC 9112, section 3.2.
#[test]
fn a_request_of_http_1_1_has_one_host() {
    let (_daemon, addr) = start(&[]);
    for (start, status) in [
        ("GET /metrics HTTP/1.1\r\n", "400 Bad Request"),
        (
            "GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            "400 Bad Request",
        ),
        ("GET /metrics HTTP/1.1\r\nHost: a b\r\n", "400 Bad Request"),
        ("GET /metrics HTTP/1.0\r\n", "200 OK"),
    ] {
        let response = request(addr, &format!("{start}\r\n"));
        let expected = format!("HTTP/1.1 {status}\r\n");
        assert!(response.starts_with(&expected), "{start}: {response}");
    }
}

#[test]
fn head_has_no_body_and_other_paths_and_methods_are_refused() {
    let (_daemon, addr) = start(&[]);
    let head = request(addr, "HEAD /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"));
    for (text, status) in [
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", "404 Not Found"),
        (
            "POST /metrics HTTP/1.1\r\nHost: test\r\n\r\n",
            "405 Method Not Allowed\r\nAllow: GET, HEAD",
        ),
        ("hello\n", "400 Bad Request"),
    ] {
        let response = request(addr, text);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{response}"
        );
    }
}

/// The head has 8 KiB and a byte, its empty line included.
#[test]
fn the_limit_on_the_head_does_not_depend_on_how_it_was_cut() {
    let (_daemon, addr) = start(&[]);
    let start = "GET /metrics HTTP/1.1\r\nHost: test\r\nX: ";
    let head_of = |len: usize| format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4));
    for cut in [1, 4096, 8190, 8191, 8192, 8193] {
        for (len, status) in [(8192, b"HTTP/1.1 200 "), (8193, b"HTTP/1.1 431 ")] {
            let (head, mut scraper) = (head_of(len), connect(addr));
            let (first, rest) = head.split_at(cut.min(len));
            scraper.write_all(first.as_bytes()).unwrap();
            // The thread has read the first part: two turns of its loop, with 4 KiB each.
            scrape(addr);
            scrape(addr);
            let _ = scraper.write_all(rest.as_bytes()); // The response may have come.
            let response = read_to_end(&scraper);
            assert!(response.starts_with(status), "{len} bytes cut at {cut}");
        }
    }
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

/// What the scraper sends after the response is discarded, and does not reset the
/// connection before the scraper has read.
#[test]
fn a_head_that_is_too_long_is_refused_without_a_reset() {
    let (_daemon, addr) = start(&[]);
    let mut scraper = connect(addr);
    let head = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 14));
    scraper.write_all(head.as_bytes()).unwrap();
    wait_for_data(&scraper);
    scrape(addr);
    scraper.write_all(b"the rest").unwrap();
    scrape(addr);
    scraper.write_all(b" and more").unwrap();
    let response = read_to_end(&scraper);
    assert!(response.starts_with(b"HTTP/1.1 431 "), "{response:?}");
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

#[test]
#[ignore = "needs promtool (Debian's prometheus)"]
fn promtool_accepts_the_metrics() {
    let (daemon, addr) = start(&[]);
    echo(&daemon.connect(), b"hello\n");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(scrape(addr).as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let findings = String::from_utf8_lossy(&output.stderr);
    assert_eq!(findings, "");
    assert_eq!(output.status.code(), Some(0));
}

/// Prometheus asks for `OpenMetrics`, and parses it strictly.
#[test]
#[ignore = "needs prometheus, unshare(1) and user namespaces"]
fn prometheus_scrapes_the_metrics() {
    in_private_network(|| {
        let (daemon, addr) = start(&[]);
        let client = daemon.connect();
        (0..7).for_each(|_| echo(&client, b"hello\n"));
        let prometheus = Prometheus::start(addr);
        wait_until("the scrape", || prometheus.query("up") == "1");
        assert_eq!(prometheus.query("echoline_lines_total"), "7");
        assert_eq!(
            prometheus.query("echoline_build_info{version=\"0.1.0\"}"),
            "1"
        );
        let of_type = prometheus.api("metadata?metric=echoline_lines");
        assert_eq!(
            of_type["echoline_lines"][0]["type"], "counter",
            "OpenMetrics"
        );
    });
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

fn free_addr() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// Prometheus with a scrape per second.
struct Prometheus {
    process: Killed,
    dir: String,
    addr: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Prometheus {
    fn start(target: SocketAddr) -> Prometheus {
        let dir = format!(
            "{}/prometheus.{}",
            env!("CARGO_TARGET_TMPDIR"),
            std::process::id()
        );
        fs::create_dir_all(&dir).unwrap();
        let config = format!("{dir}/prometheus.yml");
        let text = format!(
            "scrape_configs: [{{job_name: echoline, scrape_interval: 1s, scrape_timeout: 1s, \
             static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).unwrap();
        let addr = free_addr();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={config}"))
            .arg(format!("--storage.tsdb.path={dir}/data"))
            .arg(format!("--web.listen-address={addr}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let process = Killed(process);
        wait_until("Prometheus", || TcpStream::connect(addr).is_ok());
        Prometheus { process, dir, addr }
    }

    /// The `data` of an answer of the HTTP API.
    fn api(&self, call: &str) -> Value {
        let call = call
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D");
        let response = request(self.addr, &format!("GET /api/v1/{call} HTTP/1.0\r\n\r\n"));
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap_or_default();
        answer["data"].take()
    }

    /// The value of the first series that `query` finds; empty if there is none.
    fn query(&self, query: &str) -> String {
        let data = self.api(&format!("query?query={query}"));
        let value = data["result"][0]["value"][1].as_str();
        value.unwrap_or_default().to_owned()
    }
}
