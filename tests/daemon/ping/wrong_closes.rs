//! Servers that close too early, too late, or with an RST.

use super::faulty_server::{FaultyServer, Peer};

fn echo_lines(peer: &mut Peer) {
    peer.answer_lines(|peer, line| peer.send(&line));
}

#[test]
fn a_server_that_never_closes_is_named() {
    let server = FaultyServer::start(|mut peer| {
        echo_lines(&mut peer);
        peer.hold();
    });
    server
        .ping("-c 2 -i 0 -W 1")
        .assert_exits(0)
        .assert_prints("2 lines sent, 2 echoed, 0 wrong, 0 lost\n")
        .assert_prints(
            "not closed by the server within 1 s: its socket is probably in CLOSE_WAIT\n",
        );
}

#[test]
fn a_server_that_never_closes_fails_a_half_closing_ping() {
    let server = FaultyServer::start(|mut peer| {
        echo_lines(&mut peer);
        peer.hold();
    });
    server
        .ping("-c 2 -i 0 -W 1 --half-close")
        .assert_exits(1)
        .assert_prints("2 lines sent, 2 echoed, 0 wrong, 0 lost\n")
        .assert_prints(
            "not closed by the server within 1 s: its socket is probably in CLOSE_WAIT\n",
        );
}

#[test]
fn a_close_can_be_expected() {
    let server = FaultyServer::start(|mut peer| {
        echo_lines(&mut peer);
        peer.hold();
    });
    server
        .ping("-c 2 -i 0 -W 1 --expect-close")
        .assert_exits(1)
        .assert_prints(
            "not closed by the server within 1 s: its socket is probably in CLOSE_WAIT\n",
        );
    FaultyServer::start(|mut peer| echo_lines(&mut peer))
        .ping("-c 2 -i 0 --expect-close")
        .assert_exits(0);
}

#[test]
fn an_early_close_says_after_how_much() {
    let server = FaultyServer::start(|mut peer| {
        for _ in 0..3 {
            let line = peer.line();
            peer.send(&line);
        }
        peer.line();
        peer.line();
    });
    server
        .ping("-c 5 --burst 5 -W 30")
        .assert_exits(1)
        .assert_prints("5 lines sent, 3 echoed, 0 wrong, 2 lost\n")
        .assert_prints("\nclosed by the server after line 3, 2 lines outstanding\n");
}

#[test]
fn a_server_that_closes_between_lines_is_named() {
    let server = FaultyServer::start(|mut peer| {
        let line = peer.line();
        peer.send(&line);
    });
    server
        .ping("-c 3 -i 1000")
        .assert_exits(1)
        .assert_prints("1 line sent, 1 echoed, 0 wrong, 0 lost\n")
        .assert_prints("closed by the server after line 1\n");
}

/// An endless ping fails too: the server has ended it.
#[test]
fn a_server_that_closes_an_endless_ping_is_named() {
    let server = FaultyServer::start(|mut peer| {
        let line = peer.line();
        peer.send(&line);
    });
    server
        .ping("-i 1000")
        .assert_exits(1)
        .assert_prints("closed by the server after line 1\n");
}

/// Its FIN may come before or after ping's.
#[test]
fn a_server_that_closes_after_the_last_line_is_right() {
    let server = FaultyServer::start(|mut peer| {
        let line = peer.line();
        peer.send_with_fin(&line);
    });
    server.ping("-c 1").assert_exits(0);
}

#[test]
fn a_server_that_closes_instead_of_answering_loses_the_line() {
    let server = FaultyServer::start(|mut peer| drop(peer.line()));
    server
        .ping("-c 3 -W 30")
        .assert_exits(1)
        .assert_prints("1 line sent, 0 echoed, 0 wrong, 1 lost\n")
        .assert_prints("closed by the server before the first echo, 1 line outstanding\n");
}

#[test]
fn half_an_answer_is_a_lost_line() {
    let server = FaultyServer::start(|mut peer| {
        let line = peer.line();
        peer.send(&line[..32]);
    });
    server
        .ping("-c 3 -W 30")
        .assert_exits(1)
        .assert_prints("1 line sent, 0 echoed, 0 wrong, 1 lost\n")
        .assert_prints("closed by the server before the first echo, 1 line outstanding\n");
}

#[test]
fn a_server_that_stops_at_the_fin_loses_a_half_closing_clients_lines() {
    let server = FaultyServer::start(|mut peer| peer.answer_lines(|_, _| ()));
    server
        .ping("-c 10 --burst 10 --half-close -W 30")
        .assert_exits(1)
        .assert_prints("10 lines sent, 0 echoed, 0 wrong, 10 lost\n")
        .assert_prints("closed cleanly by the server in ");
}

#[test]
fn a_reset_loses_the_line() {
    let server = FaultyServer::start(|mut peer| {
        peer.line();
        peer.reset();
    });
    server
        .ping("-c 3 -W 30")
        .assert_exits(1)
        .assert_prints("1 line sent, 0 echoed, 0 wrong, 1 lost\n")
        .assert_prints("connection failed before the first echo, 1 line outstanding: reset\n");
}

#[test]
fn a_reset_after_the_last_echo_fails() {
    let server = FaultyServer::start(|mut peer| {
        echo_lines(&mut peer);
        peer.reset();
    });
    server
        .ping("-c 2 -i 0 -W 30")
        .assert_exits(1)
        .assert_prints("2 lines sent, 2 echoed, 0 wrong, 0 lost\n")
        .assert_prints("connection failed after line 2: reset\n");
}
