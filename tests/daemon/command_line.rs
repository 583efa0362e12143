//! Options, error messages and exit statuses.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::support::daemon::BINARY;
use crate::support::process::without_inherited_settings;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    without_inherited_settings(command.args(args))
        .output()
        .unwrap()
}

/// Asserts the exit status, and that stderr is one line with `message`.
fn assert_fails(args: &[&str], status: i32, message: &str) {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("echoline: {message}\n"), "{args:?}");
    assert_eq!(output.status.code(), Some(status), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let why = format!("cannot listen on {addr}: Address already in use (os error 98)");
    assert_fails(&["--listen", &addr], 1, &why);
    assert_fails(&["-l", "127.0.0.1:0", "-l", &addr], 1, &why);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let why = "cannot listen on 192.0.2.1:3000: Cannot assign requested address (os error 99)";
    assert_fails(&["--listen", "192.0.2.1:3000"], 1, why);
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
fn a_name_that_does_not_resolve_is_named() {
    let output = run(&["--listen", "no-such-host.invalid:3000"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let start = "echoline: cannot resolve no-such-host.invalid:3000: ";
    assert!(stderr.starts_with(start), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn malformed_addresses_are_usage_errors() {
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
        assert_fails(&["--listen", addr], 2, &why);
    }
}

#[test]
fn a_max_line_out_of_range_is_a_usage_error() {
    for (value, why) in [
        ("0", "it is not in 1..=1073741824"),
        ("-1", "it is negative"),
        ("1073741825", "it is not in 1..=1073741824"),
        ("many", "it is not a whole number"),
        ("64k", "it is not a whole number"),
        ("99999999999999999999", "it is too large"),
    ] {
        let why = format!(
            "invalid value '{value}' for '--max-line <BYTES>': {why} (see echoline --help)"
        );
        assert_fails(&["--max-line", value], 2, &why);
        assert_fails(&[&format!("--max-line={value}")], 2, &why);
    }
}

#[test]
fn a_prefix_with_a_newline_or_over_1024_bytes_is_a_usage_error() {
    let option = "for '--prefix <TEXT>'";
    let why = format!("invalid value 'a\\nb' {option}: it has a newline (see echoline --help)");
    assert_fails(&["--prefix", "a\nb"], 2, &why);
    let text = "é".repeat(513);
    let why = "it has 1026 bytes, over 1024 (see echoline --help)";
    let why = format!("invalid value '{text}' {option}: {why}");
    assert_fails(&["--prefix", &text], 2, &why);
}

#[test]
fn a_keepalive_over_32767_seconds_is_a_usage_error() {
    let why = "invalid value '32768' for '--keepalive <SECS>': it is not a whole number of seconds from 1 to 32767";
    let why = format!("{why} (see echoline --help)");
    assert_fails(&["--keepalive", "32768"], 2, &why);
}

/// `-4` is an option of ping, and not a negative number that stands for its argument.
#[test]
fn options_may_stand_before_and_after_an_argument() {
    for args in [["ping", "-4", "[::1]:1"], ["ping", "[::1]:1", "-4"]] {
        assert_fails(&args, 3, "[::1]:1 has no IPv4 address");
    }
    let both = "the argument '--ipv4' cannot be used with '--ipv6' (see echoline --help)";
    assert_fails(&["ping", "-4", "-6", "[::1]:1"], 2, both);
    for subcommand in ["ping", "packets"] {
        let why = "unexpected argument '-5' found (see echoline --help)";
        assert_fails(&[subcommand, "-5"], 2, why);
    }
}

#[test]
fn unknown_and_conflicting_options_are_usage_errors() {
    let see = "(see echoline --help)";
    assert_fails(
        &["--bogus"],
        2,
        &format!("unexpected argument '--bogus' found {see}"),
    );
    assert_fails(
        &["3000"],
        2,
        &format!("unrecognized subcommand '3000' {see}"),
    );
    let why = "the argument '--quiet' cannot be used with '--verbose...'";
    assert_fails(&["-q", "-v"], 2, &format!("{why} {see}"));
}

#[test]
fn an_error_stays_on_one_line_whatever_the_argument() {
    let why = "invalid value 'a\\nb:1' for '--listen <HOST:PORT>': not a host name, an IPv4 address or an IPv6 address in brackets (see echoline --help)";
    assert_fails(&["--listen", "a\nb:1"], 2, why);
}

#[test]
fn too_few_descriptors_at_the_start_are_named() {
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
