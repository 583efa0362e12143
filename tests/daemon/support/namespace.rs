//! A private network for a test.

use std::env;
use std::process::{Command, Stdio};

/// Environment variable that tells the test that it runs in the private network.
const IN_NAMESPACE: &str = "IN_PRIVATE_NETWORK";

/// Brings up loopback without segmentation offload; with it, the kernel hands several
/// segments to the interface, and so to tcpdump, as one.
const SET_UP: &str = "ip link set lo up gso_max_segs 1 && exec \"$0\" \"$@\"";

/// Runs `body`, the body of a test, in a network that has only a loopback interface.
///
/// To that end the test is run again, by its name, in a network namespace. The name is
/// that of the function that encloses the closure `body`. This needs no root, as the
/// namespace is in a user namespace. (Mapped to root there, tcpdump would try to drop
/// privileges.)
pub fn in_private_network<F: FnOnce()>(body: F) {
    if env::var_os(IN_NAMESPACE).is_some() {
        return body();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-user=1000", "--keep-caps", "--net"])
        .args(["sh", "-c", SET_UP])
        .arg(env::current_exe().unwrap())
        .args([enclosing_test::<F>(), "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(IN_NAMESPACE, "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("unshare is installed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    println!("{stdout}");
    assert!(output.status.success());
    // With a wrong name no test runs, which is a success too.
    assert!(stdout.contains("test result: ok. 1 passed;"), "{stdout}");
}

/// The test's name for the harness: the path of the function in this crate.
fn enclosing_test<Closure>() -> &'static str {
    let path = std::any::type_name::<Closure>();
    let (_crate, path) = path.split_once("::").unwrap();
    path.strip_suffix("::{{closure}}").expect("a closure")
}
