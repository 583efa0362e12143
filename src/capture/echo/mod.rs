//! Which bytes of the server belong to which line of the client.
//!
//! Both directions are sequences of lines. Where bytes are not known (not captured, cut by the
//! snaplen, more than is remembered), lines are one damaged item of known length, and the
//! two sequences are in step again where both have as many bytes.

mod compare;
mod finish;
mod request;

use std::collections::VecDeque;

use crate::capture::hash::Key;
use crate::capture::lines::{Line, Lines};
use crate::capture::stream::Piece;
use crate::capture::tally::Tally;
use compare::Region;
use request::Request;

/// Lines that are remembered in each direction, of 64 KiB.
const MAX_REQUESTS: usize = 64 * 1024 / size_of::<Request>();
const MAX_REPLIES: usize = 64 * 1024 / size_of::<Line>();
/// Lines that a wrong echo is compared with, and lines that a later echo has overtaken.
const LOOKAHEAD: usize = 64;

/// Index of a request that is not the last, in [`Echo::is_echo`].
const NOT_THE_LAST: usize = usize::MAX - 1;
/// Lines among which the first echo is looked for, in a capture that begins in the middle.
const MAX_SEARCHED: usize = 256;

/// What is the same for all connections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub key: Key,
    pub expected_packets: Option<u64>,
}

/// Whether the two directions are compared line by line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The capture begins in the middle: no echo has been found yet.
    Searching,
    Together,
    /// Lengths do not fit after bytes that are not known. Nothing is compared any more.
    Lost,
}

/// Which part of which lines a packet carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Number of the first line, from 1.
    pub first: u64,
    /// Number of the last line.
    pub last: u64,
    /// The first byte, in the first line, from 1.
    pub first_byte: u64,
    /// The last byte, in the last line.
    pub last_byte: u64,
    /// The last line's length, where it is known.
    pub len: Option<u64>,
    /// It carries the last line's end.
    pub ends: bool,
}

#[derive(Debug)]
pub struct Echo {
    request_lines: Lines,
    reply_lines: Lines,
    requests: VecDeque<Request>,
    replies: VecDeque<Line>,
    /// Number of the first of `requests`.
    number: u64,
    /// How many of `requests` the server has acknowledged, and where the last of them ends.
    acked_requests: usize,
    acked_end: i64,
    /// Up to where the server has acknowledged, and the packet that did.
    acked: (i64, u32),
    /// The last of `requests` has no newline.
    unterminated: bool,
    step: Step,
    began_in_the_middle: bool,
    /// `None`: no echo has shown it yet.
    prefix_len: Option<u16>,
    region: Option<Region>,
    overtaken: VecDeque<(u64, Request)>,
    previous: Option<(u64, u64)>,
    /// Two echoes one after the other were different.
    varied: bool,
    pub tally: Tally,
}

impl Echo {
    pub fn new(has_handshake: bool) -> Echo {
        Echo {
            request_lines: Lines::new(),
            reply_lines: Lines::with_head(),
            requests: VecDeque::new(),
            replies: VecDeque::new(),
            number: 1,
            acked_requests: 0,
            acked_end: 0,
            acked: (0, 0),
            unterminated: false,
            step: if has_handshake {
                Step::Together
            } else {
                Step::Searching
            },
            began_in_the_middle: !has_handshake,
            prefix_len: None,
            region: None,
            overtaken: VecDeque::new(),
            previous: None,
            varied: false,
            tally: Tally::default(),
        }
    }

    /// Takes a piece of the client's stream. Returns what it carried.
    pub fn request(&mut self, settings: &Settings, mut piece: Piece<'_>) -> Option<Span> {
        let first = self.number + self.requests.len() as u64;
        let first_byte = self.request_lines.partial_len() + 1;
        let (mut last, mut last_len) = (first, None);
        while let Some(line) = self.request_lines.next(settings.key, &mut piece) {
            last = self.number + self.requests.len() as u64;
            last_len = Some(line.len);
            self.push_request(&line);
            self.advance(settings);
        }
        let partial = self.request_lines.partial_len();
        if partial > 0 {
            last = self.number + self.requests.len() as u64;
        }
        Some(Span {
            first,
            last,
            first_byte,
            last_byte: if partial > 0 { partial } else { last_len? },
            len: if partial > 0 { None } else { last_len },
            ends: partial == 0,
        })
    }

    /// Takes a piece of the server's stream. Returns what it carried.
    pub fn reply(&mut self, settings: &Settings, mut piece: Piece<'_>) -> Option<Span> {
        let first = self.number + self.replies.len() as u64;
        let first_byte = self.reply_lines.partial_len() + 1;
        let (mut last, mut last_len) = (first, None);
        while let Some(line) = self.reply_lines.next(settings.key, &mut piece) {
            last = self.number + self.replies.len() as u64;
            last_len = Some(line.len);
            self.push_reply(settings, line);
        }
        let partial = self.reply_lines.partial_len();
        if partial > 0 {
            last = self.number + self.replies.len() as u64;
        }
        let expected = self
            .requests
            .get(self.replies.len())
            .filter(|request| !request.is_damaged());
        let expected =
            expected.map(|request| request.len() + u64::from(self.prefix_len.unwrap_or(0)));
        Some(Span {
            first,
            last,
            first_byte,
            last_byte: if partial > 0 { partial } else { last_len? },
            len: if partial > 0 { expected } else { last_len },
            ends: partial == 0,
        })
    }

    /// The client has sent everything.
    pub fn finish_requests(&mut self, settings: &Settings) {
        if let Some(line) = self.request_lines.finish(settings.key) {
            self.unterminated = !line.damaged;
            self.push_request(&line);
            self.advance(settings);
        }
    }

    /// The server has sent everything.
    pub fn finish_replies(&mut self, settings: &Settings) {
        if let Some(line) = self.reply_lines.finish(settings.key) {
            self.push_reply(settings, line);
        }
    }

    fn push_reply(&mut self, settings: &Settings, line: Line) {
        if self.step == Step::Searching {
            return self.search(settings, &line);
        }
        if let Some(request) = self.requests.front().copied()
            && self.step == Step::Together
            && self.replies.is_empty()
            && self.region.is_none()
            && !request.is_damaged()
            && !line.damaged
        {
            return self.compare(settings, request, &line); // Nearly always.
        }
        self.replies.push_back(line);
        self.advance(settings);
        if self.replies.len() > MAX_REPLIES {
            // Of which lines these are the echoes will not be known.
            self.step = Step::Lost;
            self.advance(settings);
        }
    }

    /// The server's first byte is not known: its first line may be the echo of one before
    /// the capture.
    pub fn search_first_echo(&mut self) {
        self.step = Step::Searching;
        self.began_in_the_middle = true;
    }

    /// Whether echoes show that the directions are not the other way round. Lines that are
    /// all the same show nothing.
    pub fn is_convincing(&self) -> bool {
        self.tally.matched > 1 && self.varied && !self.tally.ambiguous
    }

    /// Where the last complete line of the server ends.
    pub fn replies_end(&self) -> i64 {
        self.reply_lines.start()
    }

    /// Number of the last complete line of the server.
    pub fn last_reply(&self) -> u64 {
        self.number + self.replies.len() as u64 - 1
    }
}
