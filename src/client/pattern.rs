//! The contents of lines: each line differs from all others, as far as its length
//! allows, and says which one it is. Pure: no I/O.
//!
//! A line begins with the decimal numbers of its connection and itself (`3.17 `), so that
//! a capture can be read. In a line too short for that, the number of the line is in base
//! 64, as many digits of it as there is space for. The rest is pseudo-random.

/// Printable characters; 64, so that 6 bits choose one.
const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/// Digits of a number in base 64: more would not fit into 64 bits.
const MAX_DIGITS: usize = 10;

/// Makes the lines of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    connection: u64,
    /// How named lines begin: `3.`.
    name: Vec<u8>,
    len: usize,
}

impl Pattern {
    /// Lines of `len` bytes (at least 1), newline included.
    pub fn new(connection: u64, len: usize) -> Pattern {
        Pattern {
            connection,
            name: format!("{connection}.").into_bytes(),
            len,
        }
    }

    /// Bytes of each line, newline included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends line `number` to `buffer`.
    pub fn append(&self, number: u64, buffer: &mut Vec<u8>) {
        self.append_start(number, self.len, buffer);
    }

    /// Appends the first `len` bytes of line `number`.
    pub fn append_start(&self, number: u64, len: usize, buffer: &mut Vec<u8>) {
        let len = len.min(self.len);
        let start = buffer.len();
        // The part that is not the newline.
        let end = start + len.min(self.len - 1);
        self.append_name(number, buffer);
        buffer.truncate(end);
        let mut state = (self.connection << 40) ^ number;
        while buffer.len() < end {
            let mut bits = splitmix64(&mut state);
            for _ in 0..(end - buffer.len()).min(10) {
                buffer.push(ALPHABET[(bits % 64) as usize]);
                bits /= 64;
            }
        }
        if len == self.len {
            buffer.push(b'\n');
        }
    }

    /// Appends what tells line `number` from others.
    fn append_name(&self, number: u64, buffer: &mut Vec<u8>) {
        if self.is_named(number) {
            buffer.extend_from_slice(&self.name);
            append_decimal(number, buffer);
            buffer.push(b' ');
            return;
        }
        let mut rest = number;
        for _ in 0..self.digits() {
            buffer.push(ALPHABET[(rest % 64) as usize]);
            rest /= 64;
        }
    }

    /// Whether `line`, which has any length, begins as line `number` does.
    pub fn begins(&self, line: &[u8], number: u64, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.append_name(number, scratch);
        line.starts_with(scratch)
    }

    /// Whether line `number` begins with decimal numbers.
    fn is_named(&self, number: u64) -> bool {
        self.name.len() + decimal_len(number) + 1 < self.len
    }

    /// Digits of the number in a line without a name.
    fn digits(&self) -> usize {
        (self.len - 1).min(MAX_DIGITS)
    }

    /// The number that `line` has, whatever stands behind it. Of numbers that are equal in
    /// the digits of a short line, the first from `least` on.
    pub fn number_in(&self, line: &[u8], least: u64) -> Option<u64> {
        let named = self.decimal_in(line);
        named.or_else(|| self.digits_in(line, least).filter(|n| !self.is_named(*n)))
    }

    fn decimal_in(&self, line: &[u8]) -> Option<u64> {
        let rest = line.strip_prefix(&self.name[..])?;
        let mut number: u64 = 0;
        for (i, &byte) in rest.iter().enumerate().take(21) {
            if byte == b' ' && i > 0 {
                return Some(number).filter(|number| self.is_named(*number));
            }
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            number = number.checked_mul(10)?.checked_add(digit.into())?;
        }
        None
    }

    fn digits_in(&self, line: &[u8], least: u64) -> Option<u64> {
        // All lines are named, or this is none of them.
        if self.is_named(u64::MAX) || line.len() != self.len {
            return None;
        }
        let digits = self.digits();
        let modulus = 1 << (6 * digits);
        let mut code: u64 = 0;
        for &byte in line[..digits].iter().rev() {
            let digit = ALPHABET.iter().position(|&b| b == byte)?;
            code = code * 64 + digit as u64;
        }
        let number = least - least % modulus + code;
        Some(number + if number < least { modulus } else { 0 })
    }
}

fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn append_decimal(number: u64, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    let mut rest = number;
    loop {
        buffer.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer[start..].reverse();
}

/// One step of the generator `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(connection: u64, len: usize, number: u64) -> Vec<u8> {
        let mut buffer = Vec::new();
        Pattern::new(connection, len).append(number, &mut buffer);
        buffer
    }

    #[test]
    fn a_line_has_its_length_and_one_newline() {
        for len in (1..100).chain([65536]) {
            let line = line(3, len, 17);
            assert_eq!(line.len(), len);
            assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(len - 1));
        }
    }

    #[test]
    fn a_long_line_begins_with_its_numbers() {
        assert!(line(2, 64, 15).starts_with(b"2.15 "));
    }

    #[test]
    fn lines_differ_even_if_they_are_short() {
        for (len, count) in [(2, 64), (3, 4096), (4, 10_000), (8, 20_000)] {
            let mut lines: Vec<_> = (0..count).map(|number| line(1, len, number)).collect();
            lines.sort();
            lines.dedup();
            assert_eq!(lines.len() as u64, count, "{len} bytes");
        }
        assert_ne!(line(1, 8, 1), line(2, 8, 1));
    }

    #[test]
    fn a_line_says_which_one_it_is() {
        for len in (1..40).chain([65536]) {
            let pattern = Pattern::new(3, len);
            for number in [1, 9, 10, 99, 100, 9_999, 10_000, 1 << 40, u64::MAX >> 1] {
                let line = line(3, len, number);
                assert_eq!(pattern.number_in(&line, number), Some(number), "{len}");
            }
        }
    }

    #[test]
    fn of_numbers_that_a_short_line_cannot_tell_apart_the_next_is_taken() {
        let pattern = Pattern::new(1, 2);
        for (number, least, expected) in [(1, 1, 1), (1, 2, 65), (70, 7, 70), (70, 1, 6)] {
            let line = line(1, 2, number);
            assert_eq!(pattern.number_in(&line, least), Some(expected));
        }
    }

    #[test]
    fn the_start_of_a_line_is_that_of_the_whole() {
        for len in [1, 2, 5, 8, 64] {
            let (pattern, whole) = (Pattern::new(1, len), line(1, len, 12_345));
            for part in 0..=len {
                let mut start = Vec::new();
                pattern.append_start(12_345, part, &mut start);
                assert_eq!(start, whole[..part]);
            }
        }
    }

    #[test]
    fn what_is_no_line_has_no_number() {
        let pattern = Pattern::new(1, 64);
        for text in [
            "",
            "\n",
            "1.",
            "1. x",
            "1.x ",
            "2.1 x",
            "1.99999999999999999999 ",
            "hello\n",
        ] {
            assert_eq!(pattern.number_in(text.as_bytes(), 1), None, "{text:?}");
        }
    }
}
