//! Requests of the metrics: which are served, and in which format.

use std::io::Write;
use std::net::SocketAddr;

use super::{request, scrape, start};
use crate::support::clients::{connect, read_to_end, wait_for_data};

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
