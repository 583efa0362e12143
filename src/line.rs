//! Framing: bytes in, complete lines out, with a limit on a line's length.
//!
//! Pure: no I/O. A line is every byte up to and including LF (0x0A).

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memrchr};

/// How much of a client's line a log record shows, in bytes.
const EXCERPT: usize = 256;

/// How much of the buffer the beginning of a line may take to be put in front of
/// what is read next: one part in so many, of 64 KiB 4 KiB. It is copied for each
/// read, even of a single byte, and is to cost less than the read.
const FRONT: usize = 16;

/// Cuts a byte stream into lines, holding back the one that is not complete.
///
/// What is held never contains a newline, so it is never scanned again: a
/// client that sends a byte at a time costs linear time.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    partial: Vec<u8>,
}

/// What one chunk of input completed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lines<'a> {
    /// The complete lines, contiguous, each with its newline. They borrow from
    /// the buffer unless the beginning of the first was too long to be put there.
    pub bytes: Cow<'a, [u8]>,
    /// The line after `bytes` is too long; this many bytes of it are known.
    /// The stream is over: nothing more may be pushed.
    pub too_long: Option<usize>,
}

impl Framer {
    /// Whether the beginning of a line is held.
    pub fn holds_something(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Puts the short beginning of a line that is held in front of a `buffer`
    /// into which the next chunk will be read: it will stand together there.
    /// Returns its length, or 0 if it is too long for that.
    #[inline(never)] // Rare: the usual path is shorter without it.
    pub fn put_in_front(&self, buffer: &mut [u8]) -> usize {
        let held = self.partial.len();
        if held > buffer.len() / FRONT {
            return 0;
        }
        buffer[..held].copy_from_slice(&self.partial);
        held
    }

    /// Takes the next chunk of a stream whose lines may have at most
    /// `max_line` bytes, newline included: `buffer`, but for what was
    /// [put in `front`](Self::put_in_front).
    ///
    /// The lines that come out, and whether one is too long, do not depend on
    /// how the stream was cut into chunks.
    pub fn push<'a>(&mut self, buffer: &'a [u8], front: usize, max_line: usize) -> Lines<'a> {
        let chunk = &buffer[front..];
        let (end, too_long) = split(chunk, self.partial.len(), max_line);
        let (lines, rest) = chunk.split_at(end);
        let bytes = if lines.is_empty() {
            Cow::Borrowed(lines)
        } else if self.partial.len() == front {
            self.partial = Vec::new();
            Cow::Borrowed(&buffer[..front + end])
        } else {
            self.partial.extend_from_slice(lines);
            Cow::Owned(std::mem::take(&mut self.partial))
        };
        let too_long = too_long.then(|| {
            let held = std::mem::take(&mut self.partial);
            held.len() + memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1)
        });
        if too_long.is_none() && !rest.is_empty() {
            self.partial.extend_from_slice(rest);
        }
        Lines { bytes, too_long }
    }

    /// Whether the stream would end inside a line if `chunk` were its last.
    pub fn ends_inside_line(&self, chunk: &[u8]) -> bool {
        chunk
            .last()
            .map_or(!self.partial.is_empty(), |&last| last != b'\n')
    }
}

/// Where the complete lines of `chunk` end, and whether the line after them is
/// too long. The first line has `held` bytes before the chunk (`< max_line`,
/// without a newline).
///
/// Looks backwards for the last newline within reach of the limit, so a chunk
/// within the limit takes one short search and any chunk a linear one.
fn split(chunk: &[u8], held: usize, max_line: usize) -> (usize, bool) {
    let mut end = 0;
    let mut room = max_line - held;
    while end < chunk.len() {
        let reach = chunk.len().min(end.saturating_add(room));
        match memrchr(b'\n', &chunk[end..reach]) {
            Some(lf) => end += lf + 1,
            // `room` bytes without a newline: with one, the line is too long.
            None => return (end, reach - end == room),
        }
        if reach == chunk.len() {
            break; // What follows the newline is shorter than a line may be.
        }
        room = max_line;
    }
    (end, false)
}

/// Whether `chunk` is nothing but whole lines that are within the limit: if
/// nothing is held, it may go as it is.
pub(crate) fn is_whole(chunk: &[u8], max_line: usize) -> bool {
    chunk.last() == Some(&b'\n') && chunk.len() <= max_line
}

/// How many lines there are in `lines`, which are complete.
pub(crate) fn count(lines: &[u8]) -> u64 {
    if lines.len() > 64 {
        return count_many(lines);
    }
    // Blocks that fit a vector register: with bytecount, a ping-pong line of 16
    // bytes takes 270 instructions instead of 254 (callgrind).
    let count = |block: &[u8]| -> u8 { block.iter().map(|&b| u8::from(b == b'\n')).sum() };
    let (blocks, rest) = lines.as_chunks::<16>();
    u64::from(blocks.iter().map(|block| count(block)).sum::<u8>() + count(rest))
}

#[inline(never)] // Inline, it costs short reads 7 instructions (callgrind).
fn count_many(lines: &[u8]) -> u64 {
    bytecount::count(lines, b'\n') as u64
}

/// Shows a client's line in a log record: escaped and cut, so that nobody
/// writes control characters, fake records or megabytes into the log.
pub(crate) struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0.strip_suffix(b"\n").unwrap_or(self.0);
        let (shown, rest) = line.split_at(line.len().min(EXCERPT));
        write!(f, "\"{}\"", shown.escape_ascii())?;
        if !rest.is_empty() {
            write!(f, " and {} more bytes", rest.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The whole stream at once, a byte at a time, as the words of the
    /// contract say it: the echoed bytes, the number of lines, the verdict.
    fn oracle(stream: &[u8], max_line: usize) -> (Vec<u8>, u64, bool) {
        let (mut out, mut line, mut count) = (Vec::new(), Vec::new(), 0);
        for &byte in stream {
            line.push(byte);
            if byte == b'\n' && line.len() <= max_line {
                out.append(&mut line);
                count += 1;
            } else if line.len() >= max_line {
                return (out, count, true);
            }
        }
        (out, count, false)
    }

    /// Pushes a chunk that stands behind what was `put` in front of it, or
    /// alone; returns the lines, and what is known of one that is too long.
    fn push(
        framer: &mut Framer,
        chunk: &[u8],
        max_line: usize,
        put: bool,
    ) -> (Vec<u8>, Option<usize>) {
        let mut buffer = vec![0; 100 * FRONT];
        let front = if put {
            framer.put_in_front(&mut buffer)
        } else {
            0
        };
        buffer.truncate(front);
        buffer.extend_from_slice(chunk);
        let lines = framer.push(&buffer, front, max_line);
        (lines.bytes.into_owned(), lines.too_long)
    }

    fn framed(chunks: &[&[u8]], max_line: usize, put: bool) -> (Vec<u8>, u64, bool) {
        let (mut framer, mut out, mut count) = (Framer::default(), Vec::new(), 0);
        for chunk in chunks {
            let (lines, too_long) = push(&mut framer, chunk, max_line, put);
            out.extend_from_slice(&lines);
            count += super::count(&lines);
            if too_long.is_some() {
                assert_eq!(framer.partial.capacity(), 0, "memory is given back");
                return (out, count, true);
            }
        }
        (out, count, false)
    }

    fn cut<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut chunks = Vec::new();
        for &size in sizes {
            let (chunk, rest) = stream.split_at(size.min(stream.len()));
            chunks.push(chunk);
            stream = rest;
        }
        chunks.push(stream);
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_bytes_any_cuts_and_any_limit_give_what_the_oracle_gives(
            stream in vec(prop_oneof![2 => Just(b'\n'), 5 => any::<u8>()], 0..200),
            sizes in vec(0usize..20, 0..40),
            max_line in 1usize..40,
            put in any::<bool>(),
        ) {
            let chunks = cut(&stream, &sizes);
            prop_assert_eq!(framed(&chunks, max_line, put), oracle(&stream, max_line));
        }

        #[test]
        fn a_chunk_that_need_not_be_pushed_would_come_out_as_it_is(
            before in vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..4),
            chunk in vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..80),
            max_line in 4usize..100,
        ) {
            let mut framer = Framer::default();
            framer.push(&before, 0, max_line);
            if !framer.holds_something() && is_whole(&chunk, max_line) {
                let count = chunk.split_inclusive(|&byte| byte == b'\n').count();
                prop_assert_eq!(super::count(&chunk), count as u64);
                let lines = framer.push(&chunk, 0, max_line);
                prop_assert_eq!((&*lines.bytes, lines.too_long), (&*chunk, None));
                prop_assert!(!framer.ends_inside_line(b""));
            }
        }

        #[test]
        fn an_unfinished_stream_is_known_to_end_inside_a_line(
            stream in vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..30),
            at in 0usize..30,
        ) {
            let (first, last) = stream.split_at(at.min(stream.len()));
            let mut framer = Framer::default();
            framer.push(first, 0, 100);
            let unfinished = stream.last().is_some_and(|&byte| byte != b'\n');
            prop_assert_eq!(framer.ends_inside_line(last), unfinished);
        }
    }

    #[test]
    fn lines_of_one_chunk_are_borrowed_from_it() {
        let chunk = b"one\ntwo\nrest";
        let lines = Framer::default().push(chunk, 0, 100);
        assert!(matches!(lines.bytes, Cow::Borrowed(b"one\ntwo\n")));
        assert_eq!(count(&lines.bytes), 2);
    }

    #[test]
    fn a_line_begun_in_an_earlier_chunk_comes_out_contiguous() {
        for put in [false, true] {
            let mut framer = Framer::default();
            let mut push = |chunk: &[u8]| push(&mut framer, chunk, 100, put).0;
            assert_eq!(push(b"hel"), b"");
            assert_eq!(push(b"lo\nx\ny"), b"hello\nx\n");
            assert_eq!(push(b"\n"), b"y\n");
            assert_eq!(framer.partial.capacity(), 0, "memory is given back");
        }
    }

    #[test]
    fn a_short_beginning_stands_in_front_and_is_not_copied_again() {
        let mut framer = Framer::default();
        framer.push(b"hel", 0, 100);
        let mut buffer = [b'x'; 3 * FRONT];
        buffer[3..6].copy_from_slice(b"lo\n");
        assert_eq!(framer.put_in_front(&mut buffer), 3);
        let lines = framer.push(&buffer[..7], 3, 100);
        assert!(matches!(lines.bytes, Cow::Borrowed(b"hello\n")));
        assert_eq!(framer.partial, b"x");
    }

    #[test]
    fn a_long_beginning_stays_where_it_is() {
        let mut framer = Framer::default();
        framer.push(b"hell", 0, 100);
        assert_eq!(framer.put_in_front(&mut [0; 3 * FRONT]), 0);
        assert_eq!(framer.push(b"o\n", 0, 100).bytes, b"hello\n".as_slice());
    }

    #[test]
    fn a_line_that_is_too_long_is_measured_as_far_as_it_is_known() {
        let too_long = |chunks: &[&[u8]]| {
            let mut framer = Framer::default();
            chunks
                .iter()
                .find_map(|chunk| framer.push(chunk, 0, 5).too_long)
        };
        assert_eq!(too_long(&[b"1234\n"]), None);
        assert_eq!(too_long(&[b"12345\nnext"]), Some(6));
        assert_eq!(too_long(&[b"ok\n", b"123", b"45678"]), Some(8));
    }

    #[test]
    fn an_excerpt_is_escaped_and_cut() {
        let show = |bytes: &[u8]| Excerpt(bytes).to_string();
        assert_eq!(show(b"hello\n"), r#""hello""#);
        assert_eq!(show(b"\x1b[2J\"\r\n"), r#""\x1b[2J\"\r""#);
        let cut = show(&[b'a'; 300]);
        assert_eq!(cut, format!("\"{}\" and 44 more bytes", "a".repeat(256)));
    }
}
