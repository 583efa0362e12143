//! The server with the client that most people try first.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;

#[test]
#[ignore = "needs nc (netcat-openbsd)"]
fn nc_prints_every_line_and_exits() {
    let daemon = Daemon::start();
    let port = daemon.addr.port().to_string();
    let mut nc = Command::new("nc")
        .args(["-N", "127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc is installed");
    let mut stdin = nc.stdin.take().unwrap();
    stdin.write_all(b"hello\nlast").unwrap();
    drop(stdin);
    let output = nc.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"hello\nlast\n");
    assert!(output.status.success());
}
