//! `echoline health`: what it says of servers that are well, and of those that are not.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::metrics::metrics_addr;
use crate::support::clients::{echo, read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;
use crate::support::process::without_inherited_settings;

/// Exit status, stdout and stderr.
type Outcome = (i32, String, String);

fn health_with(variables: &[(&str, &str)], args: &[&str]) -> Outcome {
    let mut command = Command::new(BINARY);
    command
        .arg("health")
        .args(args)
        .envs(variables.iter().copied());
    let output = without_inherited_settings(&mut command).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().expect("an exit");
    (status, text(output.stdout), text(output.stderr))
}

fn health(args: &[&str]) -> Outcome {
    health_with(&[], args)
}

fn healthy(why: &str) -> Outcome {
    (0, format!("healthy: {why}\n"), String::new())
}

fn unhealthy(why: &str) -> Outcome {
    (1, String::new(), format!("echoline: unhealthy: {why}\n"))
}

fn usage_error(why: &str) -> Outcome {
    (2, String::new(), format!("echoline: {why}\n"))
}

fn start_with_metrics(args: &[&str]) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start_with(&[&["--metrics", "127.0.0.1:0"], args].concat());
    let metrics = metrics_addr(&daemon, "127.0.0.1");
    (daemon, metrics)
}

/// Serves one connection with `serve`.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    addr
}

/// Sends `bytes` one by one, which takes them 5 s and more, until the client has gone.
fn drip(mut stream: &TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(400));
    }
}

#[test]
fn one_line_is_sent_as_the_options_of_the_server_want_it() {
    for (options, record) in [
        (&[][..], "1 line, 16/16 bytes"),
        (&["--prefix", "a: "], "1 line, 16/19 bytes"),
        (&["--proxy-protocol"], "1 line, 16/16 bytes"),
        (&["--max-line", "1"], "1 line, 1/1 bytes"),
        (
            &["--proxy-protocol", "--prefix", "a: ", "--max-line", "7"],
            "1 line, 7/10 bytes",
        ),
    ] {
        let daemon = Daemon::start_with(options);
        let addr = daemon.addr.to_string();
        let args = [options, &["--listen", &addr, "-l", "192.0.2.1:3000"]].concat();
        assert_eq!(health(&args), healthy(&format!("{addr} echoes")));
        daemon.wait_for_record(&format!("closed by peer: {record}"));
    }
}

#[test]
fn the_variables_are_those_of_the_server() {
    let variables = [
        ("ECHOLINE_PREFIX", "a: "),
        ("ECHOLINE_PROXY_PROTOCOL", "1"),
        ("ECHOLINE_MAX_CONNECTIONS", "7"),
        ("ECHOLINE_NO_SUCH_OPTION", "1"),
    ];
    let mut command = Command::new(BINARY);
    let daemon = Daemon::spawn(
        command
            .envs(variables)
            .env("ECHOLINE_LISTEN", "127.0.0.1:0"),
    );
    let addr = daemon.addr.to_string();
    let listen = ("ECHOLINE_LISTEN", &*addr);
    let with = |more| [&variables[..], &[listen, more]].concat();
    let expected = healthy(&format!("{addr} echoes"));
    assert_eq!(health_with(&with(("ECHOLINE_METRICS", "")), &[]), expected);
    // The command line overrides.
    let bad = with(("ECHOLINE_MAX_LINE", "0"));
    assert_eq!(health_with(&bad, &["--max-line", "8"]), expected);
    let why = "invalid value '0' for ECHOLINE_MAX_LINE: it is not in 1..=1073741824 (see echoline --help)";
    assert_eq!(health_with(&bad, &[]), usage_error(why));
}

#[test]
fn a_wildcard_is_loopback_of_its_family() {
    for (ip, loopback) in [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")] {
        let any_port = format!("{ip}:0");
        let mut command = Command::new(BINARY);
        let daemon = Daemon::spawn(command.args(["-l", &any_port, "--metrics", &any_port]));
        let port = daemon.addr.port();
        let expected = healthy(&format!("{loopback}:{port} echoes"));
        assert_eq!(health(&["-l", &format!("{ip}:{port}")]), expected);
        let port = metrics_addr(&daemon, ip).port();
        let url = format!("http://{loopback}:{port}/healthz");
        let expected = healthy(&format!("{url}: 200 OK: ok"));
        assert_eq!(health(&["--metrics", &format!("{ip}:{port}")]), expected);
    }
    let daemon = Daemon::start();
    let expected = healthy(&format!("{} echoes", daemon.addr));
    assert_eq!(
        health(&["-l", &format!(":{}", daemon.addr.port())]),
        expected
    );
}

/// Quiet clients have all places. The echo has to wait for one, `/healthz` has not.
#[test]
fn with_metrics_no_free_place_is_needed() {
    let (daemon, metrics) = start_with_metrics(&["--max-connections", "1"]);
    let addr = daemon.addr.to_string();
    let client = daemon.connect_accepted();
    let url = format!("http://{metrics}/healthz");
    let expected = healthy(&format!("{url}: 200 OK: ok"));
    assert_eq!(
        health(&["-l", &addr, "--metrics", &metrics.to_string()]),
        expected
    );
    // The address of the metrics is the only one that has to be known.
    assert_eq!(
        health(&["-l", "0", "--metrics", &metrics.to_string()]),
        expected
    );
    let why = format!("no echo from {addr} within 2 s");
    assert_eq!(health(&["-l", &addr]), unhealthy(&why));
    echo(&client, b"hello\n");
}

#[test]
fn a_server_that_drains_is_well() {
    let (mut daemon, metrics) = start_with_metrics(&["--drain-timeout", "1000"]);
    let client = daemon.connect_accepted();
    daemon.signal(Signal::TERM);
    assert!(read_to_end(&client).is_empty());
    let (status, ..) = health(&["--metrics", &metrics.to_string()]);
    assert_eq!(status, 0);
    drop(client);
    assert_eq!(daemon.wait_for_exit().code(), Some(0));
}

#[test]
fn a_server_whose_loop_is_stuck_is_not_well() {
    let (daemon, metrics) = start_with_metrics(&[]);
    let (addr, metrics) = (daemon.addr.to_string(), metrics.to_string());
    daemon.while_loop_is_held(|| {
        let why = format!("no echo from {addr} within 2 s");
        assert_eq!(health(&["-l", &addr]), unhealthy(&why));
        let why = "503 Service Unavailable: the loop has not answered within 1 s";
        let why = unhealthy(&format!("http://{metrics}/healthz: {why}"));
        // On a busy machine the response may take longer than the check.
        wait_until("a response of 503", || {
            health(&["--metrics", &metrics]) == why
        });
    });
    assert_eq!(health(&["--metrics", &metrics]).0, 0);
    // SIGSTOP stops the thread of the metrics too.
    daemon.signal(Signal::STOP);
    let why = format!("no response from http://{metrics}/healthz within 2 s");
    assert_eq!(health(&["--metrics", &metrics]), unhealthy(&why));
    daemon.signal(Signal::CONT);
}

#[test]
fn port_0_is_a_usage_error() {
    for (args, option) in [
        (&["-l", "127.0.0.1:0"][..], "--listen 127.0.0.1:0"),
        (&["-l", "0", "-l", "3000"], "--listen :0"),
        (&["--metrics", "localhost:0"], "--metrics localhost:0"),
    ] {
        let why = "cannot be checked, as the kernel chooses its port (see echoline health --help)";
        assert_eq!(health(args), usage_error(&format!("{option} {why}")));
    }
}

#[test]
fn a_server_that_does_not_listen_is_not_well() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    drop(free);
    for option in ["--listen", "--metrics"] {
        let why = format!("cannot connect to {addr}: Connection refused (os error 111)");
        assert_eq!(health(&[option, &addr]), unhealthy(&why));
    }
}

/// Its backlog is full, so the kernel drops the SYN.
#[test]
fn a_connect_that_hangs_ends_after_2_s() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let filling = [(); 4].map(|()| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&addr); // In progress.
        client
    });
    let addr = addr.as_socket().unwrap().to_string();
    let why = format!("cannot connect to {addr} within 2 s");
    assert_eq!(health(&["-l", &addr]), unhealthy(&why));
    drop(filling);
}

/// glibc would wait for 10 s (resolv.conf(5)).
#[test]
#[ignore = "needs unshare(1) and user namespaces"]
fn a_name_server_that_is_silent_ends_the_check_after_2_s() {
    in_private_network(|| {
        let _silent = UdpSocket::bind("127.0.0.1:53").unwrap();
        let conf = concat!(env!("CARGO_TARGET_TMPDIR"), "/health.resolv.conf");
        fs::write(conf, "nameserver 127.0.0.1\n").unwrap();
        // For this thread and the programs that it starts.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(Some(conf), "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
        let why = "cannot resolve echo.example:3000 within 2 s";
        assert_eq!(health(&["-l", "echo.example:3000"]), unhealthy(why));
    });
}

/// Each byte comes in time, but the whole would take longer than the check may.
#[test]
fn the_time_is_that_of_the_whole_check() {
    let addr = server(|stream| drip(&stream, b"echoline health\n"));
    let why = format!("no echo from {addr} within 2 s");
    assert_eq!(health(&["-l", &addr]), unhealthy(&why));
    let addr = server(|stream| drip(&stream, b"HTTP/1.1 200 OK\r\n\r\n"));
    let why = format!("no response from http://{addr}/healthz within 2 s");
    assert_eq!(health(&["--metrics", &addr]), unhealthy(&why));
}

#[test]
fn what_comes_back_wrong_is_shown_on_one_line() {
    let reply = |bytes: &'static [u8]| {
        server(move |mut stream| {
            let _ = stream.read(&mut [0; 256]);
            stream.write_all(bytes).unwrap();
        })
    };
    let addr = reply(b"echoline\n\x1b[0m");
    let why = format!("wrong echo from {addr}: \"echoline\\n\\x1b[0m\"");
    assert_eq!(health(&["-l", &addr]), unhealthy(&why));
    let addr = reply(b"echoline");
    let why = format!("no echo from {addr}: the connection was closed");
    assert_eq!(health(&["-l", &addr]), unhealthy(&why));
    let addr = reply(b"hello\n");
    let why = format!("no HTTP response from http://{addr}/healthz");
    assert_eq!(health(&["--metrics", &addr]), unhealthy(&why));
    let addr = reply(b"HTTP/1.1 404 Not Found\r\n\r\none\ntwo\n");
    let why = format!("http://{addr}/healthz: 404 Not Found: one");
    assert_eq!(health(&["--metrics", &addr]), unhealthy(&why));
}
