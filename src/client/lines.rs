//! Which lines have been sent and not answered, as ranges of their numbers. Pure: no I/O.
//!
//! Lines wait in the order in which they were sent. An echo of a later line overtakes those
//! before it. What waits for too long is lost, and remains known, as its echo may come late.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Ranges of overtaken lines, and as many of lost ones, that are kept. A server that echoes
/// every other line makes one of each line that it leaves out.
const MAX_RANGES: usize = 65_536;

/// Lines with consecutive numbers that were sent at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    sent_at: Instant,
}

/// What a line was when its echo came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waited, and no later line had been answered.
    Waiting(Instant),
    /// A later line had been answered.
    Overtaken(Instant),
    /// It had been given up.
    Lost(Instant),
    /// It had been answered, or is forgotten.
    Answered,
    /// It has not been sent.
    Unsent,
}

/// The lines of one connection.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    waiting: VecDeque<Range>,
    overtaken: Ranges,
    lost: Ranges,
    sent: u64,
    outstanding: u64,
}

/// Ranges by their first numbers.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, Range>);

impl Ranges {
    fn insert(&mut self, range: Range) {
        self.0.insert(range.first, range);
    }

    fn first(&self) -> Option<Range> {
        self.0.first_key_value().map(|(_, range)| *range)
    }

    /// Takes a line, and so may split a range.
    fn take(&mut self, number: u64) -> Option<Instant> {
        let (_, range) = self.0.range(..=number).next_back()?;
        let range = *range;
        if number > range.last {
            return None;
        }
        self.0.remove(&range.first);
        if range.first < number {
            let last = number - 1;
            self.insert(Range { last, ..range });
        }
        if number < range.last {
            let first = number + 1;
            self.insert(Range { first, ..range });
        }
        Some(range.sent_at)
    }

    /// Adds lines behind the last. If there are too many ranges, the two oldest become one,
    /// as if all were sent with the first, or the oldest is forgotten.
    fn push(&mut self, range: Range) {
        if let Some(mut last) = self.0.last_entry()
            && last.get().last + 1 == range.first
            && last.get().sent_at == range.sent_at
        {
            last.get_mut().last = range.last;
            return;
        }
        self.insert(range);
        if self.0.len() <= MAX_RANGES {
            return;
        }
        if let Some((_, oldest)) = self.0.pop_first()
            && let Some((_, next)) = self.0.pop_first()
        {
            let last = next.last;
            let is_joined = oldest.last + 1 == next.first;
            self.insert(if is_joined {
                Range { last, ..oldest }
            } else {
                next
            });
        }
    }
}

impl Lines {
    /// Notes the next `count` lines (at least 1) as sent. Their numbers follow those before.
    pub fn send(&mut self, count: u64, sent_at: Instant) {
        let (first, last) = (self.sent + 1, self.sent + count);
        self.waiting.push_back(Range {
            first,
            last,
            sent_at,
        });
        (self.sent, self.outstanding) = (last, self.outstanding + count);
    }

    /// The number of the last line sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Lines that have neither been answered nor given up.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// The line that is to be answered next.
    pub fn next(&self) -> Option<u64> {
        self.waiting.front().map(|range| range.first)
    }

    /// The least line that has not been answered, lost ones included.
    pub fn least_missing(&self) -> Option<u64> {
        let firsts = [&self.lost, &self.overtaken].map(Ranges::first);
        firsts.into_iter().flatten().map(|range| range.first).min()
    }

    /// When the oldest outstanding line was sent.
    pub fn oldest(&self) -> Option<Instant> {
        let fronts = [self.waiting.front().copied(), self.overtaken.first()];
        fronts
            .into_iter()
            .flatten()
            .map(|range| range.sent_at)
            .min()
    }

    /// Takes the line that is next, which must be this one.
    pub fn take_next(&mut self) -> Option<Instant> {
        let front = self.waiting.front_mut()?;
        let sent_at = front.sent_at;
        if front.first == front.last {
            self.waiting.pop_front();
        } else {
            front.first += 1;
        }
        self.outstanding -= 1;
        Some(sent_at)
    }

    /// Takes a line whose echo has come.
    pub fn take(&mut self, number: u64) -> Place {
        if number == 0 || number > self.sent {
            return Place::Unsent;
        }
        if self.next().is_some_and(|next| next <= number) {
            self.overtake(number);
            return self.take_next().map_or(Place::Answered, Place::Waiting);
        }
        if let Some(sent_at) = self.overtaken.take(number) {
            self.outstanding -= 1;
            return Place::Overtaken(sent_at);
        }
        self.lost.take(number).map_or(Place::Answered, Place::Lost)
    }

    /// Moves the waiting lines before `number` to those that are overtaken.
    fn overtake(&mut self, number: u64) {
        while let Some(front) = self.waiting.front_mut()
            && front.first < number
        {
            let range = *front;
            if range.last < number {
                self.waiting.pop_front();
            } else {
                front.first = number;
            }
            let last = range.last.min(number - 1);
            self.overtaken.insert(Range { last, ..range });
        }
    }

    /// Gives up at most `max` (at least 1) of the lines that were sent at `before` or
    /// earlier, and of overtaken ones those that are too many to be kept. Returns the first
    /// and the last of them.
    pub fn give_up(&mut self, before: Instant, max: u64) -> Option<(u64, u64)> {
        let is_overdue = |range: &Range| range.sent_at <= before;
        let too_many = self.overtaken.0.len() > MAX_RANGES;
        let overtaken = self.overtaken.first();
        let range = if let Some(range) = overtaken.filter(|r| too_many || is_overdue(r)) {
            self.overtaken.0.pop_first();
            range
        } else {
            self.waiting.pop_front_if(|range| is_overdue(range))?
        };
        let last = range.last.min(range.first.saturating_add(max - 1));
        if last < range.last {
            let rest = Range {
                first: last + 1,
                ..range
            };
            if overtaken.is_some_and(|first| first.first == range.first) {
                self.overtaken.insert(rest);
            } else {
                self.waiting.push_front(rest);
            }
        }
        self.outstanding -= last - range.first + 1;
        // Overtaken lines come first, and waiting ones have later numbers.
        self.lost.push(Range { last, ..range });
        Some((range.first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::property;

    #[derive(Debug, Clone)]
    enum Step {
        Send(u64),
        Take(u64),
        GiveUp { steps_ago: u32, max: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..6u64).prop_map(Step::Send),
            (0..40u64).prop_map(Step::Take),
            (0..10u32, 1..4u64).prop_map(|(steps_ago, max)| Step::GiveUp { steps_ago, max }),
        ];
        vec(step, 0..60)
    }

    /// A line by line account: what each would be if its echo came.
    #[derive(Default)]
    struct Oracle(BTreeMap<u64, Place>);

    impl Oracle {
        fn send(&mut self, count: u64, sent_at: Instant) {
            let first = self.0.len() as u64 + 1;
            let lines = first..first + count;
            self.0
                .extend(lines.map(|number| (number, Place::Waiting(sent_at))));
        }

        fn take(&mut self, number: u64) -> Place {
            let Some(place) = self.0.get_mut(&number) else {
                return Place::Unsent;
            };
            let place = std::mem::replace(place, Place::Answered);
            if let Place::Waiting(_) = place {
                for (_, earlier) in self.0.range_mut(..number) {
                    if let Place::Waiting(sent_at) = *earlier {
                        *earlier = Place::Overtaken(sent_at);
                    }
                }
            }
            place
        }

        /// When the lines were sent that wait or are overtaken.
        fn outstanding(&self) -> Vec<Instant> {
            let sent_at = |place: &Place| match place {
                Place::Waiting(sent_at) | Place::Overtaken(sent_at) => Some(*sent_at),
                _ => None,
            };
            self.0.values().filter_map(sent_at).collect()
        }
    }

    proptest! {
        #![proptest_config(property::config(2000))]

        #[test]
        fn ranges_say_what_an_account_of_each_line_says(steps in steps()) {
            let start = Instant::now();
            let at = |step: usize| start + Duration::from_secs(step as u64);
            let (mut lines, mut oracle) = (Lines::default(), Oracle::default());
            for (i, step) in steps.iter().enumerate() {
                match *step {
                    Step::Send(count) => {
                        lines.send(count, at(i));
                        oracle.send(count, at(i));
                    }
                    Step::Take(number) => {
                        prop_assert_eq!(lines.take(number), oracle.take(number));
                    }
                    Step::GiveUp { steps_ago, max } => {
                        let before = at(i.saturating_sub(steps_ago as usize));
                        while let Some((first, last)) = lines.give_up(before, max) {
                            prop_assert!(last - first < max);
                            for (_, place) in oracle.0.range_mut(first..=last) {
                                let (Place::Waiting(sent_at) | Place::Overtaken(sent_at)) = *place
                                else {
                                    return Err(TestCaseError::fail("not outstanding"));
                                };
                                prop_assert!(sent_at <= before);
                                *place = Place::Lost(sent_at);
                            }
                        }
                        prop_assert!(oracle.outstanding().iter().all(|sent_at| *sent_at > before));
                    }
                }
                prop_assert_eq!(lines.outstanding(), oracle.outstanding().len() as u64);
                prop_assert_eq!(lines.oldest(), oracle.outstanding().into_iter().min());
            }
        }
    }

    #[test]
    fn any_number_of_lost_lines_is_known_in_bounded_memory() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        for second in 0..200_000 {
            let sent_at = now + Duration::from_secs(second);
            lines.send(1, sent_at);
            assert!(lines.give_up(sent_at, 1).is_some());
        }
        assert_eq!(lines.lost.0.len(), MAX_RANGES);
        assert!((1..=200_000).all(|number| matches!(lines.take(number), Place::Lost(_))));
    }
}
