//! Lines of the client that wait for their echoes.

use std::collections::VecDeque;

use super::{Echo, MAX_REQUESTS, MAX_SEARCHED, Step};
use crate::capture::lines::Line;

/// A line of the client that has no echo yet.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub hash: u64,
    /// [`DAMAGED`]: bytes that are not known, as many as `hash` says.
    pub len: u32,
    /// Ordinal of the server's packet that acknowledged it; 0: none did.
    pub acked_by: u32,
}

const DAMAGED: u32 = u32::MAX;

impl Request {
    pub fn new(line: &Line) -> Request {
        let len = u32::try_from(line.len).unwrap_or(DAMAGED);
        let is_damaged = line.damaged || len == DAMAGED;
        Request {
            hash: if is_damaged { line.len } else { line.hash },
            len: if is_damaged { DAMAGED } else { len },
            acked_by: 0,
        }
    }

    pub fn is_damaged(&self) -> bool {
        self.len == DAMAGED
    }

    pub fn len(&self) -> u64 {
        if self.is_damaged() {
            self.hash
        } else {
            self.len.into()
        }
    }
}

impl Echo {
    /// The server has acknowledged the client's stream up to `position`. Returns the first and
    /// the last line that are acknowledged now.
    pub fn acknowledge(&mut self, position: i64, ordinal: u32) -> Option<(u64, u64)> {
        self.acked = (position, ordinal);
        let before = self.acked_requests;
        self.mark_acknowledged();
        let first = self.number + before as u64;
        (self.acked_requests > before)
            .then(|| (first, self.number + self.acked_requests as u64 - 1))
    }

    fn mark_acknowledged(&mut self) {
        while let Some(request) = self.requests.get_mut(self.acked_requests)
            && let end = self.acked_end + request.len().cast_signed()
            && end <= self.acked.0
        {
            request.acked_by = self.acked.1;
            self.acked_end = end;
            self.acked_requests += 1;
        }
    }

    pub(super) fn push_request(&mut self, line: &Line) {
        self.tally.requests += 1;
        let request = Request::new(line);
        if self.requests.len() < MAX_REQUESTS {
            self.requests.push_back(request);
        } else if let Some(last) = self.requests.back_mut() {
            let len = last.len();
            if self.acked_requests == MAX_REQUESTS {
                self.acked_requests -= 1;
                self.acked_end -= len.cast_signed();
            }
            *last = Request {
                hash: len + request.len(),
                len: DAMAGED,
                acked_by: 0,
            };
            self.tally.forgotten += 1;
        }
        self.mark_acknowledged();
        if self.step == Step::Searching && self.requests.len() > MAX_SEARCHED {
            self.pop_request();
        }
    }

    pub(super) fn pop_request(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        if self.acked_requests == 0 {
            self.acked_end += request.len().cast_signed();
        } else {
            self.acked_requests -= 1;
        }
        if self.requests.is_empty() && self.requests.capacity() > 16 {
            self.requests = VecDeque::new();
        }
        self.number += 1;
        Some(request)
    }
}
