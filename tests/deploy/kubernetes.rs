//! The Kubernetes manifest.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use crate::repository;
use crate::support::clients::{connect, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_until;

/// The value of a field, of which the manifest has one with this text before it.
fn field<'a>(manifest: &'a str, before: &str) -> &'a str {
    let (_, rest) = manifest.split_once(before).expect("the field");
    rest.lines().next().unwrap().trim().trim_matches('"')
}

/// Path and port of each probe.
fn probes(manifest: &str) -> Vec<(&str, &str, &str)> {
    ["startup", "readiness", "liveness"]
        .map(|kind| {
            let (_, probe) = manifest.split_once(&format!("{kind}Probe:\n")).unwrap();
            let (_, probe) = probe.split_once("httpGet:\n").unwrap();
            (kind, field(probe, "path: "), field(probe, "port: "))
        })
        .to_vec()
}

/// With the variables of the manifest but for the ports, which the kernel chooses.
#[test]
fn the_server_of_the_manifest_answers_its_probes() {
    let manifest = fs::read_to_string(repository("deploy/kubernetes/echoline.yaml")).unwrap();
    let port = field(&manifest, "- name: metrics\n              containerPort: ");
    let metrics = field(&manifest, "- name: ECHOLINE_METRICS\n              value: ");
    assert_eq!(metrics, format!(":{port}"));
    let expected = [
        ("startup", "/healthz", "metrics"),
        ("readiness", "/readyz", "metrics"),
        ("liveness", "/healthz", "metrics"),
    ];
    assert_eq!(probes(&manifest), expected);

    let mut command = Command::new(BINARY);
    command.envs([
        ("ECHOLINE_LISTEN", "127.0.0.1:0"),
        ("ECHOLINE_METRICS", ":0"),
    ]);
    for name in [
        "ECHOLINE_DRAIN_TIMEOUT",
        "ECHOLINE_NO_LOG_EMPTY",
        "ECHOLINE_MAX_CONNECTIONS",
    ] {
        let value = field(&manifest, &format!("- name: {name}\n              value: "));
        command.env(name, value);
    }
    let daemon = Daemon::spawn(&mut command);
    let record = daemon.wait_for_record("metrics on http://0.0.0.0:");
    let (_, url) = record.split_once("http://").unwrap();
    let addr: SocketAddr = url.strip_suffix("/metrics").unwrap().parse().unwrap();
    for (_, path, _) in expected {
        // What the kubelet sends.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 10.0.0.1:{port}\r\nUser-Agent: kube-probe/1.33\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        );
        wait_until(path, || {
            get(addr.port(), &request).starts_with("HTTP/1.1 200 OK\r\n")
        });
    }
}

fn get(port: u16, request: &str) -> String {
    let mut probe = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    probe.write_all(request.as_bytes()).unwrap();
    String::from_utf8(read_to_end(&probe)).unwrap()
}
