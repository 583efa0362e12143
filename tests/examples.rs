//! The examples as programs. `minimal` keeps the promises that its comments make.

#[allow(dead_code, reason = "shared with the tests of the daemon")]
#[path = "daemon/support/clients.rs"]
mod clients;
#[allow(dead_code, reason = "shared with the tests of the daemon")]
#[path = "daemon/support/deadline.rs"]
mod deadline;
#[allow(dead_code, reason = "shared with the tests of the daemon")]
#[path = "daemon/support/process.rs"]
mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

use socket2::SockRef;

use clients::{
    connect, echo, line_of, read_exactly, read_repeated, read_to_end, received_nothing, reset,
    send_and_half_close, send_and_read_to_end,
};
use deadline::wait_until;
use process::{fd_count, is_sleeping, status_field};

const MAX_LINE: usize = 64 * 1024;

/// The program of an example. `cargo test` builds the examples, and
/// `cargo test --test examples` does not, so the file could be an old one.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap(); // target/PROFILE/deps/examples-HASH
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
    let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    assert!(
        modified(&program) >= modified(&source),
        "run `cargo build --examples` first"
    );
    program
}

/// A running `minimal`. It is killed on drop.
struct Minimal {
    child: Child,
    addr: SocketAddr,
}

impl Minimal {
    fn start() -> Minimal {
        Minimal::spawn(Command::new(example("minimal")).arg("127.0.0.1:0"))
    }

    fn start_with_fd_limit(limit: usize) -> Minimal {
        let script = format!("ulimit -n {limit}; exec \"$0\" 127.0.0.1:0");
        Minimal::spawn(
            Command::new("sh")
                .args(["-c", &script])
                .arg(example("minimal")),
        )
    }

    fn spawn(command: &mut Command) -> Minimal {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let addr = line.strip_prefix("listening on ").expect("the first line");
        let addr = addr.trim_end().parse().unwrap();
        Minimal { child, addr }
    }

    fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    fn fd_count(&self) -> usize {
        fd_count(self.child.id())
    }

    /// The most resident memory so far, in KiB.
    fn peak_memory(&self) -> usize {
        let peak = status_field(self.child.id(), "VmHWM");
        peak.strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// Waits until the server has `fds` descriptors, as before the connections. Then no
    /// socket is in `CLOSE_WAIT`: it leaves that state when its descriptor is closed.
    fn assert_nothing_leaked(&mut self, fds: usize) {
        wait_until("the descriptors to be closed", || self.fd_count() == fds);
        assert!(self.child.try_wait().unwrap().is_none(), "it has exited");
    }
}

impl Drop for Minimal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn embed_starts_uses_and_stops_a_server() {
    let output = Command::new(example("embed")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let totals = String::from_utf8(output.stdout).unwrap();
    assert!(totals.contains("2 lines"), "{totals}");
}

#[test]
fn minimal_echoes_lines_however_they_arrive() {
    let mut server = Minimal::start();
    let fds = server.fd_count();
    let client = server.connect();
    echo(&client, b"hello\n");
    echo(&client, b"\n");
    echo(&client, b"\r\n\0\xff\n");
    echo(&client, &b"a line of many\n".repeat(1000));
    for piece in [&b"in "[..], b"three ", b"pieces"] {
        (&client).write_all(piece).unwrap();
        echo(&server.connect(), b"the loop has run\n");
        assert!(received_nothing(&client), "a part of a line came back");
    }
    (&client).write_all(b"\nand the next").unwrap();
    assert_eq!(read_exactly(&client, 16), b"in three pieces\n");
    assert_eq!(
        send_and_read_to_end(&client, b" one"),
        b"and the next one\n"
    );
    drop(client);
    server.assert_nothing_leaked(fds);
}

/// With a small receive buffer the client is slower than the server, so that output is
/// pending most of the time, and the FIN arrives long before the last echo leaves.
#[test]
fn minimal_sends_a_slow_half_closing_client_all_lines_and_takes_little_memory() {
    const LEN: usize = 32 << 20;
    let mut server = Minimal::start();
    let (fds, before) = (server.fd_count(), server.peak_memory());
    let client = server.connect();
    SockRef::from(&client).set_recv_buffer_size(16384).unwrap();
    let line: Vec<u8> = (0..=255).filter(|&b| b != b'\n').chain([b'\n']).collect();
    let sender = send_and_half_close(&client, line.repeat(LEN / line.len()));
    read_repeated(
        &client,
        &line,
        LEN / line.len() * line.len(),
        4 * line.len(),
    );
    assert_eq!(read_to_end(&client), b"");
    sender.join().unwrap();
    let growth = server.peak_memory() - before;
    assert!(growth < 1024, "its memory grew by {growth} KiB");
    drop(client);
    server.assert_nothing_leaked(fds);
}

#[test]
fn minimal_serves_on_after_resets() {
    let mut server = Minimal::start();
    let fds = server.fd_count();
    let quiet = server.connect();
    for bytes in [&b""[..], b"a line\n", b"a part of a li"] {
        let client = server.connect();
        (&client).write_all(bytes).unwrap();
        reset(client);
    }
    let unread = server.connect();
    (&unread).write_all(&line_of(MAX_LINE).repeat(10)).unwrap();
    reset(unread);
    echo(&quiet, b"still here\n");
    drop(quiet);
    server.assert_nothing_leaked(fds);
}

#[test]
fn minimal_serves_200_connections_and_leaves_no_socket_open() {
    let mut server = Minimal::start();
    let fds = server.fd_count();
    for round in 0..3 {
        let clients: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
        for (i, mut client) in clients.iter().enumerate() {
            write!(client, "{round} {i}\nlast").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        }
        for (i, client) in clients.iter().enumerate() {
            let expected = format!("{round} {i}\nlast\n");
            assert_eq!(read_to_end(client), expected.as_bytes());
        }
        drop(clients);
        server.assert_nothing_leaked(fds);
    }
}

#[test]
fn minimal_sleeps_without_descriptors_and_serves_all_in_the_end() {
    let server = Minimal::start_with_fd_limit(16);
    let clients: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    let last = format!("/proc/{}/fd/15", server.child.id());
    wait_until("the descriptors to run out", || {
        fs::read_link(&last).is_ok()
    });
    wait_until("the server to sleep", || is_sleeping(server.child.id()));
    for client in clients {
        echo(&client, b"hello\n");
    }
}

#[test]
fn minimal_ends_a_connection_at_a_line_that_is_too_long() {
    let mut server = Minimal::start();
    let fds = server.fd_count();
    let client = server.connect();
    echo(&client, &line_of(MAX_LINE));
    echo(&client, b"x\n");
    (&client).write_all(b"before\n").unwrap();
    // The client does not end its side: the server's FIN comes without it.
    (&client).write_all(&line_of(MAX_LINE + 1)).unwrap();
    (&client).write_all(b"after\n").unwrap();
    assert_eq!(read_to_end(&client), b"before\n");
    drop(client);
    server.assert_nothing_leaked(fds);
}

#[test]
fn minimal_serves_a_quiet_client_while_others_flood() {
    let server = Minimal::start();
    let floods: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    let mut threads = Vec::new();
    for flood in &floods {
        let (mut sender, mut reader) = (flood.try_clone().unwrap(), flood.try_clone().unwrap());
        threads.push(thread::spawn(move || {
            let lines = b"0123456789abcde\n".repeat(4096);
            while sender.write_all(&lines).is_ok() {}
        }));
        threads.push(thread::spawn(move || {
            let mut buf = vec![0; MAX_LINE];
            while reader.read(&mut buf).is_ok_and(|n| n > 0) {}
        }));
    }
    let quiet = server.connect();
    for _ in 0..100 {
        echo(&quiet, b"hello\n");
    }
    for flood in floods {
        flood.shutdown(Shutdown::Both).unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}
