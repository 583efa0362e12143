//! The helpers of the tour, `docs/tour.sh`, with a server of the reader's own, and after them.

use std::env;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::daemon::BINARY;
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;

/// Runs `script` in bash, after the helpers.
fn run(script: &str) -> Output {
    let script = format!(". docs/tour.sh\ntrap 'rm -r \"$tour_dir\"' EXIT\n{script}");
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let path = env::var("PATH").unwrap();
    Command::new("bash")
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{binaries}:{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("bash is installed")
}

/// The first two packets of each capture; the others depend on how busy the machine is.
#[test]
#[ignore = "needs tcpdump, ss, unshare(1) and user namespaces"]
fn capture_shows_a_server_of_the_readers_own_over_ipv4_and_ipv6() {
    in_private_network(|| {
        let script = "echoline --quiet --listen 4000 & trap \"kill $!; rm -r $tour_dir\" EXIT\n\
                      tour_port=4000\n\
                      for ((i = 0; i < 100; i++)); do server_listens && break; sleep 0.1; done\n\
                      for tour_host in 127.0.0.1 ::1; do\n\
                          capture send_lines 1 > $tour_dir/packets || exit\n\
                          sed -E 's/[0-9]{5} >/PORT >/; s/[+][0-9.]+/+TIME/; 3q' $tour_dir/packets\n\
                          grep -o '1 line: 1 in one packet' $tour_dir/packets\n\
                      done; true";
        let output = run(script);
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        let expected = ["127.0.0.1", "[::1]"].map(|host| {
            format!(
                "{host}:PORT > {host}:4000\n      1 +TIME client SYN\n      2 +TIME server SYN, ACK\n\
                 1 line: 1 in one packet\n"
            )
        });
        assert_eq!(printed, expected.concat(), "{output:?}");
    });
}

#[test]
#[ignore = "needs ss, setpriv, unshare(1) and user namespaces"]
fn the_server_ends_with_the_shell() {
    in_private_network(|| {
        let output = run("serve echoline; echo $tour_server; rm -r \"$tour_dir\"; kill -KILL $$");
        let pid = String::from_utf8(output.stdout).unwrap();
        let pid: u32 = pid.trim().parse().expect("serve has succeeded");
        let process = format!("/proc/{pid}");
        wait_until("the server to end", || !Path::new(&process).exists());
    });
}
