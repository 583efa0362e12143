//! One direction's stream as lines, each with the packets that carried it.

use crate::capture::hash::{Hash, Key};
use crate::capture::stream::{Origin, Piece};

/// Longest first echo in which a prefix is looked for.
const MAX_HEAD: usize = 4096;

/// A line, or the rest at the end of the stream, or what cannot be cut into lines.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Line {
    /// Bytes, with prefix and newline.
    pub len: u64,
    /// Of the bytes without prefix and newline.
    pub hash: u64,
    /// It ends with a newline.
    pub terminated: bool,
    /// Bytes in it are not known, so that it may be several lines.
    pub damaged: bool,
    /// It begins with the prefix that was expected.
    pub prefixed: bool,
    /// Bytes of the prefix that was expected.
    pub prefix_len: u16,
    /// Packets that carried a byte of it for the first time.
    pub packets: u32,
    /// Ordinal of the first of them.
    pub first_packet: u32,
    /// Ordinal of the last of them.
    pub last_packet: u32,
    /// Up to where the first of them acknowledges the other direction.
    pub first_ack: i64,
    /// A packet may be several on the wire.
    pub at_least: bool,
    /// A packet may have been sent again, cut otherwise than at first.
    pub unsure: bool,
}

#[derive(Debug, Default)]
pub struct Lines {
    /// Where the line begins.
    start: i64,
    line: Line,
    hash: Hash,
    prefix: Box<[u8]>,
    /// The first line's bytes, until it is known whether it has a prefix.
    head: Option<Vec<u8>>,
}

impl Lines {
    /// Keeps the first line, to look for a prefix in it.
    pub fn with_head() -> Lines {
        let mut lines = Lines {
            head: Some(Vec::new()),
            ..Lines::default()
        };
        lines.begin(0);
        lines
    }

    pub fn new() -> Lines {
        let mut lines = Lines::default();
        lines.begin(0);
        lines
    }

    fn begin(&mut self, start: i64) {
        self.start = start;
        self.hash = Hash::default();
        self.line = Line {
            prefixed: true,
            prefix_len: self.prefix.len().try_into().unwrap_or(u16::MAX),
            ..Line::default()
        };
    }

    /// Bytes of the line that is not complete.
    pub fn partial_len(&self) -> u64 {
        self.line.len
    }

    /// Where the line that is not complete begins.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Takes the rest of `piece`, up to the next newline. Returns the line that it completes.
    pub fn next(&mut self, key: Key, piece: &mut Piece<'_>) -> Option<Line> {
        let newline = memchr::memchr(b'\n', piece.bytes);
        let len = newline.map_or(piece.bytes.len(), |at| at + 1);
        let (part, rest) = piece.bytes.split_at(len);
        if len > 0 {
            self.touch(piece.start, len as u64, piece.origin);
            self.absorb(key, &part[..newline.unwrap_or(len)]);
            self.line.len += len as u64;
            piece.start += len.cast_signed() as i64;
            piece.bytes = rest;
        }
        if newline.is_some() {
            return self.take(key, true);
        }
        if piece.unknown > 0 {
            self.touch(piece.start, piece.unknown.into(), piece.origin);
            self.line.damaged = true;
            self.line.len += u64::from(std::mem::take(&mut piece.unknown));
            self.head = None;
        }
        None
    }

    /// The rest of the stream, which has no newline.
    pub fn finish(&mut self, key: Key) -> Option<Line> {
        self.take(key, false)
    }

    fn take(&mut self, key: Key, terminated: bool) -> Option<Line> {
        if self.line.len == 0 {
            return None;
        }
        let line = Line {
            hash: self.hash.finish(key),
            terminated,
            ..self.line
        };
        self.begin(self.start + line.len.cast_signed());
        Some(line)
    }

    /// Counts the packet of a part of the line, unless an earlier part came in it too.
    fn touch(&mut self, start: i64, len: u64, origin: Option<Origin>) {
        let Some(origin) = origin else {
            return;
        };
        if origin.first_new >= self.start && origin.first_new < start {
            return;
        }
        let segments = origin
            .merged
            .map_or(1, |size| len.div_ceil(size.max(1).into()));
        let segments = u32::try_from(segments).unwrap_or(u32::MAX);
        let line = &mut self.line;
        line.packets = line.packets.saturating_add(segments);
        line.at_least |= origin.merged.is_some();
        line.unsure |= origin.perhaps_again;
        if line.first_packet == 0 {
            line.first_packet = origin.ordinal;
            line.first_ack = origin.ack;
        }
        line.last_packet = line.last_packet.max(origin.ordinal);
    }

    fn absorb(&mut self, key: Key, part: &[u8]) {
        let mut body = part;
        let offset = usize::try_from(self.line.len).unwrap_or(usize::MAX);
        if let Some(expected) = self.prefix.get(offset..).filter(|rest| !rest.is_empty()) {
            let (prefix, rest) = part.split_at(part.len().min(expected.len()));
            self.line.prefixed &= expected.starts_with(prefix);
            body = rest;
        }
        self.hash.update(key, body);
        if let Some(head) = &mut self.head {
            if head.len() + part.len() > MAX_HEAD {
                self.head = None;
            } else {
                head.extend_from_slice(part);
            }
        }
    }

    /// From the first line on: whether it is a prefix and then a line of `len` bytes without
    /// newline and of this hash. If so, each line is expected to have that prefix.
    pub fn find_prefix(&mut self, key: Key, len: u64, hash: u64) -> Option<&[u8]> {
        let head = self.head.take()?;
        let at = head.len().checked_sub(usize::try_from(len).ok()?)?;
        let (prefix, body) = head.split_at(at);
        let mut own = Hash::default();
        own.update(key, body);
        if prefix.is_empty() || own.finish(key) != hash {
            return None;
        }
        self.prefix = prefix.into();
        if self.line.len == 0 {
            self.begin(self.start);
        }
        Some(&self.prefix)
    }

    /// No prefix is looked for any more.
    pub fn drop_head(&mut self) {
        self.head = None;
    }
}
