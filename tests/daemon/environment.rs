//! Options from environment variables.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::support::clients::{echo, read_to_end, send_and_read_to_end};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::process::without_inherited_settings;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn start(variables: Variables, args: &[&str]) -> Daemon {
    let mut command = Command::new(BINARY);
    command.envs(variables.iter().copied()).args(args);
    Daemon::spawn(&mut command)
}

/// Runs the server with an address that it cannot have, so that it ends in any case.
fn fail(variables: Variables) -> Output {
    let mut command = Command::new(BINARY);
    command
        .envs(variables.iter().copied())
        .args(["--listen", "192.0.2.1:3000"]);
    without_inherited_settings(&mut command).output().unwrap()
}

#[track_caller]
fn assert_is_usage_error(output: &Output, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = format!("echoline: {message} (see echoline --help)\n");
    assert_eq!(stderr, expected);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

/// Names of the variables that the log calls unknown.
fn unknown_variables(log: &[String]) -> Vec<&str> {
    let unknown = " WARN  [echoline] unknown environment variable ";
    let name = |record: &'_ String| record.find(unknown).map(|at| at + unknown.len());
    let names = log
        .iter()
        .filter_map(|record| Some(&record[name(record)?..]));
    names.collect()
}

#[test]
fn variables_set_addresses_numbers_switches_and_counts() {
    let variables = [
        ("ECHOLINE_LISTEN", "127.0.0.1:0,127.0.0.2:0"),
        ("ECHOLINE_MAX_LINE", "8"),
        ("ECHOLINE_NO_LOG_EMPTY", "1"),
        ("ECHOLINE_VERBOSE", "1"),
    ];
    let daemon = start(&variables, &[]);
    daemon.wait_for_record("listening on 127.0.0.2:");
    drop(daemon.connect());
    let received = send_and_read_to_end(&daemon.connect(), b"7 bytes\n8 bytes.\n");
    assert_eq!(received, b"7 bytes\n");
    let log = daemon.stop();
    let count = |part: &str| log.iter().filter(|record| record.contains(part)).count();
    assert_eq!(count(" INFO  [echoline] 127.0.0.1:"), 2, "{log:?}");
    assert_eq!(count(" message: "), 1, "{log:?}");
}

#[test]
fn variables_complete_the_command_line() {
    let variables = [
        ("ECHOLINE_LISTEN", "127.0.0.1:0"),
        ("ECHOLINE_MAX_LINE", "8"),
    ];
    let daemon = start(&variables, &["-v", "--max-per-ip", "1"]);
    let client = daemon.connect();
    echo(&client, b"7 bytes\n");
    daemon.wait_for_record("message: \"7 bytes\"");
    assert_eq!(read_to_end(&daemon.connect()), b"");
    assert_eq!(send_and_read_to_end(&client, b"8 bytes.\n"), b"");
}

#[test]
fn the_command_line_overrides_variables() {
    let variables = [
        ("ECHOLINE_LISTEN", "192.0.2.1:3000"),
        ("ECHOLINE_MAX_LINE", "8"),
        ("ECHOLINE_QUIET", "true"),
    ];
    let args = ["--listen", "127.0.0.1:0", "--max-line", "16", "-v"];
    let daemon = start(&variables, &args);
    echo(&daemon.connect(), b"fifteen bytes..\n");
    daemon.wait_for_record("message: ");
}

#[test]
fn empty_variables_and_switches_that_are_off_change_nothing() {
    let variables = [
        ("ECHOLINE_MAX_LINE", ""),
        ("ECHOLINE_MAX_PER_IP", ""),
        ("ECHOLINE_QUIET", "off"),
        ("ECHOLINE_VERBOSE", "1"),
        ("ECHOLINE_PACKET_PER_LINE", "0"),
    ];
    let daemon = start(&variables, &["--listen", "127.0.0.1:0"]);
    echo(&daemon.connect(), b"hello\n");
    daemon.wait_for_record("message: ");
    assert!(unknown_variables(&daemon.stop()).is_empty());
}

#[test]
fn a_bad_value_is_a_usage_error_that_names_the_variable() {
    for (name, value, why) in [
        ("ECHOLINE_MAX_LINE", "64k", "it is not a whole number"),
        ("ECHOLINE_MAX_LINE", "0", "it is not in 1..=1073741824"),
        ("ECHOLINE_MAX_PER_IP", "-1", "it is negative"),
        (
            "ECHOLINE_PACKET_PER_LINE",
            "2",
            "not one of 1, true, yes, on, 0, false, no, off",
        ),
        ("ECHOLINE_VERBOSE", "yes", "invalid digit found in string"),
    ] {
        let why = format!("invalid value '{value}' for {name}: {why}");
        assert_is_usage_error(&fail(&[(name, value)]), &why);
    }
    let mut command = Command::new(BINARY);
    command.env("ECHOLINE_LISTEN", "localhost:1,nowhere");
    let output = without_inherited_settings(&mut command).output().unwrap();
    let why = "invalid value 'nowhere' for ECHOLINE_LISTEN: not of the form HOST:PORT";
    assert_is_usage_error(&output, why);
}

#[test]
fn a_value_that_is_not_utf_8_is_a_usage_error_that_names_the_variable() {
    let mut command = Command::new(BINARY);
    command.env("ECHOLINE_LISTEN", OsStr::from_bytes(b"\xff:3000"));
    let output = without_inherited_settings(&mut command).output().unwrap();
    assert_is_usage_error(&output, "invalid UTF-8 in ECHOLINE_LISTEN");
}

#[test]
fn variables_that_conflict_with_each_other_are_a_usage_error() {
    let variables = [("ECHOLINE_QUIET", "1"), ("ECHOLINE_VERBOSE", "1")];
    let why = "the argument ECHOLINE_VERBOSE cannot be used with ECHOLINE_QUIET";
    assert_is_usage_error(&fail(&variables), why);
}

#[test]
fn an_unknown_variable_is_named_in_the_log() {
    let variables = [
        ("ECHOLINE_MAX_LIEN", "8"),
        ("ECHOLINE_\nFORGED", "1"),
        ("ECHOLINE_MAX_LINE", "8"),
        ("ECHOLINE_PING_COUNT", "1"),
    ];
    let log = start(&variables, &["--listen", "127.0.0.1:0"]).stop();
    let mut names = unknown_variables(&log);
    names.sort_unstable();
    assert_eq!(names, ["ECHOLINE_MAX_LIEN", "ECHOLINE_\\nFORGED"]);
}

#[test]
fn ping_has_variables_of_its_own_and_ignores_those_of_the_server() {
    let daemon = Daemon::start();
    let mut command = Command::new(BINARY);
    command
        .args(["ping", &daemon.addr.to_string(), "--interval", "0"])
        .env("ECHOLINE_PING_COUNT", "2")
        .env("ECHOLINE_PING_QUIET", "1")
        .env("ECHOLINE_LISTEN", "nowhere")
        .env("ECHOLINE_MAX_LIEN", "8");
    let output = without_inherited_settings(&mut command).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("2 lines sent, 2 echoed"), "{stdout}");
    assert!(!stdout.contains("line=1"), "{stdout}");
    assert_eq!(output.stderr, b"");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_bad_variable_of_ping_is_a_usage_error_of_ping_alone() {
    let bad = ("ECHOLINE_PING_COUNT", "0");
    let mut command = Command::new(BINARY);
    command.args(["ping", "127.0.0.1:3000"]).envs([bad]);
    let output = without_inherited_settings(&mut command).output().unwrap();
    let why = "invalid value '0' for ECHOLINE_PING_COUNT: 0 is not in 1..=18446744073709551615";
    assert_is_usage_error(&output, why);
    start(&[bad], &["--listen", "127.0.0.1:0"]).stop();
}
