//! Packets, counted in a capture by the real tcpdump, in a network namespace
//! of the test's own, where no other traffic disturbs; and each time the
//! server's closing record beside it.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use rustix::process::Signal;
use socket2::SockRef;

use crate::packets::recorded;
use crate::support::namespace::in_private_network;
use crate::support::pcap::{FIN, RST, SYN, Segment};
use crate::support::tcpdump::Tcpdump;
use crate::support::{
    Daemon, echo, read_exactly, read_to_end, send_and_read_to_end, wait_for, wait_until,
};

macro_rules! captured {
    ($($(#[doc = $doc:literal])* fn $name:ident() $body:block)*) => {$(
        $(#[doc = $doc])*
        #[test]
        #[ignore = "needs tcpdump, ip, unshare(1) and user namespaces"]
        fn $name() {
            in_private_network(|| $body)
        }
    )*};
}

/// A daemon, and a capture of its packets.
struct Wire {
    daemon: Daemon,
    tcpdump: Tcpdump,
}

impl Wire {
    fn start(args: &[&str]) -> Wire {
        let daemon = Daemon::start_with(args);
        let filter = format!("tcp port {}", daemon.addr.port());
        let tcpdump = Tcpdump::start("lo", &filter);
        Wire { daemon, tcpdump }
    }

    /// A client that the server has accepted, so that the first line does not
    /// arrive before the server has said how it is to be acknowledged.
    fn connect(&self) -> TcpStream {
        let client = self.daemon.connect();
        let local = client.local_addr().unwrap();
        self.daemon.wait_for_record(&format!("{local} connected"));
        client
    }

    /// The whole session of the client that had `local`, once it is over.
    fn trace(&self, local: SocketAddr) -> Trace {
        let record = self.daemon.closing_record(local);
        wait_for("the end of the session", || {
            let mut all = self.tcpdump.segments();
            all.retain(|segment| segment.from == local || segment.to == local);
            let trace = Trace {
                server: self.daemon.addr,
                segments: all,
                record: recorded(&record),
            };
            trace.is_over().then_some(trace)
        })
    }
}

/// The segments of one session, and the server's record of it.
struct Trace {
    server: SocketAddr,
    segments: Vec<Segment>,
    record: [u64; 5],
}

/// Which way: from the client in, from the server out.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    In,
    Out,
}
use Way::{In, Out};

impl Trace {
    fn way(&self, way: Way) -> impl Iterator<Item = &Segment> {
        let from_server = way == Out;
        self.segments
            .iter()
            .filter(move |segment| (segment.from == self.server) == from_server)
    }

    /// Both sides have sent a FIN that the other has acknowledged.
    fn is_over(&self) -> bool {
        let finished = |way, other| {
            let fin = self.way(way).find(|segment| segment.has(FIN));
            fin.is_some_and(|fin| {
                let end = fin.seq.wrapping_add(u32::try_from(fin.len).unwrap() + 1);
                self.way(other).any(|segment| segment.ack == end)
            })
        };
        finished(In, Out) && finished(Out, In) || self.segments.iter().any(|s| s.has(RST))
    }

    fn total(&self) -> usize {
        self.segments.len()
    }

    /// Data segments, those that were sent again apart.
    fn data(&self, way: Way) -> usize {
        let data = self.way(way).filter(|segment| segment.len > 0);
        data.map(|segment| segment.seq)
            .collect::<HashSet<_>>()
            .len()
    }

    fn sent_again(&self, way: Way) -> usize {
        self.way(way).filter(|segment| segment.len > 0).count() - self.data(way)
    }

    fn pure_acks(&self, way: Way) -> usize {
        self.way(way)
            .filter(|segment| segment.is_pure_ack())
            .count()
    }

    /// What every session must have: one handshake, one FIN each way, no RST,
    /// and a closing record that agrees.
    fn check(&self) {
        let flagged = |way, flag| self.way(way).filter(|segment| segment.has(flag)).count();
        for way in [In, Out] {
            assert_eq!(flagged(way, SYN), 1, "{self}");
            assert_eq!(flagged(way, FIN), 1, "{self}");
            assert_eq!(flagged(way, RST), 0, "{self}");
        }
        // The record is made just before the close. What comes after is not in
        // it: a FIN that leaves by itself because of the close, and its ACK.
        // And the kernel does not count the SYN-ACK.
        let of_the_close = self.fin_of_the_close();
        let [incoming, data_in, outgoing, data_out, retransmitted] = self.record;
        let counted = |way, data: bool| {
            let before = &self.segments[..of_the_close.unwrap_or(self.segments.len())];
            let from_server = way == Out;
            let ours = before
                .iter()
                .filter(|s| (s.from == self.server) == from_server);
            ours.filter(|s| !data || s.len > 0).count() as u64
        };
        assert_eq!(data_in, counted(In, true), "{self}");
        assert_eq!(data_out, counted(Out, true), "{self}");
        assert_eq!(retransmitted, self.sent_again(Out) as u64, "{self}");
        // After a lot of data the FIN may have gone before the close: the server
        // sends it when the kernel has not sent all yet, and waits.
        let fin = u64::from(of_the_close.is_some() && self.data(Out) >= 1000);
        let sent = counted(Out, false) - 1;
        assert!((sent..=sent + fin).contains(&outgoing), "{self}");
        // ACKs of what the server sent last may come in after the record: of a
        // FIN that went before the close, and of data if there was a lot.
        let all = counted(In, false);
        let late = match (of_the_close, self.data(Out)) {
            (_, 1000..) => all - data_in,
            (None, _) => 1,
            (Some(_), _) => 0,
        };
        assert!((all - late..=all).contains(&incoming), "{self}");
    }

    /// Where the server's FIN is, if it came after the client's and by itself.
    fn fin_of_the_close(&self) -> Option<usize> {
        let position = |way| {
            let from_server = way == Out;
            let is_fin = |s: &Segment| s.has(FIN) && (s.from == self.server) == from_server;
            self.segments.iter().position(is_fin).unwrap()
        };
        let fin = position(Out);
        (position(In) < fin && self.segments[fin].len == 0).then_some(fin)
    }
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "record {:?}, capture:", self.record)?;
        for segment in self.segments.iter().take(60) {
            let way = if segment.from == self.server {
                "out"
            } else {
                "in "
            };
            writeln!(f, "{way} flags {:02x} len {}", segment.flags, segment.len)?;
        }
        Ok(())
    }
}

const PER_LINE: &[&str] = &["--packet-per-line"];

/// Runs a session and checks its trace.
///
/// A session in which a timer had to send an ACK is run again: then no process
/// was given the CPU for 40 ms, and its packets show the machine's load.
fn session(args: &[&str], talk: impl Fn(&Wire, TcpStream)) -> Trace {
    for _ in 0..20 {
        let wire = Wire::start(args);
        let before = delayed_acks();
        let client = wire.connect();
        let local = client.local_addr().unwrap();
        talk(&wire, client);
        let trace = wire.trace(local);
        if delayed_acks() == before {
            trace.check();
            return trace;
        }
    }
    panic!("there was a delayed ACK in each of 20 sessions");
}

captured! {
    /// Handshake 3, exchange 3 (line, echo with the ACK on it, ACK), close 3.
    fn one_line_and_a_clean_close_take_nine_packets() {
        for args in [&[], PER_LINE] {
            let trace = session(args, |_, client| {
                echo(&client, b"hello\n");
                acknowledged(&client);
            });
            assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
            assert_eq!(trace.pure_acks(Out), 0, "the ACKs ride: {trace}");
            assert_eq!(trace.total(), 9, "{trace}");
        }
    }

    fn a_connection_without_a_line_takes_six_packets() {
        let trace = session(&[], |_, client| drop(client));
        assert_eq!((trace.data(In), trace.data(Out)), (0, 0), "{trace}");
        assert_eq!(trace.total(), 6, "{trace}");
    }

    /// In a steady exchange the client's ACK rides on its next line.
    fn a_hundred_lines_take_two_packets_each() {
        for args in [&[], PER_LINE] {
            let trace = session(args, |_, client| {
                (0..100).for_each(|_| echo(&client, b"ping\n"));
            });
            assert_eq!((trace.data(In), trace.data(Out)), (100, 100), "{trace}");
            assert_eq!(trace.pure_acks(Out), 0, "the ACKs ride: {trace}");
            // Handshake 3; the first exchange 3, as the client is not used to
            // answers yet; 99 exchanges of 2; close 3.
            assert_eq!(trace.total(), 3 + 3 + 2 * 99 + 3, "{trace}");
        }
    }

    fn four_lines_in_one_segment_come_back_in_one_or_in_four() {
        for (args, segments) in [(&[][..], 1), (PER_LINE, 4)] {
            let trace = session(args, |_, client| echo(&client, b"one\ntwo\nthree\nfour\n"));
            assert_eq!((trace.data(In), trace.data(Out)), (1, segments), "{trace}");
        }
    }

    fn a_burst_of_10000_lines_leaves_in_10000_segments_per_line() {
        let trace = session(PER_LINE, |_, client| {
            let lines = b"fifteen bytes..\n".repeat(10_000);
            assert_eq!(send_and_read_to_end(&client, &lines), lines);
        });
        assert_eq!(trace.data(Out), 10_000, "{trace}");
        assert!(trace.way(Out).all(|s| s.len == 0 || s.len == 16), "{trace}");
    }

    /// The MSS of loopback is 65,483 bytes, but nobody sends segments of more
    /// than half the largest window that the peer has offered, which begins at
    /// 65,536 (`tcp_bound_to_half_wnd` in Linux, include/net/tcp.h).
    fn a_line_of_100_kib_takes_no_more_segments_than_the_client_took() {
        for mode in ["--max-line=200000", "--packet-per-line"] {
            let trace = session(&[mode, "--max-line=200000"], |_, client| {
                let line = [vec![b'x'; 102_399], b"\n".to_vec()].concat();
                echo(&client, &line);
            });
            let (took, takes) = (trace.data(In), trace.data(Out));
            assert!(2 <= takes && takes <= took && took <= 4, "{trace}");
        }
    }

    /// The line is acknowledged at once: it is incomplete, and the client may
    /// wait for that. Then FIN, echo with FIN, ACK.
    fn a_last_line_without_newline_takes_eight_packets() {
        let trace = session(&[], |_, mut client| {
            client.write_all(b"last").unwrap();
            acknowledged(&client);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&client), b"last\n");
        });
        assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
        assert_eq!(trace.total(), 8, "{trace}");
    }

    fn a_half_closing_client_gets_its_lines_and_then_one_fin() {
        for (args, segments) in [(&[][..], 1), (PER_LINE, 2)] {
            let trace = session(args, |_, mut client| {
                client.write_all(b"one\ntwo\n").unwrap();
                assert_eq!(read_exactly(&client, 8), b"one\ntwo\n");
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&client), b"");
            });
            assert_eq!((trace.data(In), trace.data(Out)), (1, segments), "{trace}");
        }
    }

    /// SYN, SYN-ACK, ACK; line and FIN; echo and FIN; ACK: TCP's minimum.
    fn a_line_with_a_fin_on_it_takes_six_packets_in_all() {
        for args in [&[], PER_LINE] {
            let trace = session(args, |_, client| {
                SockRef::from(&client)
                    .send_with_flags(b"hello\n", libc::MSG_MORE)
                    .unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&client), b"hello\n");
            });
            assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
            assert_eq!(trace.total(), 6, "{trace}");
        }
    }

    /// `echo 1 | nc -N`, when the server reads after both have arrived.
    fn a_line_and_a_fin_in_two_segments_take_seven_packets_at_best() {
        let trace = session(&[], |wire, mut client| {
            wire.daemon.signal(Signal::STOP);
            client.write_all(b"1\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            wire.daemon.signal(Signal::CONT);
            assert_eq!(read_to_end(&client), b"1\n");
        });
        assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
        assert_eq!(trace.total(), 7, "{trace}");
    }

    fn a_stop_of_the_server_sends_one_fin_and_no_reset() {
        let trace = session(&[], |wire, client| {
            echo(&client, b"hello\n");
            wire.daemon.signal(Signal::TERM);
            assert_eq!(read_to_end(&client), b"");
        });
        assert_eq!((trace.data(In), trace.data(Out)), (1, 1), "{trace}");
        let server_first = trace.segments.iter().find(|s| s.has(FIN)).unwrap();
        assert_eq!(server_first.from, trace.server, "{trace}");
    }

    /// Backpressure in both modes, with a reader that begins late.
    fn a_late_reader_gets_every_line_in_a_segment_of_its_own() {
        let trace = session(PER_LINE, |wire, client| {
            let lines = b"0123456\n".repeat(5_000);
            SockRef::from(&client).set_recv_buffer_size(8192).unwrap();
            let mut sender = client.try_clone().unwrap();
            let bytes = lines.clone();
            let sent = std::thread::spawn(move || {
                sender.write_all(&bytes).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            wait_until("echoes", || client.peek(&mut [0]).is_ok());
            echo(&wire.daemon.connect(), b"the server has had a turn since\n");
            assert_eq!(read_to_end(&client), lines);
            sent.join().unwrap();
        });
        assert_eq!(trace.data(Out), 5_000, "{trace}");
    }

    /// A client with Nagle on that writes each line in two pieces sends the
    /// second when the first is acknowledged; `session` sees to it that no
    /// timer (40 ms) had to do that.
    fn a_client_that_writes_in_pieces_never_waits_for_a_delayed_ack() {
        let trace = session(&[], |_, mut client| {
            client.set_nodelay(false).unwrap();
            for _ in 0..20 {
                client.write_all(b"hel").unwrap();
                client.write_all(b"lo\n").unwrap();
                assert_eq!(read_exactly(&client, 6), b"hello\n");
            }
        });
        assert_eq!((trace.data(In), trace.data(Out)), (40, 20), "{trace}");
        // Both pieces: the kernel goes on acknowledging at once until it is
        // told otherwise, which is after the echo.
        assert_eq!(trace.pure_acks(Out), 40, "{trace}");
    }
}

/// Waits until all that was sent has been acknowledged, and what was received
/// too: the kernel has no ACK left to delay.
fn acknowledged(client: &TcpStream) {
    let sent = echoline::SegmentCounts::of(client).unwrap();
    wait_until("the ACK", || {
        let now = echoline::SegmentCounts::of(client).unwrap();
        // Handshake: SYN and ACK; one data segment; an ACK for each received.
        now.segs_out >= 3 + now.data_segs_in && now.segs_in > sent.data_segs_out
    });
}

/// `DelayedACKs` of this network namespace (`/proc/net/netstat`, `TcpExt`).
fn delayed_acks() -> usize {
    let table = fs::read_to_string("/proc/net/netstat").unwrap();
    let mut rows = table.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "DelayedACKs").unwrap();
    value.parse().unwrap()
}
