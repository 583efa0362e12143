//! Servers that send without end, that answer nothing, or that are not there: ping ends when
//! it is told to. The deadlines are wide; before there were bounds these runs took minutes,
//! or had no end.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::faulty_server::FaultyServer;
use super::ping;
use super::program::{Finished, Ping};
use crate::support::callgrind::{Profile, require_release_build};
use crate::support::deadline::wait_until;
use crate::support::process::status_field;

/// How long a run may take that is told to end after a second, with a timeout of one. It
/// would end after 1 to 4 s.
const WIDE: Duration = Duration::from_secs(20);

fn within(limit: Duration, run: impl FnOnce() -> Finished) -> Finished {
    let start = Instant::now();
    let finished = run();
    assert!(
        start.elapsed() < limit,
        "{:?}: {finished:?}",
        start.elapsed()
    );
    finished
}

/// A server that sends `piece` over and over from the accept on, until ping has closed.
fn flooding(piece: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let flood = piece.repeat((1 << 20) / piece.len());
        while stream.write_all(&flood).is_ok() {}
    });
    addr
}

#[test]
fn a_flood_of_bytes_without_a_newline_does_not_hold_ping() {
    let addr = flooding(b"x");
    let mut running = Ping::spawn(addr, "-w 1 -W 1 -i 0.1");
    running.wait_for_output("PING ");
    let start = Instant::now();
    wait_until("ping to end", || running.has_exited());
    assert!(start.elapsed() < WIDE);
    running
        .wait_for_exit()
        .assert_exits(1)
        .assert_prints("\nextra line from ")
        .assert_prints(" 0 echoed, 0 wrong, ")
        .assert_prints("not closed by the server within 1 s");
}

#[test]
fn a_flood_does_not_fill_the_memory() {
    let running = Ping::spawn(flooding(b"x"), "-w 3 -W 1 -i 0.1");
    running.wait_for_output("PING ");
    thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0;
            wait_until("the first line to be lost", || {
                let rss = status_field(running.id(), "VmHWM");
                let rss = rss.trim_end_matches(" kB").parse::<u64>().unwrap();
                peak = peak.max(rss);
                running.has_printed("no echo from ")
            });
            peak
        });
        let peak = peak.join().unwrap();
        assert!(peak < 64 << 10, "{peak} kB");
    });
    running.wait_for_exit().assert_exits(1);
}

#[test]
fn a_flood_of_newlines_does_not_hold_ping() {
    let addr = flooding(b"\n");
    within(WIDE, || ping(addr, "-w 1 -W 1 -i 0.1 -q -s 65536"))
        .assert_exits(1)
        .assert_prints(" 0 echoed, 0 wrong, ");
}

#[test]
fn an_interrupt_ends_a_ping_that_is_flooded() {
    let addr = flooding(b"12345\n");
    let running = Ping::spawn(addr, "-W 1 -q");
    running.wait_for_output("PING ");
    within(WIDE, || {
        running.interrupt();
        running.wait_for_exit()
    })
    .assert_exits(1);
}

/// 70 good echoes, then 65,536 bare newlines.
#[test]
fn wrong_lines_cost_no_more_than_right_ones() {
    let server = FaultyServer::start(|mut peer| {
        for _ in 0..70 {
            let line = peer.line();
            peer.send(&line);
        }
        peer.line();
        peer.send(&b"\n".repeat(65_536));
        peer.answer_lines(|_, _| ());
    });
    within(WIDE, || server.ping("-i 0 -s 65536 -w 2 -W 1 -q"))
        .assert_exits(1)
        .assert_prints("70 echoed, 0 wrong, ")
        .assert_prints(", 65536 extra\n");
}

/// None is lost, as each came back, with a prefix that ping does not know.
#[test]
fn a_large_burst_with_an_unexpected_prefix_is_judged_line_by_line() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| peer.send(&[b"replica-1:".to_vec(), line].concat()));
    });
    within(WIDE, || server.ping("-c 20000 --burst 20000 -W 10 -q"))
        .assert_exits(1)
        .assert_prints("20000 lines sent, 0 echoed, 20000 wrong, 0 lost\n");
}

/// An address at which SYNs are dropped: its backlog is full.
fn black_hole() -> (SocketAddr, Socket, Vec<TcpStream>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any_port.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    (addr, listener, waiting)
}

#[test]
fn a_connect_that_gets_no_answer_ends_at_the_deadline_and_by_a_signal() {
    let (addr, _listener, _waiting) = black_hole();
    let stopped = "echoline: stopped before a connection was established\n";
    let finished = within(WIDE, || ping(addr, "-w 0.5 -W 1000"));
    assert_eq!((finished.status, &*finished.stderr), (Some(3), stopped));

    let mut running = Ping::spawn(addr, "-W 1000 --connections 20");
    // Signals are handled before the connect begins.
    wait_until("ping to exit", || {
        let exited = running.has_exited();
        if !exited && running.catches_interrupts() {
            running.interrupt();
        }
        exited
    });
    let finished = running.wait_for_exit();
    assert_eq!((finished.status, &*finished.stderr), (Some(3), stopped));
}

#[test]
fn a_connect_that_gets_no_answer_fails_after_the_timeout() {
    let (addr, _listener, _waiting) = black_hole();
    let finished = within(WIDE, || ping(addr, "-W 0.3"));
    let message = format!("echoline: cannot connect to {addr}: timed out\n");
    assert_eq!((finished.status, finished.stderr), (Some(3), message));
}

/// Makes the answer to a line.
type Answer = fn(&[u8]) -> Vec<u8>;

/// Instructions of ping, from start to exit, for so many lines to which `answer` is the
/// answer.
fn instructions(lines: usize, answer: Answer) -> u64 {
    let server = FaultyServer::start(move |mut peer| {
        peer.answer_lines(|peer, line| peer.send(&answer(&line)));
    });
    let profile = Profile::new(&format!("ping.{lines}"));
    let mut command = profile.command();
    command
        .args(["ping", &server.addr.to_string()])
        .args([
            "-q",
            "-c",
            &lines.to_string(),
            "--burst",
            &lines.to_string(),
        ])
        .args(["-W", "1000"]);
    let finished = Ping::spawn_command(&mut command).wait_for_exit();
    assert!(matches!(finished.status, Some(0 | 1)), "{finished:?}");
    server.join();
    profile.instructions()
}

/// The figures hold for any number of lines. An extra line comes with a right one, and so has
/// the instructions of both.
#[test]
#[ignore = "needs valgrind and a release build"]
fn a_wrong_line_takes_at_most_three_times_the_instructions_of_a_right_one() {
    require_release_build();
    let start = instructions(1, <[u8]>::to_vec);
    for lines in [1_000, 10_000, 100_000] {
        let per_line = |answer| (instructions(lines, answer) - start) / lines as u64;
        let right = per_line(<[u8]>::to_vec);
        let kinds: [(&str, Answer); 3] = [
            ("prefix", |line| [b"replica-1:", line].concat()),
            ("changed", |line| [&line[..32], b"?", &line[33..]].concat()),
            ("extra", |line| [b"\n", line].concat()),
        ];
        for (name, answer) in kinds {
            let wrong = per_line(answer);
            println!("{lines} lines: {right} instructions for a right one, {name}: {wrong}");
            assert!(wrong <= 3 * right, "{name}: {wrong}, {right}");
        }
    }
}
