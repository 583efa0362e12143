//! How connections end, and that nothing of them is left.

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use rustix::process::Signal;

use crate::support::clients::{
    connect_with_small_window, echo, reset, send_and_read_to_end, wait_for_data,
};
use crate::support::daemon::Daemon;
use crate::support::deadline::wait_until;
use crate::support::sockets::{wait_until_arrived, wait_until_reset};

#[test]
fn a_client_that_closes_is_closed_and_logged() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    echo(&client, b"hello\n");
    echo(&client, b"\n");
    let local = client.local_addr().unwrap();
    drop(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains(" closed by peer: 2 lines, 7/7 bytes, "),
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
        assert!(record.contains("closed by peer: 0 lines, 0/0 bytes, "));
    }
    assert!(daemon.stop().iter().all(|line| line.contains(" INFO ")));
}

/// As the health check of a load balancer: no echo is lost.
#[test]
fn a_reset_without_a_byte_is_empty_and_no_error() {
    let daemon = Daemon::start();
    let client = daemon.connect_accepted();
    let local = client.local_addr().unwrap();
    reset(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("closed by peer: 0 lines, 0/0 bytes, "),
        "{record}"
    );
    let totals = daemon.stop().pop().unwrap();
    assert!(totals.ends_with("; closed 1 by peer; 1 empty"), "{totals}");
}

#[test]
fn a_reset_in_the_middle_of_a_line_affects_no_other_client() {
    let daemon = Daemon::start();
    let other = daemon.connect();
    for _ in 0..20 {
        let mut client = daemon.connect();
        let local = client.local_addr().unwrap();
        client.write_all(b"in the middle of a").unwrap();
        echo(&other, b"still here\n");
        reset(client);
        let record = daemon.closing_record(local);
        let text = "closed by error (Connection reset by peer): 0 lines, 18/0 bytes, ";
        assert!(record.contains(text), "{record}");
        echo(&other, b"still here\n");
    }
}

#[test]
fn a_client_that_closes_with_unread_echoes_is_closed() {
    let daemon = Daemon::start();
    let fds = daemon.fd_count();
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    client.write_all(&b"unread\n".repeat(1000)).unwrap();
    wait_for_data(&client);
    drop(client); // Unread input: the kernel sends an RST.
    daemon.closing_record(local);
    wait_until("the descriptor to be closed", || daemon.fd_count() == fds);
}

#[test]
fn after_1000_connections_no_socket_and_no_descriptor_is_left() {
    let daemon = Daemon::start();
    let first = daemon.connect();
    echo(&first, b"first\n");
    let fds = daemon.fd_count();
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
    daemon.wait_for_closed(1000);
    daemon.assert_nothing_leaked(fds);
    echo(&first, b"still here\n");
}

/// Data and FIN arrive in one event, and there is no further event. A server that stops
/// at the short read keeps the socket in `CLOSE_WAIT` for ever.
#[test]
fn a_line_and_a_fin_that_arrive_together_are_both_handled() {
    let daemon = Daemon::start();
    let fds = daemon.fd_count();
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
    daemon.wait_for_closed(1000);
    daemon.assert_nothing_leaked(fds);
}

#[test]
fn lines_that_arrive_together_with_a_reset_are_counted_and_checked() {
    let daemon = Daemon::start_with(&["-v", "--max-line", "100"]);
    let mut client = daemon.connect();
    let local = client.local_addr().unwrap();
    echo(&client, b"first\n");
    daemon.signal(Signal::STOP);
    client.write_all(b"hello\nworld\n").unwrap();
    client.write_all(&[b'x'; 200]).unwrap();
    wait_until_arrived([&client], 212);
    reset(client);
    wait_until_reset(local);
    daemon.signal(Signal::CONT);
    let record = daemon.closing_record(local);
    assert!(
        record.contains("line limit: 3 lines, 218/6 bytes, "),
        "{record}"
    );
    daemon.wait_for_record("message: \"world\"");
    daemon.wait_for_record("line too long: at least 200 bytes");
}

/// The server has handed everything to the kernel, FIN included, when the RST arrives.
#[test]
fn a_reset_after_a_half_close_with_echoes_in_flight_is_an_error() {
    let daemon = Daemon::start();
    let mut client = connect_with_small_window(daemon.addr);
    let local = client.local_addr().unwrap();
    client.write_all(&b"0123456789\n".repeat(5_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_for_data(&client);
    // After these the loop has run since it received the FIN.
    daemon.wait_for_loop_run();
    daemon.wait_for_loop_run();
    reset(client);
    let record = daemon.closing_record(local);
    assert!(
        record.contains(" closed by error (Connection reset by peer"),
        "{record}"
    );
}
