//! The helpers of the tour, `docs/tour.sh`, when something is wrong.

use std::env;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::daemon::BINARY;
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;

/// Runs a command without capabilities.
const WITHOUT_CAPABILITIES: &[&str] = &[
    "setpriv",
    "--bounding-set=-all",
    "--ambient-caps=-all",
    "--inh-caps=-all",
];

/// Runs `script` in bash, after the helpers.
fn run(script: &str) -> Output {
    run_with(&[], script)
}

/// `run`, by means of a command that runs the command after it.
fn run_with(prefix: &[&str], script: &str) -> Output {
    let script = format!(". docs/tour.sh\ntrap 'rm -r \"$tour_dir\"' EXIT\n{script}");
    let command = [prefix, &["bash", "-c", &script]].concat();
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let path = env::var("PATH").unwrap();
    Command::new(command[0])
        .args(&command[1..])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{binaries}:{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("bash and setpriv are installed")
}

/// Asserts that the script failed, and printed each of `words` on stderr and nothing else
/// on stdout.
fn assert_fails_with(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    for words in words {
        assert!(stderr.contains(words), "{words:?} is not in {stderr}");
    }
}

#[test]
#[ignore = "needs ss, python3, setpriv, unshare(1) and user namespaces"]
fn serve_fails_if_another_server_listens_on_the_port() {
    in_private_network(|| {
        let _other = TcpListener::bind("127.0.0.1:3000").unwrap();
        for command in ["echoline", "python3 docs/tour/two-writes.py"] {
            let output = run(&format!("serve {command}"));
            assert_fails_with(&output, &["serve: ", command, "Address already in use"]);
        }
        // A command that goes on, and does not listen.
        let output = run("serve sleep 60");
        assert_fails_with(&output, &["serve: sleep 60: does not listen after 5 s"]);
    });
}

#[test]
#[ignore = "needs ss, setpriv, unshare(1) and user namespaces"]
fn serve_fails_if_its_command_exits_at_once() {
    in_private_network(|| {
        let output = run("serve sh -c 'echo its own words'");
        assert_fails_with(&output, &["ended before it listened", "its own words"]);
        let output = run("serve no-such-command");
        assert_fails_with(&output, &["no-such-command: No such file or directory"]);
    });
}

#[test]
#[ignore = "needs ss, unshare(1) and user namespaces"]
fn capture_fails_without_a_server() {
    in_private_network(|| {
        let output = run("tour_port=4000; capture send_lines 1");
        assert_fails_with(&output, &["capture: no server listens on port 4000"]);
    });
}

#[test]
#[ignore = "needs tcpdump, ss, setpriv, unshare(1) and user namespaces"]
fn capture_fails_if_another_process_than_that_of_serve_listens() {
    in_private_network(|| {
        let _other = TcpListener::bind("127.0.0.1:4000").unwrap();
        let output = run("serve echoline; tour_port=4000; capture send_lines 1");
        assert_fails_with(
            &output,
            &["capture: no server of serve listens on port 4000"],
        );
    });
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
#[ignore = "needs tcpdump, ss, setpriv, unshare(1) and user namespaces"]
fn capture_fails_with_the_words_of_tcpdump_if_it_may_not_capture() {
    in_private_network(|| {
        let script = "serve echoline && capture send_lines 1";
        let output = run_with(WITHOUT_CAPABILITIES, script);
        let words = "tcpdump: lo: You don't have permission to perform this capture";
        assert_fails_with(&output, &[words, "Operation not permitted"]);
    });
}

#[test]
#[ignore = "needs ss, setpriv, unshare(1) and user namespaces"]
fn capture_fails_if_tcpdump_is_not_installed() {
    in_private_network(|| {
        // server_listens needs commands of the PATH too.
        let script = "serve echoline || exit 3; server_listens() { true; }\n\
                      path=$PATH; PATH=/nowhere; capture send_lines 1; status=$?\n\
                      PATH=$path; exit $status";
        assert_fails_with(&run(script), &["tcpdump: not found"]);
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

#[test]
#[ignore = "needs bash"]
fn no_helper_has_the_name_of_a_command() {
    let output = run("for name in $(compgen -A function); do type -P $name; done; true");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
}
