//! Which bytes of one direction's stream have been seen, by sequence numbers alone.

use std::iter;
use std::ops::Range;

/// Gaps that are kept apart. What is more is never filled: the bytes count as not captured.
const MAX_GAPS: usize = 64;

/// How far below the first byte of a capture that begins in the middle packets may lie.
const BEFORE: i64 = 1 << 30;

/// What a range of bytes is beside those that were seen before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It has bytes above all others.
    First,
    /// It has new bytes, all below the highest.
    Late,
    /// It has no new byte.
    Again,
}

/// Positions count from the first byte after the SYN.
#[derive(Debug)]
pub struct Coverage {
    high: i64,
    gaps: Vec<Range<i64>>,
    /// Bytes of gaps that are no longer kept.
    forgotten: u64,
}

impl Coverage {
    /// Of a stream from its known first byte on.
    pub fn new() -> Coverage {
        Coverage {
            high: 0,
            gaps: Vec::new(),
            forgotten: 0,
        }
    }

    /// Of a stream that begins before the capture.
    pub fn from_the_middle() -> Coverage {
        Coverage {
            gaps: iter::once(-BEFORE..0).collect(),
            ..Coverage::new()
        }
    }

    /// The position after the highest byte.
    pub fn high(&self) -> i64 {
        self.high
    }

    /// Whether every byte up to the highest has been seen.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Adds a range that is not empty, and passes its new parts to `new`.
    pub fn add(&mut self, range: Range<i64>, mut new: impl FnMut(Range<i64>)) -> Class {
        let mut is_late = false;
        if range.start < self.high && !self.gaps.is_empty() {
            let overlaps = |gap: &Range<i64>| gap.start < range.end && range.start < gap.end;
            while let Some(at) = self.gaps.iter().position(overlaps) {
                let gap = self.gaps[at].clone();
                new(gap.start.max(range.start)..gap.end.min(range.end));
                is_late = true;
                let rests = [gap.start..range.start, range.end..gap.end];
                self.gaps
                    .splice(at..=at, rests.into_iter().filter(|rest| !rest.is_empty()));
            }
        }
        if range.end > self.high {
            if range.start > self.high {
                self.gaps.push(self.high..range.start);
            }
            new(range.start.max(self.high)..range.end);
            self.high = range.end;
            self.forget();
            return Class::First;
        }
        self.forget();
        if is_late { Class::Late } else { Class::Again }
    }

    fn forget(&mut self) {
        if self.gaps.len() > MAX_GAPS {
            let gap = self.gaps.remove(0);
            self.forgotten += length(&(gap.start.max(0)..gap.end));
        }
    }

    /// Bytes below `acked` that were never seen, although the peer has them.
    pub fn missing_below(&self, acked: i64) -> u64 {
        let within = |gap: &Range<i64>| gap.start.max(0)..gap.end.min(acked);
        let gaps: u64 = self.gaps.iter().map(|gap| length(&within(gap))).sum();
        self.forgotten + gaps + length(&(self.high..acked))
    }
}

fn length(range: &Range<i64>) -> u64 {
    u64::try_from(range.end - range.start).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_classified_as_a_set_of_bytes_does(
            ranges in vec((0_i64..200, 1_i64..20), 1..60),
        ) {
            let (mut coverage, mut seen) = (Coverage::new(), BTreeSet::new());
            for (start, len) in ranges {
                let high = seen.last().map_or(0, |last| last + 1);
                let mut new = BTreeSet::new();
                let class = coverage.add(start..start + len, |part| new.extend(part));
                let expected: BTreeSet<i64> =
                    (start..start + len).filter(|byte| !seen.contains(byte)).collect();
                prop_assert_eq!(&new, &expected);
                prop_assert_eq!(class, match expected.last() {
                    None => Class::Again,
                    Some(last) if *last >= high => Class::First,
                    Some(_) => Class::Late,
                });
                seen.extend(new);
                let missing = (0..150).filter(|byte| !seen.contains(byte)).count();
                prop_assert_eq!(coverage.missing_below(150), missing as u64);
            }
        }
    }

    #[test]
    fn more_gaps_than_are_kept_count_as_missing_for_ever() {
        let mut coverage = Coverage::new();
        for i in 0..100 {
            coverage.add(i * 2 + 1..i * 2 + 2, drop);
        }
        assert_eq!(coverage.gaps.len(), MAX_GAPS);
        assert_eq!(coverage.missing_below(200), 100);
        assert_eq!(coverage.add(0..1, drop), Class::Again);
        assert_eq!(coverage.missing_below(200), 100);
    }
}
