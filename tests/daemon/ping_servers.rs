//! `echoline ping` against other servers: measures the table of `docs/ping.md` again.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::support::daemon::{BINARY, Daemon};
use crate::support::port::ReservedPort;

const PING_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ping.md");
const TWO_WRITES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour/two-writes.py");
const ORIGINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour/original.cr");

/// Measurements of a server until it is taken to differ from the page. On a busy machine
/// a server may read a burst in two pieces, or a client's FIN late.
const ATTEMPTS: usize = 3;

/// The cells of a row of the table, without the server's name.
type Row = [String; 4];

/// A server and its children. They are killed on drop.
struct OtherServer {
    child: Child,
    addr: SocketAddr,
}

impl OtherServer {
    /// Starts the server that `command` makes for a port, and waits until it listens.
    fn start(command: impl FnOnce(u16) -> Command) -> OtherServer {
        let port = ReservedPort::new();
        let mut command = command(port.addr.port());
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        port.wait_for_listener(&mut child);
        let addr = port.addr;
        OtherServer { child, addr }
    }
}

impl Drop for OtherServer {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Runs `echoline ping`; returns its exit status and the objects that it printed.
fn ping(addr: SocketAddr, args: &str) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(BINARY)
        .args(["ping", "--json"])
        .args(args.split(' '))
        .arg(addr.to_string())
        .env_remove("RUST_LOG")
        .stderr(Stdio::inherit())
        .output()
        .expect("echoline starts");
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (output.status.code(), objects.collect())
}

/// Measures a row with the commands that the page names.
fn measure(addr: SocketAddr) -> Row {
    let (status, interactive) = ping(addr, "-q -c 10 -i 0");
    assert_eq!(status, Some(0), "{interactive:?}");
    let per_line = interactive[0]["packets"]["data_in_per_line"].as_f64();

    let (status, objects) = ping(addr, "-c 30 -i 0 --burst 10");
    assert_eq!(status, Some(0), "{objects:?}");
    let bursts = objects.iter().filter(|object| object["event"] == "burst");
    let mut bursts: Vec<_> = bursts.map(|burst| burst["packets"].to_string()).collect();
    assert_eq!(bursts.len(), 3, "{objects:?}");
    if bursts[0] == bursts[1] && bursts[1] == bursts[2] {
        bursts.truncate(1);
    }

    let (status, half_close) = ping(addr, "-q -c 10 --burst 10 --half-close");
    let lost = &half_close[0]["lost"];
    let closes = half_close[0]["closes"]["clean"] == 1;
    let is_perfect = *lost == 0 && closes;
    assert_eq!(status, Some(i32::from(!is_perfect)), "{half_close:?}");
    [
        format!("{:.2}", per_line.expect("the kernel counts")),
        bursts.join(", "),
        lost.to_string(),
        if closes { "yes" } else { "no" }.to_string(),
    ]
}

/// The row of the page that begins with `server`.
fn row_of_page(server: &str) -> Row {
    let page = fs::read_to_string(PING_PAGE).unwrap();
    let row = page.lines().find_map(|line| {
        let cells = line.strip_prefix(&format!("| {server} | "))?;
        Some(cells.strip_suffix(" |")?.to_owned())
    });
    let row = row.unwrap_or_else(|| panic!("{server} is not in the table"));
    let cells: Vec<_> = row.split(" | ").map(str::to_owned).collect();
    cells.try_into().expect("four cells")
}

/// Asserts that the server at `addr` has the cells of the row that begins with `name`.
fn assert_row(name: &str, addr: SocketAddr) {
    let page = row_of_page(name);
    let mut measured = Vec::new();
    while measured.len() < ATTEMPTS {
        let row = measure(addr);
        if agree(&page, &row) {
            return;
        }
        measured.push(row);
    }
    panic!("{name}: the page has {page:?}, and measured was {measured:#?}");
}

/// Whether all cells are equal. Where the page has several numbers of packets, they vary:
/// then each burst has to take more than one packet, and those after the first fewer
/// than one per line.
fn agree(page: &Row, measured: &Row) -> bool {
    let bursts: Vec<u64> = measured[1]
        .split(", ")
        .map(|n| n.parse().unwrap())
        .collect();
    let bursts_agree = if page[1].contains(", ") {
        bursts.iter().all(|n| *n > 1) && bursts.iter().skip(1).all(|n| *n < 10)
    } else {
        page[1] == measured[1]
    };
    bursts_agree && [0, 2, 3].iter().all(|&i| page[i] == measured[i])
}

/// `command` with arguments that spaces separate.
fn command(text: &str) -> Command {
    let mut words = text.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

#[test]
fn echoline_has_the_row_of_the_page() {
    assert_row("echoline", Daemon::start().addr);
}

#[test]
fn echoline_with_a_packet_per_line_has_the_row_of_the_page() {
    let daemon = Daemon::start_with(&["--packet-per-line"]);
    assert_row("`echoline --packet-per-line`", daemon.addr);
}

#[test]
#[ignore = "needs python3"]
fn the_server_with_two_writes_has_the_row_of_the_page() {
    let script = fs::read_to_string(TWO_WRITES).unwrap();
    let server = OtherServer::start(|port| {
        let script = script.replace("3000", &port.to_string());
        let mut python = Command::new("python3");
        python.args(["-c", &script]);
        python
    });
    assert_row("`two-writes.py`", server.addr);
}

#[test]
#[ignore = "needs ncat"]
fn ncat_has_the_row_of_the_page() {
    let server = OtherServer::start(|port| {
        let text = format!("ncat -l -k -e /bin/cat 127.0.0.1 {port}");
        command(&text)
    });
    assert_row("`ncat -k -e /bin/cat`", server.addr);
}

#[test]
#[ignore = "needs socat"]
fn socat_has_the_row_of_the_page() {
    let server = OtherServer::start(|port| {
        let text = format!("socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork PIPE");
        command(&text)
    });
    assert_row("`socat … PIPE`", server.addr);
}

#[test]
#[ignore = "needs xinetd"]
fn xinetd_has_the_row_of_the_page() {
    let page = fs::read_to_string(PING_PAGE).unwrap();
    let (_, config) = page.split_once("cat > xinetd.conf << END\n").unwrap();
    let (config, _) = config.split_once("END\n").unwrap();
    let user = command("id -un").output().unwrap().stdout;
    let config = config.replace("$(id -un)", String::from_utf8(user).unwrap().trim());

    let dir = format!("{}/xinetd.{}", env!("CARGO_TARGET_TMPDIR"), process::id());
    fs::create_dir_all(&dir).unwrap();
    let server = OtherServer::start(|port| {
        let path = format!("{dir}/xinetd.conf");
        fs::write(&path, config.replace("3000", &port.to_string())).unwrap();
        let mut xinetd = command("/usr/sbin/xinetd -dontfork -f");
        xinetd.args([&path, "-pidfile", &format!("{dir}/xinetd.pid")]);
        xinetd
    });
    assert_row("xinetd's echo", server.addr);
    drop(server);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
#[ignore = "needs crystal"]
fn the_crystal_original_has_the_row_of_the_page() {
    let binary = format!("{}/original.{}", env!("CARGO_TARGET_TMPDIR"), process::id());
    let compiler = Command::new("crystal")
        .args(["build", "-o", &binary, ORIGINAL])
        .status()
        .expect("crystal is installed");
    assert!(compiler.success());
    let server = OtherServer::start(|port| {
        let mut original = Command::new(&binary);
        original.arg(port.to_string());
        original
    });
    assert_row("Crystal original", server.addr);
    drop(server);
    fs::remove_file(&binary).unwrap();
}
