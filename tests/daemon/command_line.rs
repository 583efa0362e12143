//! Options, addresses, errors and exit codes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::{BINARY, Daemon, connect, echo, wait_for};

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

/// Asserts that the daemon ends with `status` and says `why` in one line.
fn fails(args: &[&str], status: i32, why: &str) {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("echoline: {why}\n"), "{args:?}");
    assert_eq!(output.status.code(), Some(status), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let why = format!("cannot listen on {addr}: Address already in use (os error 98)");
    fails(&["--listen", &addr], 1, &why);
    fails(&["-l", "127.0.0.1:0", "-l", &addr], 1, &why);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let why = "cannot listen on 192.0.2.1:3000: Cannot assign requested address (os error 99)";
    fails(&["--listen", "192.0.2.1:3000"], 1, why);
}

#[test]
#[ignore = "needs unshare(1) and user namespaces"]
fn a_port_without_permission_is_named() {
    let output = Command::new("unshare")
        .args(["--user", "--map-user=1000", "--net", BINARY])
        .args(["--listen", "0.0.0.0:7"])
        .output()
        .unwrap();
    let why = "echoline: cannot listen on 0.0.0.0:7: Permission denied (os error 13)\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), why);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[ignore = "needs unshare(1) and user namespaces"]
fn localhost_does_without_a_family_that_the_machine_lacks() {
    let script = "ip link set lo up && \
                  echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 && \
                  exec \"$0\" --listen localhost:0";
    let daemon = Daemon::spawn(
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", script])
            .arg(BINARY),
    );
    let log = daemon.stop();
    let listening = log.iter().filter(|l| l.contains("listening on")).count();
    assert_eq!(listening, 1, "{log:?}");
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let output = run(&["--listen", "no-such-host.invalid:3000"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let start = "echoline: cannot resolve no-such-host.invalid:3000: ";
    assert!(stderr.starts_with(start), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn malformed_addresses_are_wrong_usage() {
    for (addr, why) in [
        ("localhost", "not of the form HOST:PORT"),
        ("localhost:http", "the port is not a number from 0 to 65535"),
        (
            "::1:3000",
            "not a host name, an IPv4 address or an IPv6 address in brackets",
        ),
    ] {
        let why = format!(
            "invalid value '{addr}' for '--listen <HOST:PORT>': {why} (see echoline --help)"
        );
        fails(&["--listen", addr], 2, &why);
    }
}

#[test]
fn a_bad_max_line_is_wrong_usage() {
    for (value, why) in [
        ("0", "0 is not in 1..=1073741824"),
        ("-1", "-1 is not in 1..=1073741824"),
        ("1073741825", "1073741825 is not in 1..=1073741824"),
        ("many", "invalid digit found in string"),
        ("64k", "invalid digit found in string"),
    ] {
        let why = format!(
            "invalid value '{value}' for '--max-line <BYTES>': {why} (see echoline --help)"
        );
        fails(&["--max-line", value], 2, &why);
        fails(&[&format!("--max-line={value}")], 2, &why);
    }
}

#[test]
fn a_rust_log_that_is_not_a_level_is_wrong_usage() {
    for level in ["verbose", "echoline=debug", "3"] {
        let mut command = Command::new(BINARY);
        // Were the level taken, the address would be refused.
        command.args(["-l", "192.0.2.1:0"]).env("RUST_LOG", level);
        let output = command.output().unwrap();
        let why = format!(
            "echoline: invalid value '{level}' for RUST_LOG: not one of off, error, warn, info, debug, trace\n"
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), why);
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn unknown_and_contradicting_options_are_wrong_usage() {
    let see = "(see echoline --help)";
    fails(
        &["--bogus"],
        2,
        &format!("unexpected argument '--bogus' found {see}"),
    );
    fails(
        &["3000"],
        2,
        &format!("unexpected argument '3000' found {see}"),
    );
    let why = "the argument '--quiet' cannot be used with '--verbose...'";
    fails(&["-q", "-v"], 2, &format!("{why} {see}"));
}

#[test]
fn an_error_stays_on_one_line_whatever_the_argument() {
    let why = "invalid value 'a\\nb:1' for '--listen <HOST:PORT>': not a host name, an IPv4 address or an IPv6 address in brackets (see echoline --help)";
    fails(&["--listen", "a\nb:1"], 2, why);
}

#[test]
fn a_lack_of_descriptors_at_the_start_is_named() {
    for limit in 5..9 {
        let script = format!("ulimit -n {limit}; exec \"$0\" --listen localhost:0");
        let output = Command::new("sh").args(["-c", &script, BINARY]).output();
        let output = output.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("echoline: cannot "), "{limit}: {stderr}");
        assert!(
            stderr.ends_with(": Too many open files (os error 24)\n"),
            "{stderr}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn help_and_version_are_on_stdout() {
    let help = run(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    let text = String::from_utf8(help.stdout).unwrap();
    for option in [
        "--listen",
        "--max-line",
        "--verbose",
        "--quiet",
        "Exit status",
    ] {
        assert!(text.contains(option), "{text}");
    }
    assert_eq!(run(&["-h"]).stdout, text.as_bytes());
    let version = run(&["-V"]);
    let expected = concat!("echoline ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version.stdout, expected.as_bytes());
}

fn listening(daemon: &Daemon, count: usize) -> Vec<SocketAddr> {
    wait_for("the listeners", || {
        let addrs: Vec<SocketAddr> = daemon
            .log()
            .iter()
            .filter_map(|line| line.split_once("listening on ")?.1.parse().ok())
            .collect();
        (addrs.len() == count).then_some(addrs)
    })
}

#[test]
fn localhost_listens_on_ipv4_and_ipv6() {
    let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", "localhost:0"]));
    let addrs = listening(&daemon, 2);
    assert_eq!(addrs[0].ip().to_string(), "127.0.0.1");
    assert_eq!(addrs[1].ip().to_string(), "::1");
    for addr in addrs {
        assert_ne!(addr.port(), 0);
        let client = connect(addr);
        echo(&client, b"hello\n");
        let local = client.local_addr().unwrap();
        daemon.wait_for_record(&format!("{local} connected"));
    }
}

#[test]
fn a_port_alone_listens_on_all_addresses_of_both_families() {
    for addr in [":0", "0"] {
        let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", addr]));
        let addrs = listening(&daemon, 2);
        assert_eq!(addrs[0].ip().to_string(), "0.0.0.0");
        assert_eq!(addrs[1].ip().to_string(), "::");
        for (ip, listener) in [("127.0.0.2", addrs[0]), ("::1", addrs[1])] {
            let addr = SocketAddr::new(ip.parse().unwrap(), listener.port());
            echo(&connect(addr), b"hello\n");
        }
    }
}

#[test]
fn several_addresses_are_all_listened_on() {
    let daemon = Daemon::start_with(&["-l", "127.0.0.1:0", "-l", "127.0.0.2:0", "-l", "[::1]:0"]);
    for addr in listening(&daemon, 4) {
        echo(&connect(addr), b"hello\n");
    }
}

/// `[::]` takes no IPv4, so both can have the same port.
#[test]
fn ipv4_and_ipv6_wildcards_are_two_listeners() {
    let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
    let addr = format!("[::]:{}", v4.local_addr().unwrap().port());
    let daemon = Daemon::spawn(Command::new(BINARY).args(["--listen", &addr]));
    echo(
        &connect(SocketAddr::new("::1".parse().unwrap(), daemon.addr.port())),
        b"hello\n",
    );
}

#[test]
fn a_port_can_be_listened_on_again_at_once() {
    let mut daemon = Daemon::start();
    let addr = daemon.addr.to_string();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    // The server finishes first, so its side of the port is in TIME_WAIT.
    daemon.signal(Signal::TERM);
    assert_eq!(crate::support::read_to_end(&client), b"");
    drop(client);
    assert!(daemon.wait_for_exit().success());
    let again = Daemon::spawn(Command::new(BINARY).args(["--listen", &addr]));
    echo(&again.connect(), b"hello\n");
}

#[test]
fn the_backlog_holds_more_than_a_thousand_clients() {
    let daemon = Daemon::start();
    daemon.signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..1200)
        .map(|_| {
            let timeout = std::time::Duration::from_secs(5);
            TcpStream::connect_timeout(&daemon.addr, timeout).expect("the backlog takes it")
        })
        .collect();
    daemon.signal(Signal::CONT);
    daemon.wait_for_record("(1200 open)");
    drop(clients);
}
