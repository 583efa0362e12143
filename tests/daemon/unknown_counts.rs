//! A kernel that knows `TCP_INFO` and does not fill it, such as gVisor's.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::ping::program::Ping;
use crate::support::clients::echo;
use crate::support::daemon::{BINARY, Daemon};
use crate::support::preload;

static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| preload::build("zero_tcp_info"));

/// `program` on such a kernel.
fn without_counts(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", &*LIBRARY);
    command
}

#[test]
fn without_counts_an_idle_client_is_closed_and_its_record_has_no_packets() {
    let args = ["--listen", "127.0.0.1:0", "--idle-timeout", "1"];
    let daemon = Daemon::spawn(without_counts(BINARY).args(args));
    let client = daemon.connect();
    echo(&client, b"hello\n");
    let record = daemon.closing_record(client.local_addr().unwrap());
    let closed = "closed by idle timeout: 1 line, 6/6 bytes, ";
    assert!(record.contains(closed), "{record}");
    assert!(!record.contains("packets"), "{record}");
}

#[test]
fn without_counts_ping_counts_no_packets_and_refuses_to_expect_some() {
    let daemon = Daemon::start();
    let ping = |options: &str| {
        let mut command = without_counts(BINARY);
        command.args(["ping", &daemon.addr.to_string(), "-c", "1"]);
        Ping::spawn_command(command.args(options.split_whitespace())).wait_for_exit()
    };
    let finished = ping("");
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert!(!finished.stdout.contains("packets"), "{finished:?}");
    let finished = ping("--expect-packets 1");
    assert_eq!(finished.status, Some(3), "{finished:?}");
    let why = "echoline: cannot count packets: the kernel does not (TCP_INFO)\n";
    assert_eq!(finished.stderr, why);
}
