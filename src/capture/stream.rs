//! One direction's new bytes in the order of their sequence numbers.

use crate::capture::coverage::Coverage;

/// Bytes that may wait for those before them, with what each packet of them costs.
const MAX_WAITING: usize = 64 * 1024;
/// What a waiting packet costs besides its bytes.
const OVERHEAD: usize = 64;

/// The packet that a piece of the stream came in.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Which packet of the connection, from 1.
    pub ordinal: u32,
    /// Up to where it acknowledges the other direction.
    pub ack: i64,
    /// Where its first new byte stands.
    pub first_new: i64,
    /// The size of its segments on the wire, if it may be several.
    pub merged: Option<u32>,
    /// It may have been sent again after a loss before the capture point.
    pub perhaps_again: bool,
}

/// A piece of the stream.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    pub start: i64,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// Bytes after `bytes` that are not known.
    pub unknown: u32,
    /// `None`: no packet carried it.
    pub origin: Option<Origin>,
}

impl Piece<'_> {
    fn end(&self) -> i64 {
        self.start + i64::from(self.unknown) + self.bytes.len().cast_signed() as i64
    }
}

#[derive(Debug)]
struct Waiting {
    start: i64,
    bytes: Box<[u8]>,
    unknown: u32,
    origin: Option<Origin>,
}

impl Waiting {
    fn piece(&self) -> Piece<'_> {
        Piece {
            start: self.start,
            bytes: &self.bytes,
            unknown: self.unknown,
            origin: self.origin,
        }
    }
}

#[derive(Debug, Default)]
pub struct Stream {
    /// Up to where bytes have been delivered.
    delivered: i64,
    /// Sorted by `start`, without overlaps.
    waiting: Vec<Waiting>,
    cost: usize,
}

impl Stream {
    /// Takes a piece of new bytes only, and delivers what is now in order.
    pub fn push(&mut self, piece: Piece<'_>, deliver: &mut impl FnMut(Piece<'_>)) {
        if piece.start < self.delivered {
            return; // It lies in a hole that was passed over.
        }
        if piece.start == self.delivered {
            self.delivered = piece.end();
            deliver(piece);
            return self.deliver_waiting(deliver);
        }
        let at = self
            .waiting
            .partition_point(|other| other.start < piece.start);
        self.cost += piece.bytes.len() + OVERHEAD;
        self.waiting.insert(
            at,
            Waiting {
                start: piece.start,
                bytes: piece.bytes.into(),
                unknown: piece.unknown,
                origin: piece.origin,
            },
        );
        while self.cost > MAX_WAITING {
            self.pass_over_hole(deliver);
        }
    }

    fn deliver_waiting(&mut self, deliver: &mut impl FnMut(Piece<'_>)) {
        if self.waiting.is_empty() {
            return;
        }
        let mut in_order = 0;
        while let Some(next) = self.waiting.get(in_order)
            && next.start == self.delivered
        {
            let piece = next.piece();
            self.delivered = piece.end();
            self.cost -= piece.bytes.len() + OVERHEAD;
            deliver(piece);
            in_order += 1;
        }
        self.waiting.drain(..in_order);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// Whether bytes wait for a hole to be filled.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Up to where bytes have been delivered.
    pub fn delivered(&self) -> i64 {
        self.delivered
    }

    /// Gives up the bytes that the first waiting piece waits for.
    pub fn pass_over_hole(&mut self, deliver: &mut impl FnMut(Piece<'_>)) {
        if let Some(first) = self.waiting.first() {
            let end = first.start;
            self.pass_over(end, deliver);
            self.deliver_waiting(deliver);
        }
    }

    /// Gives up every hole below `coverage`'s highest byte and below `acked`.
    pub fn finish(&mut self, coverage: &Coverage, acked: i64, deliver: &mut impl FnMut(Piece<'_>)) {
        while self.waits() {
            self.pass_over_hole(deliver);
        }
        self.pass_over(coverage.high().max(acked), deliver);
    }

    /// Gives up the bytes before `end`.
    pub fn pass_over(&mut self, end: i64, deliver: &mut impl FnMut(Piece<'_>)) {
        while self.delivered < end {
            let unknown = u32::try_from(end - self.delivered).unwrap_or(u32::MAX);
            let piece = Piece {
                start: self.delivered,
                bytes: &[],
                unknown,
                origin: None,
            };
            self.delivered = piece.end();
            deliver(piece);
        }
    }
}
