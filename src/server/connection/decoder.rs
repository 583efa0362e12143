//! Bytes to lines, with a limit on the length of a line. Pure: no I/O.
//!
//! A line is every byte up to and including LF (0x0A).

use std::borrow::Cow;

use memchr::{memchr, memrchr};

/// Where input is read to, behind the partial line that it continues.
#[derive(Debug)]
pub(crate) struct InputBuffer {
    bytes: Vec<u8>,
    max_prepend: usize,
}

impl InputBuffer {
    /// Reads go to `bytes`, as many as they are now. Partial lines of up to `max_prepend`
    /// bytes, which must be fewer, are joined there with what is read behind them.
    pub fn new(bytes: Vec<u8>, max_prepend: usize) -> InputBuffer {
        debug_assert!(bytes.len() > max_prepend, "nothing could be read");
        InputBuffer { bytes, max_prepend }
    }

    /// Where to read to, after a partial line of so many bytes. With that line, the input
    /// is no longer than the buffer.
    #[inline]
    pub fn space(&mut self, partial: usize) -> &mut [u8] {
        let start = self.start(partial);
        &mut self.bytes[start..]
    }

    #[inline]
    fn start(&self, partial: usize) -> usize {
        if partial <= self.max_prepend {
            partial
        } else {
            0
        }
    }

    /// The first `len` bytes read with `before` in front of them: in this buffer if it
    /// is short enough, else in its own.
    fn join(&mut self, mut before: Vec<u8>, len: usize) -> Cow<'_, [u8]> {
        let start = self.start(before.len());
        if start < before.len() {
            before.extend_from_slice(&self.bytes[..len]);
            return Cow::Owned(before);
        }
        self.bytes[..start].copy_from_slice(&before);
        Cow::Borrowed(&self.bytes[..start + len])
    }
}

/// Cuts a byte stream into lines and keeps the partial line at its end.
///
/// The partial line contains no newline, so it is never scanned again: a client
/// that sends single bytes costs linear time.
#[derive(Debug, Default)]
pub(crate) struct LineDecoder {
    partial: Vec<u8>,
}

/// The lines that one chunk of input completed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// Complete lines in one contiguous buffer, each with its newline. Borrowed from
    /// the input, unless the partial line before it was too long to be joined there.
    pub lines: Cow<'a, [u8]>,
    /// The line after `lines` exceeds the limit; this many bytes of it are known.
    /// The stream must not be decoded any further.
    pub too_long: Option<usize>,
}

impl LineDecoder {
    /// Bytes of the partial line.
    pub fn partial_len(&self) -> usize {
        self.partial.len()
    }

    /// Decodes the next chunk, `len` bytes read to [`InputBuffer::space`]. A line may have
    /// `max_line` bytes, newline included. At `eof` an unterminated last line gets a
    /// newline, for which there must be space.
    ///
    /// The result does not depend on how the stream was cut into chunks.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &'a mut InputBuffer,
        len: usize,
        eof: bool,
        max_line: usize,
    ) -> Decoded<'a> {
        // Whole lines within the limit, and no partial line before them.
        if self.partial.is_empty() && len <= max_line && input.bytes[..len].last() == Some(&b'\n') {
            return Decoded {
                lines: Cow::Borrowed(&input.bytes[..len]),
                too_long: None,
            };
        }
        self.decode_partial(input, len, eof, max_line)
    }

    #[cold]
    fn decode_partial<'a>(
        &mut self,
        input: &'a mut InputBuffer,
        mut len: usize,
        eof: bool,
        max_line: usize,
    ) -> Decoded<'a> {
        let space = input.space(self.partial.len());
        if eof && self.is_unterminated(&space[..len]) {
            space[len] = b'\n';
            len += 1;
        }
        let before = std::mem::take(&mut self.partial);
        let chunk = &space[..len];
        let (end, too_long) = split(chunk, before.len(), max_line);
        let rest = &chunk[end..];
        let too_long = too_long.then(|| {
            let first = if end == 0 { before.len() } else { 0 };
            first + memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1)
        });
        if end == 0 {
            if too_long.is_none() {
                self.partial = before;
                self.partial.extend_from_slice(rest);
            }
            return Decoded {
                lines: Cow::Borrowed(&[]),
                too_long,
            };
        }
        if too_long.is_none() {
            self.partial = rest.to_vec();
        }
        Decoded {
            lines: input.join(before, end),
            too_long,
        }
    }

    /// Whether the stream ends inside a line if `chunk` is its last.
    fn is_unterminated(&self, chunk: &[u8]) -> bool {
        chunk
            .last()
            .map_or(!self.partial.is_empty(), |&last| last != b'\n')
    }
}

/// Returns where the complete lines of `chunk` end, and whether the line after
/// them is too long. `partial` bytes of the first line came before the chunk
/// (`< max_line`).
///
/// Searches backwards for the last newline within the limit, so a chunk within the
/// limit takes one short search, and any chunk a linear one.
fn split(chunk: &[u8], partial: usize, max_line: usize) -> (usize, bool) {
    let mut end = 0;
    let mut remaining = max_line - partial;
    while end < chunk.len() {
        let limit = chunk.len().min(end.saturating_add(remaining));
        match memrchr(b'\n', &chunk[end..limit]) {
            Some(lf) => end += lf + 1,
            // `remaining` bytes without a newline: with one, the line is too long.
            None => return (end, limit - end == remaining),
        }
        if limit == chunk.len() {
            break; // What follows the newline is shorter than a line may be.
        }
        remaining = max_line;
    }
    (end, false)
}

/// The number of lines in `lines`, which are complete.
pub(crate) fn count_lines(lines: &[u8]) -> u64 {
    bytecount::count(lines, b'\n') as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::property;

    /// The rules applied to the whole stream, a byte at a time: the echoed bytes,
    /// the number of lines, and whether a line is too long.
    fn oracle(stream: &[u8], eof: bool, max_line: usize) -> (Vec<u8>, u64, bool) {
        let (mut out, mut line, mut count) = (Vec::new(), Vec::new(), 0);
        let unterminated = stream.last().is_some_and(|&byte| byte != b'\n');
        let added = (eof && unterminated).then_some(&b'\n');
        for &byte in stream.iter().chain(added) {
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

    /// A buffer to which `chunk` has been read, behind a partial line.
    fn input(decoder: &LineDecoder, chunk: &[u8], max_prepend: usize) -> InputBuffer {
        let mut input = InputBuffer::new(vec![0; max_prepend + chunk.len() + 1], max_prepend);
        let space = input.space(decoder.partial_len());
        space[..chunk.len()].copy_from_slice(chunk);
        input
    }

    fn decode_all(
        chunks: &[&[u8]],
        eof: bool,
        max_prepend: usize,
        max_line: usize,
    ) -> (Vec<u8>, u64, bool) {
        let (mut decoder, mut out, mut count) = (LineDecoder::default(), Vec::new(), 0);
        for (i, chunk) in chunks.iter().enumerate() {
            let mut input = input(&decoder, chunk, max_prepend);
            let eof = eof && i + 1 == chunks.len();
            let result = decoder.decode(&mut input, chunk.len(), eof, max_line);
            out.extend_from_slice(&result.lines);
            count += count_lines(&result.lines);
            if result.too_long.is_some() {
                assert_eq!(decoder.partial.capacity(), 0, "memory is freed");
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
        #![proptest_config(property::config(4000))]

        #[test]
        fn any_bytes_cuts_and_limits_give_the_result_of_the_oracle(
            stream in vec(property::byte(73), 0..200),
            sizes in vec(0usize..20, 0..40),
            eof in any::<bool>(),
            max_prepend in 0usize..20,
            max_line in 1usize..40,
        ) {
            let result = decode_all(&cut(&stream, &sizes), eof, max_prepend, max_line);
            prop_assert_eq!(result, oracle(&stream, eof, max_line));
        }

        #[test]
        fn whole_lines_are_decoded_like_any_others(
            chunk in vec(any::<bool>().prop_map(|is_end| [b'x', b'\n'][usize::from(is_end)]), 0..80),
            max_line in 1usize..100,
        ) {
            let [mut first, mut second] = [(); 2].map(|()| LineDecoder::default());
            let [mut a, mut b] = [(); 2].map(|()| input(&LineDecoder::default(), &chunk, 10));
            let result = first.decode(&mut a, chunk.len(), false, max_line);
            let expected = second.decode_partial(&mut b, chunk.len(), false, max_line);
            prop_assert_eq!(result, expected);
            prop_assert_eq!(first.partial, second.partial);
        }

        #[test]
        fn lines_are_counted(lines in vec(property::byte(128), 0..200)) {
            let newlines = memchr::memchr_iter(b'\n', &lines).count();
            prop_assert_eq!(count_lines(&lines), newlines as u64);
        }
    }

    /// Decodes one chunk; up to 4 bytes are prepended. Returns the lines, and whether
    /// they are borrowed from the input.
    fn decode(decoder: &mut LineDecoder, chunk: &[u8]) -> (Vec<u8>, bool) {
        let mut input = input(decoder, chunk, 4);
        let lines = decoder.decode(&mut input, chunk.len(), false, 100).lines;
        (lines.to_vec(), matches!(lines, Cow::Borrowed(_)))
    }

    #[test]
    fn lines_of_one_chunk_are_borrowed_from_it() {
        let mut decoder = LineDecoder::default();
        let result = decode(&mut decoder, b"one\ntwo\nrest");
        assert_eq!(result, (b"one\ntwo\n".to_vec(), true));
        assert_eq!(decoder.partial, b"rest");
    }

    #[test]
    fn a_short_partial_line_is_put_in_front_of_the_chunk() {
        let mut decoder = LineDecoder::default();
        assert_eq!(decode(&mut decoder, b"hell"), (vec![], true));
        let result = decode(&mut decoder, b"o\nx\ny");
        assert_eq!(result, (b"hello\nx\n".to_vec(), true));
        assert_eq!(decode(&mut decoder, b"\n"), (b"y\n".to_vec(), true));
        assert_eq!(decoder.partial.capacity(), 0, "memory is freed");
    }

    #[test]
    fn the_chunk_is_appended_to_a_long_partial_line() {
        let mut decoder = LineDecoder::default();
        assert_eq!(decode(&mut decoder, b"hello"), (vec![], true));
        assert_eq!(decode(&mut decoder, b"!\n"), (b"hello!\n".to_vec(), false));
        assert_eq!(decoder.partial.capacity(), 0, "memory is freed");
    }

    #[test]
    fn the_known_length_of_a_line_that_is_too_long_is_returned() {
        let too_long = |chunks: &[&[u8]]| {
            let mut decoder = LineDecoder::default();
            let mut results = chunks.iter().map(|chunk| {
                let mut input = input(&decoder, chunk, 4);
                decoder.decode(&mut input, chunk.len(), false, 5).too_long
            });
            results.find_map(|too_long| too_long)
        };
        assert_eq!(too_long(&[b"1234\n"]), None);
        assert_eq!(too_long(&[b"12345\nnext"]), Some(6));
        assert_eq!(too_long(&[b"ok\n", b"123", b"45678"]), Some(8));
    }
}
