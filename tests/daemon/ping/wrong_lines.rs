//! Servers with echoes that are wrong, missing or cut into packets.

use super::faulty_server::FaultyServer;
use crate::support::retransmission::despite_retransmissions;

/// A server that sends the line and its newline in packets of their own.
fn two_writes() -> FaultyServer {
    FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| {
            let (text, newline) = line.split_at(line.len() - 1);
            peer.send(text);
            peer.send(newline);
        });
    })
}

#[test]
fn two_writes_per_line_are_two_packets() {
    despite_retransmissions(|| {
        let finished = two_writes()
            .ping("-c 5 -i 0")
            .assert_exits(0)
            .assert_prints("; 2.00 data packets per line received; ");
        let echoes = finished
            .stdout
            .lines()
            .filter(|l| l.ends_with(" packets=2"));
        assert_eq!(echoes.count(), 5, "{finished:?}");
    });
}

#[test]
fn two_packets_per_line_are_against_an_expectation_of_one() {
    despite_retransmissions(|| {
        two_writes()
            .ping("-c 5 -i 0 -q --expect-packets 1")
            .assert_exits(1)
            .assert_prints("5 lines sent, 5 echoed, 0 wrong, 0 lost\n")
            .assert_prints("unexpected number of data packets 5 times\n");
        two_writes()
            .ping("-c 5 -i 0 -q --expect-packets 2")
            .assert_exits(0);
    });
}

#[test]
fn the_packets_of_an_echo_with_a_fin_are_counted() {
    let answer_with_fin = || {
        FaultyServer::start(|mut peer| {
            let line = peer.line();
            peer.send_with_fin(&line);
        })
    };
    answer_with_fin()
        .ping("-c 1 --expect-packets 1")
        .assert_exits(0)
        .assert_prints(" ms packets=1\n");
    answer_with_fin()
        .ping("-c 1 --expect-packets 2")
        .assert_exits(1)
        .assert_prints("unexpected number of data packets 1 time\n");
}

/// A server that reads a burst of `N` lines and ping's FIN, sends `answer`, and closes.
fn answer_burst<const N: usize>(answer: fn([Vec<u8>; N]) -> Vec<u8>) -> FaultyServer {
    FaultyServer::start(move |mut peer| {
        let lines = std::array::from_fn(|_| peer.line());
        peer.expect_fin();
        peer.send(&answer(lines));
    })
}

#[test]
fn a_dropped_line_is_lost() {
    let finished = answer_burst(|[first, _, third]| [first, third].concat())
        .ping("-c 3 --burst 3 --half-close -W 30")
        .assert_exits(1)
        .assert_prints(": line=1 time=")
        .assert_prints(": line=3 time=")
        .assert_prints("3 lines sent, 2 echoed, 0 wrong, 1 lost\n");
    let lost: Vec<_> = finished
        .stdout
        .lines()
        .filter(|l| l.starts_with("no echo"))
        .collect();
    assert!(
        lost.len() == 1 && lost[0].ends_with(": line=2"),
        "{finished:?}"
    );
}

#[test]
fn a_changed_byte_is_named() {
    for offset in [0, 10, 62] {
        let server = FaultyServer::start(move |mut peer| {
            peer.answer_lines(|peer, mut line| {
                line[offset] ^= 1;
                peer.send(&line);
            });
        });
        server
            .ping("-c 2 -i 0")
            .assert_exits(1)
            .assert_prints(&format!(": line=1 differs at byte {offset}\n"))
            .assert_prints(&format!(": line=2 differs at byte {offset}\n"))
            .assert_prints("2 lines sent, 0 echoed, 2 wrong, 0 lost\n");
    }
}

#[test]
fn an_echo_of_another_length_differs_where_it_ends() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| {
            peer.send(&line[..40]);
            peer.send(b"\n");
        });
    });
    server
        .ping("-c 1")
        .assert_exits(1)
        .assert_prints(": line=1 differs at byte 40\n");
}

#[test]
fn two_lines_in_the_wrong_order_are_told() {
    answer_burst(|[first, second]| [second, first].concat())
        .ping("-c 2 --burst 2 --half-close -W 30")
        .assert_exits(1)
        .assert_prints(": line=2 time=")
        .assert_prints(": line=1 came after a later line\n")
        .assert_prints("2 lines sent, 1 echoed, 1 wrong, 0 lost\n");
}

#[test]
fn a_line_that_comes_twice_is_told() {
    answer_burst(|[line]| line.repeat(2))
        .ping("-c 1 --half-close -W 30")
        .assert_exits(1)
        .assert_prints(": line=1 came twice\n")
        .assert_prints("1 line sent, 1 echoed, 1 wrong, 0 lost\n");
}

#[test]
fn a_line_that_was_not_sent_is_told() {
    answer_burst(|[line]| [line, b"more\n".to_vec()].concat())
        .ping("-c 1 --half-close -W 30")
        .assert_exits(1)
        .assert_prints("\nextra line from 127.0.0.1:")
        .assert_prints(": 5 bytes\n")
        .assert_prints("1 line sent, 1 echoed, 0 wrong, 0 lost, 1 extra\n");
}

/// A server that puts a prompt before each line.
fn prompting() -> FaultyServer {
    FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| peer.send(&[b"echo:".to_vec(), line].concat()));
    })
}

#[test]
fn a_prefix_is_part_of_the_echo() {
    let finished = prompting().ping("-c 3 -i 0 --prefix echo:").assert_exits(0);
    assert_eq!(
        finished.count_lines("69 bytes from 127.0.0.1:"),
        3,
        "{finished:?}"
    );
}

#[test]
fn a_prefix_that_is_not_expected_is_wrong() {
    prompting()
        .ping("-c 1")
        .assert_exits(1)
        .assert_prints(": line=1 differs at byte 0\n");
    let echoing = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| peer.send(&line));
    });
    echoing
        .ping("-c 1 --prefix echo:")
        .assert_exits(1)
        .assert_prints(": line=1 differs at byte 0\n");
}

/// A server that greets, and echoes well.
fn greeting(lines: usize) -> FaultyServer {
    FaultyServer::start(move |mut peer| {
        peer.send(&b"220 ready\r\n".repeat(lines));
        peer.answer_lines(|peer, line| peer.send(&line));
    })
}

#[test]
fn a_greeting_is_an_extra_line_and_shifts_no_other() {
    greeting(1)
        .ping("-c 100 -i 0")
        .assert_exits(1)
        .assert_prints(": 11 bytes\n")
        .assert_prints("100 lines sent, 100 echoed, 0 wrong, 0 lost, 1 extra\n");
}

#[test]
fn a_greeting_can_be_skipped() {
    greeting(2)
        .ping("-c 100 -i 0 --skip-lines 2")
        .assert_exits(0)
        .assert_prints("100 lines sent, 100 echoed, 0 wrong, 0 lost\n");
    greeting(2)
        .ping("-c 10 -i 0 --skip-lines 1")
        .assert_exits(1)
        .assert_prints("0 lost, 1 extra\n");
}

/// 50 extra lines for each echo, in its segment.
#[test]
fn packets_are_divided_by_the_lines_received() {
    let server = FaultyServer::start(|mut peer| {
        peer.answer_lines(|peer, line| peer.send(&[b"more\n".repeat(49), line].concat()));
    });
    server
        .ping("-c 2 -i 0 -q")
        .assert_exits(1)
        .assert_prints("2 lines sent, 2 echoed, 0 wrong, 0 lost, 98 extra\n")
        .assert_prints("; 0.02 data packets per line received; ");
}

/// The mean of 1,999 echoes in one packet and one in two is 1.00.
#[test]
fn a_line_that_is_split_is_named() {
    let split_some = |every: usize| {
        FaultyServer::start(move |mut peer| {
            let mut count = 0;
            peer.answer_lines(|peer, line| {
                count += 1;
                let at = if count % every == 0 { 10 } else { 0 };
                let (start, end) = line.split_at(at);
                for part in [start, end] {
                    if !part.is_empty() {
                        peer.send(part);
                    }
                }
            });
        })
    };
    split_some(1000)
        .ping("-c 1999 -i 0 -q")
        .assert_exits(0)
        .assert_prints("\npackets per line: 1998 x 1, 1 x 2 (line 1000)\n");
    split_some(100)
        .ping("-c 2000 -i 0 -q")
        .assert_exits(0)
        .assert_prints(
            "\npackets per line: 1980 x 1, 20 x 2 \
             (lines 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, ...)\n",
        );
}
