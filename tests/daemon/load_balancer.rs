//! `HAProxy` in front of three processes, with the configuration of `deploy/haproxy`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::ping::program::{Finished, Ping};
use crate::support::daemon::{BINARY, Daemon};
use crate::support::deadline::wait_until;
use crate::support::namespace::in_private_network;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy/haproxy.cfg");

/// A running `HAProxy`. It is killed on drop.
struct HaProxy {
    child: Child,
    admin_socket: String,
}

impl HaProxy {
    /// Starts `HAProxy` with its admin socket in the tests' directory.
    fn start() -> HaProxy {
        let prefix = format!(
            "{}/haproxy.{}",
            env!("CARGO_TARGET_TMPDIR"),
            std::process::id()
        );
        let (file, admin_socket) = (format!("{prefix}.cfg"), format!("{prefix}.sock"));
        let config = fs::read_to_string(CONFIG).unwrap();
        let own = config.replace("/run/haproxy/admin.sock", &admin_socket);
        assert_ne!(own, config);
        fs::write(&file, own).unwrap();
        let child = Command::new("haproxy").args(["-db", "-f", &file]).spawn();
        let haproxy = HaProxy {
            child: child.expect("haproxy is installed"),
            admin_socket,
        };
        wait_until("HAProxy to listen", || {
            UnixStream::connect(&haproxy.admin_socket).is_ok()
                && TcpStream::connect("127.0.0.1:3000").is_ok()
        });
        fs::remove_file(file).unwrap();
        haproxy
    }

    /// Asks the admin socket.
    fn ask(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(&self.admin_socket).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Gives a server no more sessions, and waits until it has none. A session may be
    /// connected whose line is still to come: a server that stops then closes it.
    fn drain(&self, server: &str) {
        let command = format!("set server echoline/{server} state drain");
        assert_eq!(self.ask(&command).trim(), "", "{command}");
        wait_until("the sessions to end", || self.sessions(server) == 0);
    }

    /// The sessions of a server now: the fifth field of its row.
    fn sessions(&self, server: &str) -> usize {
        let table = self.ask("show stat");
        let begin = format!("echoline,{server},");
        let row = table.lines().find(|row| row.starts_with(&begin));
        let field = row.expect("a row").split(',').nth(4);
        field.expect("a field").parse().unwrap()
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.admin_socket);
    }
}

/// One of the servers that the configuration names.
fn start_server(port: u16) -> Daemon {
    let listen = format!("127.0.0.1:{port}");
    let args = ["--listen", &listen, "--no-log-empty", "--prefix"];
    Daemon::spawn(Command::new(BINARY).args(args).arg(format!("{port} ")))
}

/// Connections with a line that `daemon` has closed.
fn sessions(daemon: &Daemon) -> usize {
    daemon.closed_count()
}

/// Runs sessions of one line through `HAProxy`, and `disturb` when `daemon` has closed 100
/// of them.
fn ping_while(daemon: &Daemon, disturb: impl FnOnce()) -> Finished {
    let before = sessions(daemon);
    let ping = Ping::spawn_at(
        "127.0.0.1:3000",
        "--connections 1500 -i 0.001 -q --count-prefixes",
    );
    wait_until("sessions", || sessions(daemon) >= before + 100);
    disturb();
    ping.wait_for_exit()
}

/// The lines that were echoed, of 1,500.
fn echoed(finished: &Finished) -> usize {
    let summary = finished
        .stdout
        .lines()
        .find(|line| line.contains(" echoed, "));
    let summary = summary.expect("a summary");
    assert!(summary.starts_with("1500 lines sent, "), "{finished:?}");
    let echoed = summary.split(", ").nth(1).unwrap();
    echoed.strip_suffix(" echoed").unwrap().parse().unwrap()
}

/// The lines that the server with this port has echoed.
fn echoed_by(finished: &Finished, port: u16) -> usize {
    let name = format!("prefix \"{port} \": ");
    let mut counts = finished.stdout.lines();
    let count = counts.find_map(|line| line.strip_prefix(&name));
    let count = count.expect("a count of the prefix");
    count.strip_suffix(" lines").unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs haproxy, unshare(1), ip(8) and user namespaces"]
fn clients_behind_haproxy_are_served_while_one_server_is_killed_and_one_drained() {
    in_private_network(|| {
        let mut servers = [3001, 3002, 3003].map(start_server);
        let haproxy = HaProxy::start();

        let finished = ping_while(&servers[0], || {});
        assert_eq!(echoed(&finished), 1500);
        let spread = [3001, 3002, 3003].map(|port| echoed_by(&finished, port));
        println!("lines of the servers: {spread:?}");
        assert!(spread.iter().all(|&count| count > 300), "{spread:?}");

        let finished = ping_while(&servers[0], || servers[0].signal(Signal::KILL));
        println!("{} of 1500 echoed around SIGKILL", echoed(&finished));
        // One connection is open at a time.
        assert!(echoed(&finished) >= 1499, "{finished:?}");

        let finished = ping_while(&servers[1], || {
            haproxy.drain("two");
            servers[1].signal(Signal::TERM);
        });
        assert_eq!(echoed(&finished), 1500, "{finished:?}");
        finished.assert_exits(0);
        assert_eq!(servers[1].wait_for_exit().code(), Some(0));
    });
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_accepts_the_configuration() {
    let output = Command::new("haproxy")
        .args(["-c", "-f", CONFIG])
        .stdin(Stdio::null())
        .output()
        .expect("haproxy is installed");
    let text = [output.stdout, output.stderr].concat();
    assert_eq!(
        String::from_utf8_lossy(&text),
        "Configuration file is valid\n"
    );
    assert!(output.status.success());
}
