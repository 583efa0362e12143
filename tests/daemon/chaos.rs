//! Sessions through a proxy that aborts, delays and half-closes at random, from a seed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::support::clients::{connect, echo};
use crate::support::daemon::Daemon;
use crate::support::deadline::DEADLINE;

/// xorshift64: the same numbers for the same seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Forwards bytes in pieces of random size until EOF, or until chance ends one direction or
/// both.
fn pump(mut from: TcpStream, mut to: TcpStream, mut random: Random) {
    let mut piece = [0; 400];
    loop {
        let size = 1 + usize::try_from(random.below(400)).unwrap();
        match from.read(&mut piece[..size]) {
            Ok(0) => break drop(to.shutdown(Shutdown::Write)),
            Ok(n) if to.write_all(&piece[..n]).is_ok() => {}
            Ok(_) | Err(_) => break abort(&from, &to),
        }
        match random.below(60) {
            0 => thread::sleep(Duration::from_micros(random.below(2000))),
            1 if random.one_in(3) => break abort(&from, &to),
            2 if random.one_in(3) => break drop(to.shutdown(Shutdown::Write)),
            _ => {}
        }
    }
}

/// Ends the other pump too. The last close of a socket sends an RST (`SO_LINGER`).
fn abort(from: &TcpStream, to: &TcpStream) {
    for stream in [from, to] {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Runs a session through the proxy and asserts that the echo is a prefix of what was sent.
/// Returns whether the echo is complete.
fn session(proxy: &TcpListener, daemon: &Daemon, seed: u64) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let client = connect_through(proxy, daemon, &mut random);
    let mut sent = random_lines(&mut random);
    let sender = {
        let (mut client, sent) = (client.try_clone().unwrap(), sent.clone());
        thread::spawn(move || {
            let _ = client.write_all(&sent);
            let _ = client.shutdown(Shutdown::Write);
        })
    };
    let echoed = read_until_closed(&client);
    sender.join().unwrap();

    // The server adds a newline to an unterminated line. That may also be one that the
    // proxy has cut.
    sent.push(b'\n');
    let newline_added = echoed.last() == Some(&b'\n');
    let matching = echoed.iter().zip(&sent).take_while(|(a, b)| a == b).count();
    assert!(
        matching == echoed.len() || (newline_added && matching + 1 == echoed.len()),
        "seed {seed}: byte {matching} of {} is wrong",
        echoed.len()
    );
    matching + 1 >= sent.len()
}

/// Connects a client to the daemon by way of two pumps.
fn connect_through(proxy: &TcpListener, daemon: &Daemon, random: &mut Random) -> TcpStream {
    let client = connect(proxy.local_addr().unwrap());
    let (downstream, _) = proxy.accept().unwrap();
    let upstream = connect(daemon.addr);
    for (from, to) in [(&downstream, &upstream), (&upstream, &downstream)] {
        from.set_read_timeout(Some(DEADLINE)).unwrap();
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let random = Random(random.below(u64::MAX) | 1);
        thread::spawn(move || pump(from, to, random));
    }
    client
}

/// Lines of random length. The last may be unterminated.
fn random_lines(random: &mut Random) -> Vec<u8> {
    let mut lines = Vec::new();
    for _ in 0..random.below(40) {
        let letter = b'a' + u8::try_from(random.below(26)).unwrap();
        lines.extend((0..random.below(120)).map(|_| letter));
        lines.push(b'\n');
    }
    if random.one_in(4) {
        lines.extend_from_slice(b"not complete");
    }
    lines
}

/// Reads until a FIN or an RST.
fn read_until_closed(mut client: &TcpStream) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        match client.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(e) => {
                assert_ne!(e.kind(), ErrorKind::WouldBlock, "a session hangs");
                return bytes;
            }
        }
    }
}

fn run_sessions(sessions: u64) {
    const WORKERS: u64 = 8;
    let daemon = Daemon::start();
    echo(&daemon.connect(), b"warm\n");
    daemon.wait_for_record("closed by peer");
    let fds = daemon.fd_count();
    let run_worker = |worker| {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let seeds = (1..=sessions).filter(|seed| seed % WORKERS == worker);
        seeds.filter(|seed| session(&proxy, &daemon, *seed)).count() as u64
    };
    let complete: u64 = thread::scope(|scope| {
        let spawn = |worker| scope.spawn(move || run_worker(worker));
        let workers: Vec<_> = (0..WORKERS).map(spawn).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    println!("{complete} of {sessions} sessions got everything back");
    // If chance spares all sessions or ends all, the test shows nothing.
    assert!(
        sessions / 10 < complete && complete < sessions * 99 / 100,
        "{complete}"
    );
    daemon.assert_nothing_leaked(fds);
    echo(&daemon.connect(), b"still here\n");
    assert!(daemon.stop().iter().all(|line| !line.contains(" WARN ")));
}

#[test]
fn random_aborts_delays_and_half_closes_change_no_byte() {
    run_sessions(500);
}

#[test]
#[ignore = "takes some seconds"]
fn random_aborts_delays_and_half_closes_change_no_byte_in_10000_sessions() {
    run_sessions(10_000);
}
