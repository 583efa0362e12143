//! Received bytes to lines, a bounded number at a time. Pure: no I/O.

use memchr::memchr;

/// What input has turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A line, newline included.
    Line(&'a [u8]),
    /// The beginning of a line that is longer than any may be. The rest is discarded, up to
    /// and including its newline.
    TooLong(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// What there is of the line.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Piece::Line(bytes) | Piece::TooLong(bytes) => bytes,
        }
    }
}

/// Input that has not been taken: a part of a line, or lines beyond the budget.
#[derive(Debug)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// Bytes at the front in which there is no newline.
    scanned: usize,
    /// Bytes of the longest line.
    limit: usize,
    /// The rest of a line that was too long is discarded.
    discarding: bool,
    /// The budget was used up: there may be another line.
    may_have_line: bool,
}

impl Input {
    pub fn new(limit: usize) -> Input {
        Input {
            bytes: Vec::new(),
            scanned: 0,
            limit,
            discarding: false,
            may_have_line: false,
        }
    }

    /// Whether lines may be left that no budget was left for. Then no more should be read.
    pub fn may_have_line(&self) -> bool {
        self.may_have_line
    }

    /// Takes new bytes, and gives `budget` lines at most to `take`. What is left is kept.
    pub fn receive(&mut self, new: &[u8], budget: &mut usize, mut take: impl FnMut(Piece<'_>)) {
        if self.bytes.is_empty() {
            let taken = self.split(new, budget, &mut take);
            self.bytes.extend_from_slice(&new[taken..]);
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(new);
        let taken = self.split(&bytes, budget, &mut take);
        bytes.drain(..taken);
        if bytes.is_empty() && bytes.capacity() > self.limit.min(4096) {
            bytes = Vec::new(); // Its memory goes back.
        }
        self.bytes = bytes;
    }

    /// Returns how many of `bytes` have been taken.
    fn split(
        &mut self,
        bytes: &[u8],
        budget: &mut usize,
        take: &mut impl FnMut(Piece<'_>),
    ) -> usize {
        let mut taken = 0;
        self.may_have_line = false;
        loop {
            let rest = &bytes[taken..];
            if *budget == 0 {
                self.may_have_line = !rest.is_empty();
                return taken;
            }
            let scanned = std::mem::take(&mut self.scanned);
            let Some(newline) = memchr(b'\n', &rest[scanned..]) else {
                return taken + self.keep_part(rest, budget, take);
            };
            let line = &rest[..=scanned + newline];
            taken += line.len();
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            *budget -= 1;
            take(if line.len() > self.limit {
                Piece::TooLong(&line[..self.limit])
            } else {
                Piece::Line(line)
            });
        }
    }

    /// Keeps a part of a line, unless it is too long. Returns how much has been taken.
    fn keep_part(
        &mut self,
        part: &[u8],
        budget: &mut usize,
        take: &mut impl FnMut(Piece<'_>),
    ) -> usize {
        if self.discarding {
            return part.len();
        }
        if part.len() < self.limit {
            self.scanned = part.len();
            return 0;
        }
        *budget -= 1;
        self.discarding = true;
        take(Piece::TooLong(&part[..self.limit]));
        part.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The lines of `bytes`, those that are too long cut and in brackets.
    fn oracle(bytes: &[u8], limit: usize) -> Vec<(bool, Vec<u8>)> {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let is_due = |line: &&[u8]| line.ends_with(b"\n") || line.len() >= limit;
        let verdict = |line: &[u8]| {
            let too_long = line.len() > limit || !line.ends_with(b"\n");
            (too_long, line[..line.len().min(limit)].to_vec())
        };
        lines.filter(is_due).map(verdict).collect()
    }

    proptest! {
        #![proptest_config(property::config(2000))]

        #[test]
        fn every_line_is_taken_once_however_it_is_cut_and_budgeted(
            bytes in vec(property::byte(40), 0..200),
            limit in 1usize..20,
            read_len in 1usize..30,
            budget in 1usize..5,
        ) {
            let (mut input, mut seen) = (Input::new(limit), Vec::new());
            for piece in bytes.chunks(read_len) {
                let mut new = piece;
                loop {
                    let mut left = budget;
                    input.receive(new, &mut left, |piece| seen.push(match piece {
                        Piece::Line(line) => (false, line.to_vec()),
                        Piece::TooLong(start) => (true, start.to_vec()),
                    }));
                    new = &[];
                    prop_assert!(input.bytes.len() <= limit + read_len);
                    if !input.may_have_line() {
                        break;
                    }
                }
            }
            prop_assert_eq!(seen, oracle(&bytes, limit));
        }
    }
}
