//! Compares the lines of both directions, and keeps them in step where bytes are not known.

use super::{Echo, LOOKAHEAD, NOT_THE_LAST, Request, Settings, Step};
use crate::capture::lines::Line;
use crate::capture::tally::Fault;

#[derive(Debug, Default, Clone, Copy)]
pub struct Region {
    requests: Sum,
    replies: Sum,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    bytes: u64,
    lines: u64,
    damaged: bool,
}

impl Sum {
    fn add(&mut self, len: u64, damaged: bool) {
        self.bytes += len;
        self.lines += u64::from(!damaged);
        self.damaged |= damaged;
    }
}

impl Region {
    pub fn is_damaged(&self) -> bool {
        self.requests.damaged || self.replies.damaged
    }
}

impl Echo {
    /// Looks for the line that `reply` is the echo of, where the capture begins in the middle.
    pub(super) fn search(&mut self, settings: &Settings, reply: &Line) {
        let mut end = self.acked_end;
        for request in self.requests.iter().take(self.acked_requests) {
            end -= request.len().cast_signed();
        }
        let mut found = None;
        for (at, request) in self.requests.iter().enumerate() {
            end += request.len().cast_signed();
            // What the server had not received it did not echo.
            if end > reply.first_ack {
                break;
            }
            if self.is_echo(request, at, reply) {
                if found.is_some() {
                    self.tally.ambiguous = true;
                }
                found = found.or(Some(at));
            }
        }
        let Some(at) = found else {
            return;
        };
        for _ in 0..at {
            self.pop_request();
        }
        self.tally.before_search = at as u64;
        self.step = Step::Together;
        self.prefix_len = Some(0);
        self.reply_lines.drop_head();
        self.replies.push_back(*reply);
        self.advance(settings);
    }

    /// Whether a line of the server is the echo of the request at an index.
    fn is_echo(&self, request: &Request, at: usize, reply: &Line) -> bool {
        // A last line without newline comes back with one, or without.
        let is_last = self.unterminated && at + 1 == self.requests.len();
        let newline = u64::from(is_last && reply.terminated);
        !request.is_damaged()
            && !reply.damaged
            && reply.prefixed
            && reply.terminated >= !is_last
            && request.len() + u64::from(reply.prefix_len) + newline == reply.len
            && request.hash == reply.hash
    }

    /// Compares what has come of both directions.
    pub(super) fn advance(&mut self, settings: &Settings) {
        loop {
            if self.step == Step::Lost {
                while let Some(reply) = self.replies.pop_front() {
                    self.count_unmatched(settings, &reply);
                }
                while self.pop_request().is_some() {
                    self.tally.not_compared += 1;
                }
                return;
            }
            let progressed = match self.region {
                Some(region) => self.advance_region(settings, region),
                None => self.advance_line(settings),
            };
            if !progressed {
                return;
            }
        }
    }

    fn advance_line(&mut self, settings: &Settings) -> bool {
        let (Some(request), Some(reply)) = (self.requests.front(), self.replies.front()) else {
            return false;
        };
        let (request, reply) = (*request, *reply);
        if request.is_damaged() || reply.damaged {
            self.prefix_len.get_or_insert(0);
            self.reply_lines.drop_head();
            self.region = Some(Region::default());
            return true;
        }
        self.replies.pop_front();
        self.compare(settings, request, &reply);
        true
    }

    pub(super) fn compare(&mut self, settings: &Settings, request: Request, reply: &Line) {
        let is_first = self.prefix_len.is_none();
        let mut is_echo = self.is_echo(&request, 0, reply);
        if is_first {
            let body = request.len() - u64::from(!self.unterminated || self.requests.len() > 1);
            self.prefix_len = Some(0);
            if is_echo {
                self.reply_lines.drop_head();
            } else if let Some(prefix) =
                self.reply_lines
                    .find_prefix(settings.key, body, request.hash)
            {
                self.tally.prefix = prefix.into();
                self.prefix_len = u16::try_from(prefix.len()).ok();
                is_echo = true;
            }
        } else if u16::try_from(self.tally.prefix.len()).is_ok_and(|len| len != reply.prefix_len) {
            // It came before the prefix was known.
            self.pop_request();
            self.tally.not_compared += 1;
            return self.tally.count(settings, self.number - 1, reply);
        }
        if is_echo {
            self.tally.matched += 1;
            return self.echoed(settings, reply);
        }
        let overtaken = self.overtaken.iter();
        let mut overtaken = overtaken.map(|(_, other)| self.is_echo(other, NOT_THE_LAST, reply));
        if let Some(at) = overtaken.position(|same| same) {
            let number = self.overtaken.remove(at).map_or(0, |(number, _)| number);
            return self.wrong(settings, number, Fault::Reordered, reply);
        }
        if self.previous == Some((reply.len, reply.hash)) {
            return self.wrong(settings, self.number - 1, Fault::Repeated, reply);
        }
        let ahead = self.requests.iter().take(LOOKAHEAD).enumerate();
        let mut ahead = ahead.take_while(|(_, other)| !other.is_damaged());
        let Some((at, _)) = ahead.find(|(at, other)| self.is_echo(other, *at, reply)) else {
            self.wrong(settings, self.number, Fault::Changed, reply);
            self.pop_request();
            return;
        };
        for _ in 0..at {
            let number = self.number;
            if let Some(request) = self.pop_request() {
                self.overtake(number, request);
            }
        }
        self.tally.matched += 1;
        self.echoed(settings, reply);
    }

    fn wrong(&mut self, settings: &Settings, number: u64, fault: Fault, reply: &Line) {
        self.tally.count(settings, number, reply);
        self.tally.fault(number, fault);
    }

    /// The first request's echo has come.
    fn echoed(&mut self, settings: &Settings, reply: &Line) {
        self.tally.count(settings, self.number, reply);
        let this = Some((reply.len, reply.hash));
        self.varied |= self.previous.is_some_and(|last| Some(last) != this);
        self.previous = this;
        if let Some(request) = self.pop_request() {
            let by_echo = reply.first_packet..=reply.last_packet;
            self.tally.ack_on_echo += u64::from(by_echo.contains(&request.acked_by));
        }
    }

    fn overtake(&mut self, number: u64, request: Request) {
        if self.overtaken.len() == LOOKAHEAD
            && let Some((number, _)) = self.overtaken.pop_front()
        {
            self.tally.fault(number, Fault::Lost);
        }
        self.overtaken.push_back((number, request));
    }

    /// Counts a line of the server without knowing which line of the client it echoes.
    pub(super) fn count_unmatched(&mut self, settings: &Settings, reply: &Line) {
        if reply.damaged {
            self.tally.damaged += 1;
        } else {
            self.tally.not_compared += 1;
            self.tally.count(settings, self.number, reply);
        }
    }

    /// Adds one item to the direction that is behind, or ends the region.
    fn advance_region(&mut self, settings: &Settings, mut region: Region) -> bool {
        let prefix = u64::from(self.prefix_len.unwrap_or(0));
        let (requests, replies) = (region.requests, region.replies);
        let (expected, got) = match (requests.damaged, replies.damaged) {
            (_, false) => (
                requests.bytes,
                replies.bytes.saturating_sub(prefix * replies.lines),
            ),
            (false, true) => (requests.bytes + prefix * requests.lines, replies.bytes),
            (true, true) if prefix == 0 => (requests.bytes, replies.bytes),
            (true, true) => {
                self.step = Step::Lost;
                return true;
            }
        };
        if expected == got && requests.bytes > 0 {
            self.region = None;
            return true;
        }
        if expected <= got {
            let Some(request) = self.pop_request() else {
                return false;
            };
            region.requests.add(request.len(), request.is_damaged());
        } else {
            let Some(reply) = self.replies.pop_front() else {
                return false;
            };
            region.replies.add(reply.len, reply.damaged);
            self.count_unmatched(settings, &reply);
        }
        self.region = Some(region);
        true
    }
}
