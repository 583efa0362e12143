//! The contents of lines: each line differs from all others, as far as its length
//! allows. Pure: no I/O.

/// Printable characters; 64, so that 6 bits choose one.
const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/// Makes the lines of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    connection: u64,
    len: usize,
}

impl Pattern {
    /// Lines of `len` bytes (at least 1), newline included.
    pub fn new(connection: u64, len: usize) -> Pattern {
        Pattern { connection, len }
    }

    /// Bytes of each line, newline included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends line `number` to `buffer`.
    ///
    /// A line begins with the numbers of its connection and itself if it is long
    /// enough, so that a capture can be read. The rest is pseudo-random.
    pub fn append(&self, number: u64, buffer: &mut Vec<u8>) {
        let end = buffer.len() + self.len - 1;
        let name = format!("{}.{number} ", self.connection);
        if name.len() < self.len {
            buffer.extend_from_slice(name.as_bytes());
        }
        let mut state = (self.connection << 40) ^ number;
        while buffer.len() < end {
            let mut bits = splitmix64(&mut state);
            for _ in 0..(end - buffer.len()).min(10) {
                buffer.push(ALPHABET[(bits % 64) as usize]);
                bits /= 64;
            }
        }
        buffer.push(b'\n');
    }
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
        let mut lines: Vec<_> = (0..1000).map(|number| line(1, 8, number)).collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 1000);
        assert_ne!(line(1, 8, 1), line(2, 8, 1));
    }
}
