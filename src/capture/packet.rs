//! What one packet of a connection is, as it is reported.

use std::net::SocketAddr;
use std::time::Duration;

pub use crate::capture::echo::Span;
use crate::capture::segment::Endpoint;

/// The side that sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sends lines.
    Client,
    /// It repeats them.
    Server,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// SYN.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// An ACK of something new, and nothing else.
    Ack,
    /// Data above all that were seen before; perhaps with a FIN.
    Data,
    /// New data below the highest that were seen before: reordered, or sent again after a
    /// loss before the capture point.
    Late,
    /// Data, a SYN or a FIN that an earlier packet carried.
    Again,
    /// A FIN without data.
    Fin,
    /// A reset.
    Rst,
    /// A probe of an idle connection.
    KeepAlive,
    /// A probe whether the peer's window is still zero.
    ZeroWindowProbe,
    /// An ACK of nothing new, with another window.
    WindowUpdate,
    /// An ACK of nothing new.
    DuplicateAck,
    /// The same packet once more, from another device: it is in no count.
    Duplicate,
}

/// What a packet is the first to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// Whole lines of the client: numbers of the first and the last.
    Lines(u64, u64),
    /// Whole echoes: numbers of the first and the last.
    Echoes(u64, u64),
    /// A part of the echo of this number.
    PartOfEcho(u64),
    /// The peer's FIN.
    Fin,
}

/// A packet of a connection.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Packet {
    /// The frame's number in the capture.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Nanoseconds since the connection's packet before it.
    pub since: i64,
    /// Number of the connection, from 1.
    pub connection: u64,
    pub(crate) sender: Endpoint,
    /// The sender; `None` while it is not known which side is the server.
    pub from: Option<Side>,
    /// TCP's flags, 12 bits.
    pub flags: u16,
    /// Bytes of data.
    pub len: u32,
    /// How many packets on the wire it stands for, at least.
    pub segments: u32,
    /// What it is.
    pub kind: Kind,
    /// Which lines or echoes it carries, where that is known.
    pub lines: Option<Span>,
    /// What it is the first to acknowledge.
    pub acked: Option<Acked>,
    /// How long the line's earlier part had waited, if its ACK was waited for.
    pub stall: Option<Duration>,
    /// It closes the window.
    pub zero_window: bool,
    /// Earlier bytes of its stream have not been seen.
    pub after_a_gap: bool,
}

impl Packet {
    /// Address of the sender.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.sender.into()
    }

    /// Whether a reader should see it in any case.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        let cut = self.from == Some(Side::Server)
            && self
                .lines
                .is_some_and(|lines| !lines.ends || lines.first_byte > 1);
        let is_odd = matches!(
            self.kind,
            Kind::Again | Kind::Late | Kind::Rst | Kind::ZeroWindowProbe | Kind::Duplicate
        );
        is_odd || cut || self.stall.is_some() || self.zero_window || self.after_a_gap
    }
}
