//! A network of the test's own.

use std::env;
use std::process::Command;

/// Set in the namespace.
const INSIDE: &str = "ECHOLINE_TEST_NAMESPACE";

/// Without the limit, the kernel would hand several segments to the interface,
/// and so to tcpdump, as one (segmentation offload).
const SET_UP: &str = "ip link set lo up gso_max_segs 1 && exec \"$0\" \"$@\"";

/// Runs `body` in a private network with nothing but a loopback interface, by
/// running the test `name` again there. It needs no root: the namespace is the
/// user's own. (Mapped to root instead, tcpdump would try to drop privileges.)
pub fn in_private_network(name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-user=1000", "--keep-caps", "--net"])
        .args(["sh", "-c", SET_UP])
        .arg(env::current_exe().unwrap())
        .args([
            name,
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INSIDE, "1")
        .status()
        .expect("unshare is installed");
    assert!(status.success());
}
