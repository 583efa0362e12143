//! How connections end, and what is left of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{
    Daemon, connect_with_small_window, echo, read_to_end, reset, send_and_half_close,
    send_and_read_to_end, wait_until,
};

#[test]
fn a_client_that_closes_is_closed_and_recorded() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    echo(&client, b"\n");
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains(" closed by peer: 2 lines, 7 bytes in, 7 bytes out, "),
        "{record}"
    );
}

#[test]
fn connections_that_send_nothing_are_normal() {
    let daemon = Daemon::start();
    for _ in 0..20 {
        let client = daemon.connect();
        let local = client.local_addr().unwrap();
        assert_eq!(send_and_read_to_end(&client, b""), b"");
        let record = daemon.closing_record(local);
        assert!(record.contains(" INFO "), "{record}");
        assert!(record.contains("closed by peer: 0 lines, 0 bytes in, 0 bytes out"));
    }
    assert!(daemon.stop().iter().all(|line| line.contains(" INFO ")));
}

#[test]
fn a_client_that_resets_in_the_middle_of_a_line_hurts_nobody_else() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    for _ in 0..20 {
        let mut client = daemon.connect();
        let local = client.local_addr().unwrap();
        client.write_all(b"in the middle of a").unwrap();
        echo(&other, b"still here\n");
        reset(client);
        let record = daemon.closing_record(local);
        let text = "closed by error (Connection reset by peer (os error 104)): 0 lines, 18 bytes in, 0 bytes out";
        assert!(record.contains(text), "{record}");
        echo(&other, b"still here\n");
    }
}

#[test]
fn a_client_that_vanishes_with_echoes_unread_is_closed() {
    let daemon = Daemon::start();
    let before = daemon.fd_count();
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    client.write_all(&b"unread\n".repeat(1000)).unwrap();
    wait_until("the echoes to arrive", || client.peek(&mut [0]).is_ok());
    drop(client); // Unread input: the kernel sends an RST.
    daemon.closing_record(local);
    wait_until("the descriptor to be free", || daemon.fd_count() == before);
}

#[test]
fn after_1000_connections_no_socket_and_no_descriptor_is_left() {
    let daemon = Daemon::start();
    let first = daemon.connect();
    echo(&first, b"first\n");
    let before = daemon.fd_count();
    for i in 0..1000 {
        let mut client = daemon.connect();
        match i % 5 {
            0 => assert_eq!(
                send_and_read_to_end(&client, b"all of it\n"),
                b"all of it\n"
            ),
            1 => echo(&client, b"line\n"),
            2 => client.write_all(b"line\npart").unwrap(),
            3 => reset(client),
            _ => drop(client),
        }
    }
    nothing_is_left_of(&daemon, 1000, before);
    echo(&first, b"and the server still serves\n");
}

/// Data and FIN in one event, then a short read, and no event ever again: the
/// leak that makes the classic `CLOSE_WAIT`.
#[test]
fn a_line_and_a_fin_that_arrive_together_are_both_seen() {
    let daemon = Daemon::start();
    let before = daemon.fd_count();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let mut client = daemon.connect();
                    client.write_all(b"line\n").unwrap();
                    assert_eq!(send_and_read_to_end(&client, b"last"), b"line\nlast\n");
                }
            });
        }
    });
    nothing_is_left_of(&daemon, 1000, before);
}

/// Waits until `sessions` are closed; then there are as many descriptors as
/// `before` and no socket waits to be closed.
fn nothing_is_left_of(daemon: &Daemon, sessions: usize, before: usize) {
    daemon.wait_for_closed(sessions);
    wait_until("the descriptors to be back at the start", || {
        daemon.fd_count() == before
    });
    assert_eq!(daemon.close_wait_sockets(), 0);
}

#[test]
fn a_slow_client_gets_all_lines_before_a_line_that_is_too_long() {
    let daemon = Daemon::start_with(&["--max-line", "100"]);
    let lines = b"0123456789\n".repeat(30_000);
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(16384).unwrap();
    let too_long = vec![b'x'; 500_000];
    let sender = {
        let bytes = [&lines[..], &too_long].concat();
        let mut client = client.try_clone().unwrap();
        thread::spawn(move || client.write_all(&bytes))
    };
    // Most of the echoes are still in the server's kernel when it says no.
    daemon.wait_for_record("line too long");
    assert_eq!(read_slowly(&client).len(), lines.len());
    // What followed was read too, or the write would have failed or hung.
    sender.join().unwrap().unwrap();
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by line limit: 30000 lines, "),
        "{record}"
    );
}

/// Reads to the end in small pieces, and checks the lines.
fn read_slowly(mut client: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1100];
    loop {
        match client.read(&mut piece).expect("no RST") {
            0 => break,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
    assert!(bytes.chunks(11).all(|line| line == b"0123456789\n"));
    bytes
}

#[test]
fn a_client_that_goes_on_after_its_line_was_too_long_is_cut_off_in_the_end() {
    let daemon = Daemon::start_with(&["--max-line", "10"]);
    let client = daemon.connect();
    let local = client.local_addr().unwrap();
    let sender = {
        let mut client = client.try_clone().unwrap();
        thread::spawn(move || while client.write_all(&[b'x'; 4096]).is_ok() {})
    };
    assert_eq!(read_to_end(&client), b"");
    // Only the server's time limit ends this: the client never closes.
    sender.join().unwrap();
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by line limit: 0 lines, "),
        "{record}"
    );
}

#[test]
fn a_half_closing_client_that_reads_slowly_gets_100_megabytes() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    SockRef::from(&client).set_recv_buffer_size(16384).unwrap();
    let line: Vec<u8> = (0..=255).filter(|&b| b != b'\n').chain([b'\n']).collect();
    let bytes = line.repeat(100_000_000 / line.len());
    let len = bytes.len();
    let sender = send_and_half_close(&client, bytes);
    let (mut got, mut piece) = (0, vec![0; 16 * line.len()]);
    while got < len {
        let n = (&client).read(&mut piece).expect("the end is clean");
        assert_ne!(n, 0, "the end came after {got} bytes");
        for (i, byte) in piece[..n].iter().enumerate() {
            assert_eq!(*byte, line[(got + i) % line.len()], "byte {}", got + i);
        }
        got += n;
    }
    assert_eq!(read_to_end(&client), b"");
    sender.join().unwrap();
}

/// The reset comes with what was read before it: that counts all the same.
#[test]
fn lines_that_arrive_together_with_a_reset_are_counted_and_judged() {
    let daemon = Daemon::start_with(&["-v", "--max-line", "100"]);
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    echo(&client, b"first\n");
    daemon.signal(Signal::STOP);
    client.write_all(b"hello\nworld\n").unwrap();
    client.write_all(&[b'x'; 200]).unwrap();
    reset(client);
    daemon.signal(Signal::CONT);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("line limit: 3 lines, 218 bytes in, 6 bytes out"),
        "{record}"
    );
    daemon.wait_for_record("message: \"world\"");
    daemon.wait_for_record("line too long: at least 200 bytes");
}

/// All is with the kernel, FIN included, when the peer resets.
#[test]
fn a_client_that_finishes_and_resets_before_it_has_all_is_an_error() {
    let daemon = Daemon::start();
    let mut client = connect_with_small_window(daemon.addr);
    let local = client.local_addr().unwrap();
    client.write_all(&b"0123456789\n".repeat(5_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_until("echoes", || client.peek(&mut [0]).is_ok());
    // The server has had a turn after the FIN when this comes back.
    echo(&daemon.connect(), b"one\n");
    echo(&daemon.connect(), b"two\n");
    reset(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains(" closed by error (Connection reset by peer"),
        "{record}"
    );
}
