//! Prometheus and its tools.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Killed, request, scrape, start};
use crate::support::clients::echo;
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;
use crate::support::port::ReservedPort;

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
        let port = ReservedPort::new();
        let addr = port.addr;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={config}"))
            .arg(format!("--storage.tsdb.path={dir}/data"))
            .arg(format!("--web.listen-address={addr}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let mut process = Killed(process);
        port.wait_for_listener(&mut process.0);
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
