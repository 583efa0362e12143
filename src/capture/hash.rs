//! A hash of a line's bytes, in however many pieces they come: a polynomial modulo 2^61 - 1
//! at a random point. For two lines that differ, the chance of equal hashes is their length
//! in 2^63, whatever a capture holds (Carter and Wegman, 1979).

use std::hash::{BuildHasher, RandomState};

const PRIME: u64 = (1 << 61) - 1;
/// Bytes of a coefficient, so that it is below the prime.
const WORD: usize = 7;

/// The random point, the same for a whole analysis.
#[derive(Debug, Clone, Copy)]
pub struct Key(u64);

impl Key {
    pub fn random() -> Key {
        Key(RandomState::new().hash_one(0_u8) % (PRIME - 1) + 1)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Hash {
    sum: u64,
    /// Bytes that are not yet a coefficient, and how many.
    word: u64,
    len: u8,
}

impl Hash {
    pub fn update(&mut self, key: Key, mut bytes: &[u8]) {
        while self.len > 0 || bytes.len() < 8 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return;
            };
            self.word |= u64::from(byte) << (8 * self.len);
            self.len += 1;
            bytes = rest;
            if usize::from(self.len) == WORD {
                self.add(key, self.word);
                (self.word, self.len) = (0, 0);
            }
        }
        // A whole register is loaded, and its last byte left for the next coefficient.
        while let Some(chunk) = bytes.first_chunk::<8>() {
            self.add(key, u64::from_le_bytes(*chunk) & ((1 << (8 * WORD)) - 1));
            bytes = &bytes[WORD..];
        }
        self.update(key, bytes);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "both parts have under 64 bits"
    )]
    fn add(&mut self, key: Key, word: u64) {
        let product = u128::from(self.sum + word) * u128::from(key.0);
        // 2^61 = 1 (mod 2^61 - 1), so that the upper bits are added to the lower.
        let folded = (product as u64 & PRIME) + (product >> 61) as u64;
        self.sum = if folded >= PRIME {
            folded - PRIME
        } else {
            folded
        };
    }

    /// The hash. The last coefficient says how many bytes it has, so that zero bytes count.
    pub fn finish(mut self, key: Key) -> u64 {
        self.add(key, self.word | u64::from(self.len + 1) << 56);
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hash(key: Key, pieces: &[&[u8]]) -> u64 {
        let mut hash = Hash::default();
        for piece in pieces {
            hash.update(key, piece);
        }
        hash.finish(key)
    }

    proptest! {
        #[test]
        fn a_hash_does_not_depend_on_how_the_bytes_are_cut(
            bytes in vec(any::<u8>(), 0..100), cuts in [0_usize..100, 0..100],
        ) {
            let key = Key::random();
            let [a, b] = cuts.map(|cut| cut.min(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            let pieces = [&bytes[..a], &bytes[a..b], &bytes[b..]];
            prop_assert_eq!(hash(key, &pieces), hash(key, &[&bytes]));
        }

        #[test]
        fn bytes_that_differ_have_another_hash(
            a in vec(0_u8..2, 0..30), b in vec(0_u8..2, 0..30),
        ) {
            let key = Key::random();
            prop_assert_eq!(hash(key, &[&a]) == hash(key, &[&b]), a == b);
        }
    }
}
