//! Lines to what is sent for them: all at once or one by one, with a prefix before each.
//! Pure: no I/O.
//!
//! Pending output is kept as it was received. The prefixes are put in when a part of it
//! is sent, so a connection takes no more memory with a prefix than without.

use memchr::memchr;

/// Cuts lines into the parts that are sent, and puts the prefix before each line, in a
/// buffer that all connections share.
#[derive(Debug)]
pub(crate) struct LineEncoder {
    /// A part is one line; otherwise as many as fit.
    pub segment_per_line: bool,
    prefix: Box<[u8]>,
    max_part: usize,
    part: Vec<u8>,
}

/// How much of some lines, in their encoded form, has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Bytes of the lines that have been sent.
    pub sent: usize,
    /// Bytes of the prefix to send before the next of them; 0 inside a line.
    prefix_left: usize,
}

impl LineEncoder {
    /// Parts with a prefix have at most `max_part` bytes, which must be more than `prefix`
    /// has. An empty prefix takes no memory.
    pub fn new(segment_per_line: bool, prefix: &[u8], max_part: usize) -> LineEncoder {
        debug_assert!(max_part > prefix.len(), "no byte of a line would fit");
        LineEncoder {
            segment_per_line,
            prefix: prefix.into(),
            max_part,
            part: Vec::with_capacity(if prefix.is_empty() { 0 } else { max_part }),
        }
    }

    pub fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// Where lines begin.
    pub fn start(&self) -> Position {
        Position {
            sent: 0,
            prefix_left: self.prefix.len(),
        }
    }

    /// The next part of `lines` with their prefixes, and where it ends: whole lines as far
    /// as they fit, or as much as fits of a longer one.
    pub fn encode(&mut self, lines: &[u8], position: Position) -> (&[u8], Position) {
        let mut end = position;
        self.part.clear();
        while end.sent < lines.len() {
            let prefix = &self.prefix[self.prefix.len() - end.prefix_left..];
            let remaining = self.max_part.saturating_sub(self.part.len() + prefix.len());
            // No further than fits: a line can be thousands of parts long.
            let rest = &lines[end.sent..];
            let line = first_line(&rest[..rest.len().min(remaining + 1)]);
            if line.len() > remaining {
                if self.part.is_empty() {
                    self.part.extend_from_slice(prefix);
                    self.part.extend_from_slice(&line[..remaining]);
                    end.sent += remaining;
                    end.prefix_left = 0;
                }
                break;
            }
            self.part.extend_from_slice(prefix);
            self.part.extend_from_slice(line);
            end.sent += line.len();
            end.prefix_left = self.prefix.len();
            if self.segment_per_line {
                break;
            }
        }
        (&self.part, end)
    }

    /// The position after `len` more bytes of the encoded form.
    pub fn advance(&self, lines: &[u8], mut position: Position, mut len: usize) -> Position {
        while len > 0 {
            let prefix = len.min(position.prefix_left);
            position.prefix_left -= prefix;
            let rest = &lines[position.sent..];
            let taken = first_line(&rest[..rest.len().min(len - prefix)]);
            position.sent += taken.len();
            len -= prefix + taken.len();
            if taken.ends_with(b"\n") {
                position.prefix_left = self.prefix.len();
            }
        }
        position
    }
}

/// The first of `lines`, with its newline.
pub(crate) fn first_line(lines: &[u8]) -> &[u8] {
    let end = memchr(b'\n', lines).map_or(lines.len(), |lf| lf + 1);
    &lines[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::property;

    fn encoded(lines: &[u8], prefix: &[u8]) -> Vec<u8> {
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        lines.flat_map(|line| [prefix, line].concat()).collect()
    }

    #[test]
    fn a_part_has_as_many_whole_lines_as_fit() {
        let mut encoder = LineEncoder::new(false, b"> ", 10);
        let lines = b"one\n\ntwo\n";
        let (part, end) = encoder.encode(lines, encoder.start());
        assert_eq!(part, b"> one\n> \n");
        let (part, end) = encoder.encode(lines, end);
        assert_eq!((part, end.sent), (&b"> two\n"[..], lines.len()));
    }

    #[test]
    fn a_line_of_many_parts_has_one_prefix() {
        let mut encoder = LineEncoder::new(false, b"> ", 10);
        let lines = [vec![b'x'; 25], b"\n\n".to_vec()].concat();
        let (mut sent, mut position) = (Vec::new(), encoder.start());
        while position.sent < lines.len() {
            let (part, end) = encoder.encode(&lines, position);
            assert!(part.len() <= 10);
            sent.extend_from_slice(part);
            let len = part.len();
            assert_eq!(encoder.advance(&lines, position, len), end);
            position = end;
        }
        assert_eq!(sent, [&b"> "[..], &lines[..26], b"> \n"].concat());
    }

    #[test]
    fn with_a_segment_per_line_a_part_is_one_line() {
        let mut encoder = LineEncoder::new(true, b"> ", 100);
        let (part, end) = encoder.encode(b"one\ntwo\n", encoder.start());
        assert_eq!((part, end.sent), (&b"> one\n"[..], 4));
    }

    #[test]
    fn a_line_longer_than_a_part_is_cut() {
        let mut encoder = LineEncoder::new(false, b"> ", 5);
        let lines = b"12345678\n9\n";
        let mut position = encoder.start();
        for expected in [&b"> 123"[..], b"45678", b"\n> 9\n"] {
            let (part, end) = encoder.encode(lines, position);
            assert_eq!(part, expected);
            position = end;
        }
        assert_eq!(position.sent, lines.len());
    }

    #[test]
    fn without_a_prefix_there_is_no_buffer() {
        let encoder = LineEncoder::new(false, b"", 1000);
        assert_eq!(encoder.part.capacity(), 0);
    }

    proptest! {
        #![proptest_config(property::config(256))]

        #[test]
        fn parts_that_are_sent_in_pieces_make_up_all_lines_with_their_prefixes(
            mut lines in vec(property::byte(52), 0..100),
            prefix in vec(b' '..=b'~', 1..8),
            max_part in 9usize..40,
            one in any::<bool>(),
            sizes in vec(1usize..50, 1..20),
        ) {
            lines.push(b'\n');
            let mut encoder = LineEncoder::new(one, &prefix, max_part);
            let (mut position, mut sent) = (encoder.start(), Vec::new());
            let mut sizes = sizes.iter().cycle();
            while position.sent < lines.len() {
                let (part, end) = encoder.encode(&lines, position);
                prop_assert!(!part.is_empty() && part.len() <= max_part);
                let newlines = memchr::memchr_iter(b'\n', part).count();
                prop_assert!(newlines <= 1 || !one);
                prop_assert!(newlines == 0 || part.ends_with(b"\n"), "whole lines");
                let len = part.len().min(*sizes.next().unwrap());
                sent.extend_from_slice(&part[..len]);
                let is_whole = len == part.len();
                let after = encoder.advance(&lines, position, len);
                prop_assert!(!is_whole || after == end);
                position = after;
            }
            prop_assert_eq!(sent, encoded(&lines, &prefix));
        }
    }
}
