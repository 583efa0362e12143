//! All packets, as tcpdump captures them in a network without other traffic. Each capture
//! is compared with the closing record.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;
use socket2::SockRef;

use super::PACKET_PER_LINE;
use super::scenarios::{self, Scenario};
use super::trace::Direction::{In, Out};
use super::trace::Trace;
use crate::support::clients::{
    echo, line_of, read_exactly, read_to_end, send_and_half_close, wait_for_data,
};
use crate::support::daemon::Daemon;
use crate::support::namespace::in_private_network;
use crate::support::pcap::FIN;
use crate::support::tcpdump::Tcpdump;

/// Captures one connection, on which the client does `exchange` and closes.
///
/// If a timer had to send an ACK meanwhile, the capture is repeated. Then no process had
/// the CPU for 40 ms, and the packets depend on the machine's load.
fn capture(args: &[&str], exchange: impl Fn(&Daemon, &TcpStream)) -> Trace {
    for _ in 0..20 {
        let daemon = Daemon::start_with(args);
        let filter = format!("tcp port {}", daemon.addr.port());
        let tcpdump = Tcpdump::start("lo", &filter);
        let before = delayed_acks();
        // Before its accept the server's kernel acknowledges a line at once.
        let client = daemon.connect_accepted();
        let local = client.local_addr().unwrap();
        exchange(&daemon, &client);
        drop(client);
        let trace = Trace::wait_for(&daemon, &tcpdump, local);
        if delayed_acks() == before {
            trace.assert_clean_close();
            trace.assert_record_agrees();
            return trace;
        }
    }
    panic!("a delayed ACK in each of 20 captures");
}

/// `DelayedACKs` of this network namespace (`TcpExt` in `/proc/net/netstat`).
fn delayed_acks() -> usize {
    let table = fs::read_to_string("/proc/net/netstat").unwrap();
    let mut rows = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "DelayedACKs").unwrap();
    value.parse().unwrap()
}

/// Captures a scenario in each of its modes and checks the data segments.
fn capture_all_modes(scenario: &Scenario) -> Vec<Trace> {
    let capture_one = |(args, data_segs_out)| {
        let trace = capture(args, |_, client| (scenario.exchange)(client));
        assert_eq!(trace.data(Out), data_segs_out, "{trace}");
        if let Some(data_segs_in) = scenario.data_segs_in {
            assert_eq!(trace.data(In), data_segs_in, "{trace}");
        }
        trace
    };
    scenario.modes().map(capture_one).collect()
}

/// Handshake 3; line, echo with the ACK of the line, ACK; close 3.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn one_line_and_a_clean_close_take_nine_packets() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::ONE_LINE) {
            assert_eq!(trace.pure_acks(Out), 0, "{trace}");
            assert_eq!(trace.total(), 9, "{trace}");
        }
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_connection_without_a_line_takes_six_packets() {
    in_private_network(|| {
        let trace = capture(&[], |_, _| ());
        assert_eq!((trace.data(In), trace.data(Out)), (0, 0), "{trace}");
        assert_eq!(trace.total(), 6, "{trace}");
    });
}

/// In a steady exchange each line costs two packets: the client acknowledges an echo with
/// its next line.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_hundred_lines_take_two_packets_each() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::PING_PONG) {
            assert_eq!(trace.pure_acks(Out), 0, "{trace}");
            // Handshake 3; the first exchange 3, as the client's kernel acknowledges the
            // first echo at once; 99 exchanges of 2; close 3.
            assert_eq!(trace.total(), 3 + 3 + 2 * 99 + 3, "{trace}");
        }
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn four_lines_in_one_segment_come_back_in_one_or_in_four() {
    in_private_network(|| {
        capture_all_modes(&scenarios::FOUR_LINES_IN_ONE_SEGMENT);
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_burst_of_10000_lines_comes_back_in_10000_segments_per_line() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::BURST) {
            let mut segments = trace.segments(Out);
            assert!(segments.all(|s| s.len == 0 || s.len == 16), "{trace}");
        }
    });
}

/// The MSS of loopback is 65,483 bytes. But the kernel sends no segment of more than half
/// the largest window that the peer has offered, and that is 65,536 bytes at first
/// (`tcp_bound_to_half_wnd` in Linux, `include/net/tcp.h`).
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_line_of_100_kib_comes_back_in_no_more_segments_than_it_arrived_in() {
    in_private_network(|| {
        for mode in ["--max-line=200000", "--packet-per-line"] {
            let trace = capture(&[mode, "--max-line=200000"], |_, client| {
                echo(client, &line_of(102_400));
            });
            let (received, sent) = (trace.data(In), trace.data(Out));
            assert!(2 <= sent && sent <= received && received <= 4, "{trace}");
        }
    });
}

/// Handshake 3; incomplete line, ACK at once; FIN, echo with FIN, ACK.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_last_line_without_newline_takes_eight_packets() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::UNTERMINATED_LINE) {
            assert_eq!(trace.total(), 8, "{trace}");
        }
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_half_closing_client_gets_its_lines_and_then_one_fin() {
    in_private_network(|| {
        for (args, data_segs_out) in [(&[][..], 1), (PACKET_PER_LINE, 2)] {
            let trace = capture(args, |_, mut client| {
                client.write_all(b"one\ntwo\n").unwrap();
                assert_eq!(read_exactly(client, 8), b"one\ntwo\n");
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(client), b"");
            });
            let data = (trace.data(In), trace.data(Out));
            assert_eq!(data, (1, data_segs_out), "{trace}");
        }
    });
}

/// SYN, SYN-ACK, ACK; line with FIN; echo with FIN; ACK: TCP's minimum.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_line_with_a_fin_takes_six_packets_in_all() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::LINE_WITH_FIN) {
            assert_eq!(trace.total(), 6, "{trace}");
        }
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn lines_with_a_fin_come_back_with_the_fin_on_the_last_segment() {
    in_private_network(|| {
        for trace in capture_all_modes(&scenarios::LINES_WITH_FIN) {
            let last = trace.segments(Out).filter(|segment| segment.len > 0).last();
            assert!(last.unwrap().has(FIN), "{trace}");
        }
    });
}

/// What `echo 1 | nc -N` takes if both segments arrive before the server reads.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_line_and_a_fin_in_two_segments_take_seven_packets_at_best() {
    in_private_network(|| {
        let trace = capture(&[], |daemon, mut client| {
            daemon.signal(Signal::STOP);
            client.write_all(b"1\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            daemon.signal(Signal::CONT);
            assert_eq!(read_to_end(client), b"1\n");
        });
        assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
        assert_eq!(trace.total(), 7, "{trace}");
    });
}

#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn shutdown_sends_one_fin_and_no_reset() {
    in_private_network(|| {
        let trace = capture(&[], |daemon, client| {
            echo(client, b"hello\n");
            daemon.signal(Signal::TERM);
            assert_eq!(read_to_end(client), b"");
        });
        assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
        let first_fin = trace.segments.iter().find(|s| s.has(FIN)).unwrap();
        assert!(trace.is(Out, first_fin), "{trace}");
    });
}

/// The client reads only when its window has blocked the server.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_late_reader_gets_every_line_in_a_segment_of_its_own() {
    in_private_network(|| {
        let trace = capture(PACKET_PER_LINE, |daemon, client| {
            let lines = b"0123456\n".repeat(5_000);
            SockRef::from(client).set_recv_buffer_size(8192).unwrap();
            let sender = send_and_half_close(client, lines.clone());
            wait_for_data(client);
            daemon.wait_for_loop_run();
            assert_eq!(read_to_end(client), lines);
            sender.join().unwrap();
        });
        assert_eq!(trace.data(Out), 5_000, "{trace}");
    });
}

/// The client has Nagle's algorithm on and writes each line in two pieces. It sends the
/// second when the first is acknowledged; `capture` excludes that a timer (40 ms) does so.
#[test]
#[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
fn a_client_that_writes_in_pieces_never_waits_for_a_delayed_ack() {
    in_private_network(|| {
        let trace = capture(&[], |_, mut client| {
            client.set_nodelay(false).unwrap();
            for _ in 0..20 {
                client.write_all(b"hel").unwrap();
                client.write_all(b"lo\n").unwrap();
                assert_eq!(read_exactly(client, 6), b"hello\n");
            }
        });
        assert_eq!((trace.data(In), trace.data(Out)), (40, 20), "{trace}");
        // The second pieces too: the kernel acknowledges at once until the server turns
        // that off, which is after the echo.
        assert_eq!(trace.pure_acks(Out), 40, "{trace}");
    });
}
