//! How many data segments the echoes of a line, or of a burst, took.

use std::collections::BTreeMap;

/// Different counts that are kept apart. A server decides how many there are.
const MAX_COUNTS: usize = 1000;

/// Lines that are named for each count.
const MAX_NAMED: usize = 10;

/// How often the echoes of a line, or of a burst, took how many data segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    counts: BTreeMap<u64, Tally>,
    others: u64,
}

/// The lines, or bursts, whose echoes took the same number of data segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// How many there are.
    pub times: u64,
    /// The first ten, as the numbers of their connections and of their first lines.
    pub first: Vec<(u64, u64)>,
}

impl Distribution {
    pub(crate) fn record(&mut self, segments: u64, connection: u64, line: u64) {
        if self.counts.len() == MAX_COUNTS && !self.counts.contains_key(&segments) {
            self.others += 1;
            return;
        }
        let tally = self.counts.entry(segments).or_default();
        tally.times += 1;
        if tally.first.len() < MAX_NAMED {
            tally.first.push((connection, line));
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The numbers of data segments, the most frequent first.
    #[must_use]
    pub fn by_frequency(&self) -> Vec<(u64, &Tally)> {
        let mut tallies: Vec<_> = self.counts.iter().map(|(n, tally)| (*n, tally)).collect();
        tallies.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.times));
        tallies
    }

    /// Those with further numbers of data segments, as only 1,000 are kept apart.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_count_comes_first_and_ten_lines_are_named() {
        let mut distribution = Distribution::default();
        for line in 1..=2000 {
            distribution.record(if line % 100 == 0 { 2 } else { 1 }, 1, line);
        }
        let tallies = distribution.by_frequency();
        let times: Vec<_> = tallies.iter().map(|(n, tally)| (*n, tally.times)).collect();
        assert_eq!(times, [(1, 1980), (2, 20)]);
        let named: Vec<_> = (1..=10).map(|i| (1, i * 100)).collect();
        assert_eq!(tallies[1].1.first, named);
    }

    #[test]
    fn any_number_of_counts_is_kept_in_bounded_memory() {
        let mut distribution = Distribution::default();
        (0..5000).for_each(|segments| distribution.record(segments, 1, 1));
        distribution.record(7, 1, 2);
        assert_eq!(distribution.by_frequency().len(), 1000);
        assert_eq!(distribution.others(), 4000);
        assert_eq!(distribution.by_frequency()[0].0, 7);
    }
}
