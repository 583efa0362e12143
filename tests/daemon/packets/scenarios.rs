//! Exchanges and their data segments, which both `TCP_INFO` and a capture count.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use echoline::SegmentCounts;
use socket2::SockRef;

use super::PACKET_PER_LINE;
use crate::support::clients::{echo, read_to_end, send_and_read_to_end};
use crate::support::deadline::wait_until;

/// What a client does on a connection that the server has accepted, and the data segments
/// that this takes.
pub struct Scenario {
    pub exchange: fn(&TcpStream),
    /// From the client; `None` if the exchange does not determine the number.
    pub data_segs_in: Option<u64>,
    /// From the server by default; `None` if the exchange does not determine the number.
    pub data_segs_out: Option<u64>,
    /// From the server with `--packet-per-line`.
    pub data_segs_out_per_line: u64,
}

impl Scenario {
    /// The modes in which the scenario is run: the server's arguments, and the data
    /// segments that the server then sends.
    pub fn modes(&self) -> impl Iterator<Item = (&'static [&'static str], u64)> {
        let default = self.data_segs_out.map(|segments| (&[][..], segments));
        let per_line = (PACKET_PER_LINE, self.data_segs_out_per_line);
        default.into_iter().chain([per_line])
    }
}

pub const ONE_LINE: Scenario = Scenario {
    exchange: |client| {
        echo(client, b"hello\n");
        wait_for_acks(client);
    },
    data_segs_in: Some(1),
    data_segs_out: Some(1),
    data_segs_out_per_line: 1,
};

pub const PING_PONG: Scenario = Scenario {
    exchange: |client| (0..100).for_each(|_| echo(client, b"ping\n")),
    data_segs_in: Some(100),
    data_segs_out: Some(100),
    data_segs_out_per_line: 100,
};

pub const FOUR_LINES_IN_ONE_SEGMENT: Scenario = Scenario {
    exchange: |client| echo(client, b"one\ntwo\nthree\nfour\n"),
    data_segs_in: Some(1),
    data_segs_out: Some(1),
    data_segs_out_per_line: 4,
};

/// The server acknowledges the incomplete line before the FIN is sent.
pub const UNTERMINATED_LINE: Scenario = Scenario {
    exchange: |mut client| {
        client.write_all(b"last").unwrap();
        wait_for_acks(client);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(client), b"last\n");
    },
    data_segs_in: Some(1),
    data_segs_out: Some(1),
    data_segs_out_per_line: 1,
};

pub const LINE_WITH_FIN: Scenario = Scenario {
    exchange: |client| send_with_fin(client, b"hello\n"),
    data_segs_in: Some(1),
    data_segs_out: Some(1),
    data_segs_out_per_line: 1,
};

pub const LINES_WITH_FIN: Scenario = Scenario {
    exchange: |client| send_with_fin(client, b"one\ntwo\nthree\n"),
    data_segs_in: Some(1),
    data_segs_out: Some(1),
    data_segs_out_per_line: 3,
};

/// 10,000 lines of 16 bytes at once.
pub const BURST: Scenario = Scenario {
    exchange: |client| {
        let lines = b"fifteen bytes..\n".repeat(10_000);
        assert_eq!(send_and_read_to_end(client, &lines), lines);
    },
    data_segs_in: None,
    data_segs_out: None,
    data_segs_out_per_line: 10_000,
};

/// Sends `lines` and the FIN in one segment (`MSG_MORE`) and expects the lines back.
fn send_with_fin(client: &TcpStream, lines: &[u8]) {
    SockRef::from(client)
        .send_with_flags(lines, libc::MSG_MORE)
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(client), lines);
}

/// Waits until all data is acknowledged, in both directions: no ACK is delayed any more.
fn wait_for_acks(client: &TcpStream) {
    let data_sent = SegmentCounts::of(client).unwrap().data_segs_out;
    wait_until("the ACKs", || {
        let now = SegmentCounts::of(client).unwrap();
        // Sent: SYN and ACK of the handshake, a data segment, an ACK of each received.
        now.segs_out >= 3 + now.data_segs_in && now.segs_in > data_sent
    });
}
