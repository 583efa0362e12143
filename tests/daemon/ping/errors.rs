//! Usage errors and servers that cannot be reached: one line on stderr each.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use super::program::{Finished, Ping};

/// Runs ping, asserts the exit status, and that only stderr has a line.
fn fail(addr: &str, options: &str, status: i32) -> String {
    let finished = Ping::spawn_at(addr, options).wait_for_exit();
    let Finished { stdout, stderr, .. } = &finished;
    assert_eq!(finished.status, Some(status), "{finished:?}");
    assert_eq!(stdout, "", "{finished:?}");
    assert_eq!(stderr.lines().count(), 1, "{finished:?}");
    let message = stderr
        .strip_prefix("echoline: ")
        .expect("the program's name");
    message.trim_end().to_owned()
}

#[test]
fn values_out_of_range_are_usage_errors() {
    for options in [
        "-c 0",
        "-c x",
        "-s 0",
        "-i -1",
        "-i nan",
        "-w x",
        "-W 0",
        "-W 0.0001",
        "--burst 0",
        "--connections 0",
        "--expect-packets x",
        "--no-such-option",
        "-4 -6",
        "--prefix a --count-prefixes",
        "--open-loop -i 0",
        "--skip-lines x",
        "--proxy-header v3",
        "--proxy-header v1=localhost:1",
    ] {
        let message = fail("127.0.0.1:1", options, 2);
        assert!(message.ends_with("(see echoline --help)"), "{message}");
    }
}

#[test]
fn a_proxy_header_for_a_client_of_another_family_is_a_usage_error() {
    for (addr, options) in [
        ("127.0.0.1:1", "--proxy-header v1=[2001:db8::1]:1"),
        ("[::1]:1", "--proxy-header v2=192.0.2.1:1"),
        ("localhost:1", "--proxy-header v2=192.0.2.1:1 -6"),
    ] {
        let message = fail(addr, options, 2);
        let why = format!("--proxy-header needs a client of the family of {addr}");
        assert!(message.starts_with(&why), "{message}");
    }
}

#[test]
fn a_malformed_address_is_a_usage_error() {
    let message = fail("localhost", "", 2);
    let why = "invalid value 'localhost' for '<HOST:PORT>': not of the form HOST:PORT";
    assert!(message.starts_with(why), "{message}");
}

/// An address to which no socket listens: one socket is bound to it.
fn refusing_addr() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any_port.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

#[test]
fn a_refused_connection_is_named() {
    let (_bound, addr) = refusing_addr();
    for options in ["", "-q", "--json", "--connections 3 -i 0"] {
        let message = fail(&addr.to_string(), options, 3);
        let expected = format!("cannot connect to {addr}: Connection refused (os error 111)");
        assert_eq!(message, expected);
    }
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let message = fail("no-such-host.invalid:3000", "", 3);
    let start = "cannot resolve no-such-host.invalid:3000: ";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn an_address_of_the_other_family_is_named() {
    let message = fail("127.0.0.1:3000", "-6", 3);
    assert_eq!(message, "127.0.0.1:3000 has no IPv6 address");
    let message = fail("[::1]:3000", "-4", 3);
    assert_eq!(message, "[::1]:3000 has no IPv4 address");
}
