//! Compares echoes with the lines that were sent. Pure: no I/O.
//!
//! An echo is matched with the line that it says it is: its number stands in it. So it costs
//! the same however many lines wait, are lost or were answered, and a line that is not an
//! echo shifts none of those that follow. Lengths and first bytes are compared before any
//! more of a pattern is made, and of a pattern no more than a small multiple of the received
//! line.

use std::fmt;
use std::time::{Duration, Instant};

use crate::client::input::Piece;
use crate::client::lines::{Lines, Place};
use crate::client::options::Prefix;
use crate::client::pattern::Pattern;
use crate::config::MAX_PREFIX_LEN;

/// What is wrong with an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It came after the echo of a later line.
    Reordered,
    /// It had come before.
    Repeated,
    /// The byte at this offset, prefix included, differs from what was sent.
    Changed(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Reordered => f.write_str("came after a later line"),
            Fault::Repeated => f.write_str("came twice"),
            Fault::Changed(offset) => write!(f, "differs at byte {offset}"),
        }
    }
}

/// What a received line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The echo of a line, this long after it was sent.
    Echoed(u64, Duration),
    /// The echo of a line that had been given up as lost.
    Late(u64, Duration),
    /// A wrong echo of this line.
    Wrong(u64, Fault),
    /// The echo of no line.
    Extra,
}

/// The lines of one connection, and how their echoes are.
#[derive(Debug)]
pub(crate) struct Verifier {
    pattern: Pattern,
    prefix: Prefix,
    lines: Lines,
    /// A pattern, or a part of one.
    scratch: Vec<u8>,
}

/// What stands in `echo` before a line of `line_len` bytes.
pub(crate) fn prefix_of(echo: &[u8], line_len: usize) -> &[u8] {
    &echo[..echo.len().saturating_sub(line_len)]
}

impl Verifier {
    pub fn new(pattern: Pattern, prefix: Prefix) -> Verifier {
        Verifier {
            pattern,
            prefix,
            lines: Lines::default(),
            scratch: Vec::new(),
        }
    }

    /// The length of the longest line that is judged whole: that of an echo, and space for
    /// a prefix that is not expected. A longer one is wrong as soon as it is known to be.
    pub fn max_len(&self) -> usize {
        let prefix = match &self.prefix {
            Prefix::Fixed(prefix) => prefix.len(),
            Prefix::Any => 0,
        };
        self.pattern.len() + prefix + MAX_PREFIX_LEN + 1
    }

    /// Appends the next `count` lines (at least 1) to `output`, and expects their echoes
    /// from now on.
    pub fn send(&mut self, count: u64, now: Instant, output: &mut Vec<u8>) {
        let first = self.lines.sent() + 1;
        self.lines.send(count, now);
        for number in first..first + count {
            self.pattern.append(number, output);
        }
    }

    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// See [`Lines::give_up`].
    pub fn give_up(&mut self, before: Instant, max: u64) -> Option<(u64, u64)> {
        self.lines.give_up(before, max)
    }

    /// Judges a received line.
    pub fn judge(&mut self, piece: Piece<'_>, now: Instant) -> Verdict {
        match (piece, self.lines.next()) {
            (Piece::Line(echo), Some(next)) if self.is_echo(echo, next) => {
                let sent_at = self.lines.take_next().unwrap_or(now);
                Verdict::Echoed(next, now - sent_at)
            }
            (Piece::Line(echo), _) => self.judge_out_of_order(echo, now),
            (Piece::TooLong(start), _) => self.judge_too_long(start),
        }
    }

    /// Judges an echo that is not of the next line.
    #[cold]
    fn judge_out_of_order(&mut self, echo: &[u8], now: Instant) -> Verdict {
        let next = self.lines.next();
        for offset in self.offsets(echo) {
            let Some(number) = self.number_in(&echo[offset..]) else {
                continue;
            };
            if next != Some(number) && self.is_echo(echo, number) {
                return self.answered(number, now);
            }
            if self.is_similar(&echo[offset..], number) {
                return self.changed(echo, number);
            }
        }
        match next {
            // Too much is changed for its number to be known.
            Some(next) if self.is_similar(self.without_prefix(echo), next) => {
                self.changed(echo, next)
            }
            _ => Verdict::Extra,
        }
    }

    /// Judges a line by its start, as it is too long.
    fn judge_too_long(&mut self, start: &[u8]) -> Verdict {
        let line = self.without_prefix(start);
        match self.number_in(line) {
            Some(number) if self.is_similar(line, number) => self.changed(start, number),
            _ => Verdict::Extra,
        }
    }

    /// Where a line may begin in an echo: so that it ends with the echo, whatever stands
    /// before it, or behind the prefix, whatever follows.
    fn offsets(&self, echo: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let tail = echo.len().saturating_sub(self.pattern.len());
        let head = echo.len() - self.without_prefix(echo).len();
        [tail, head]
            .into_iter()
            .take(if head == tail { 1 } else { 2 })
    }

    /// What stands behind the prefix that is expected. All, if another is there.
    fn without_prefix<'a>(&self, echo: &'a [u8]) -> &'a [u8] {
        match &self.prefix {
            Prefix::Fixed(prefix) => echo.strip_prefix(&prefix[..]).unwrap_or(echo),
            Prefix::Any => &echo[echo.len().saturating_sub(self.pattern.len())..],
        }
    }

    /// The number of a line that has been sent, and that `line` says it is.
    fn number_in(&self, line: &[u8]) -> Option<u64> {
        let is_sent = |number: &u64| (1..=self.lines.sent()).contains(number);
        // The numbers of short lines repeat, so they belong to lines without an echo.
        let starts = [self.lines.next(), self.lines.least_missing(), Some(1)];
        let mut numbers = starts
            .into_iter()
            .flatten()
            .map(|least| self.pattern.number_in(line, least));
        numbers.find_map(|number| number.filter(is_sent))
    }

    /// Whether `echo` is that of line `number`.
    fn is_echo(&mut self, echo: &[u8], number: u64) -> bool {
        let Some(prefix_len) = echo.len().checked_sub(self.pattern.len()) else {
            return false;
        };
        let (prefix, line) = echo.split_at(prefix_len);
        let has_prefix = match &self.prefix {
            Prefix::Fixed(expected) => prefix == expected,
            Prefix::Any => prefix_len <= MAX_PREFIX_LEN,
        };
        has_prefix && self.pattern.begins(line, number, &mut self.scratch) && {
            self.scratch.clear();
            self.pattern.append(number, &mut self.scratch);
            line == self.scratch
        }
    }

    /// Whether half of `line` is as in line `number`: its bytes in their places, or those
    /// up to a byte that is missing or too much and those behind it.
    fn is_similar(&mut self, line: &[u8], number: u64) -> bool {
        let (len, own) = (self.pattern.len(), line.len());
        // A line of half or twice the length is not made, unless it begins as this one.
        let begins = self.pattern.begins(line, number, &mut self.scratch);
        if !begins && (own < len / 2 || own / 2 > len) {
            return false;
        }
        self.scratch.clear();
        self.pattern
            .append_start(number, own.max(1) * 2, &mut self.scratch);
        let shorter = own.min(len);
        let pairs = || line.iter().zip(&self.scratch);
        let in_place = pairs().filter(|(a, b)| a == b).count();
        if in_place * 2 >= shorter {
            return true;
        }
        let front = pairs().take_while(|(a, b)| a == b).count();
        let back = line.iter().rev().zip(self.scratch.iter().rev());
        let back = back.take_while(|(a, b)| a == b).count();
        (front + back) * 2 >= shorter
    }

    /// The verdict on the right echo of a line that is not the next.
    fn answered(&mut self, number: u64, now: Instant) -> Verdict {
        match self.lines.take(number) {
            Place::Waiting(sent_at) => Verdict::Echoed(number, now - sent_at),
            Place::Overtaken(_) => Verdict::Wrong(number, Fault::Reordered),
            Place::Lost(sent_at) => Verdict::Late(number, now - sent_at),
            Place::Answered => Verdict::Wrong(number, Fault::Repeated),
            Place::Unsent => Verdict::Extra,
        }
    }

    /// The verdict on the wrong echo of a line.
    fn changed(&mut self, echo: &[u8], number: u64) -> Verdict {
        let offset = self.difference(echo, number);
        match self.lines.take(number) {
            Place::Answered | Place::Unsent => Verdict::Extra,
            _ => Verdict::Wrong(number, Fault::Changed(offset)),
        }
    }

    /// The offset of the first byte of `echo` that differs.
    fn difference(&mut self, echo: &[u8], number: u64) -> usize {
        let prefix = match &self.prefix {
            Prefix::Fixed(prefix) => prefix,
            Prefix::Any => {
                let prefix = prefix_of(echo, self.pattern.len());
                &prefix[..prefix.len().min(MAX_PREFIX_LEN)]
            }
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(prefix);
        self.pattern
            .append_start(number, echo.len(), &mut self.scratch);
        let pairs = echo.iter().zip(&self.scratch);
        pairs.take_while(|(a, b)| a == b).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 20;

    fn verifier(len: usize, prefix: Prefix) -> Verifier {
        Verifier::new(Pattern::new(1, len), prefix)
    }

    fn line_of(len: usize, number: u64) -> Vec<u8> {
        let mut line = Vec::new();
        Pattern::new(1, len).append(number, &mut line);
        line
    }

    /// The echo of a line, prefix included.
    fn echo(number: u64) -> Vec<u8> {
        [b"> ", &line_of(LEN, number)[..]].concat()
    }

    fn prompt() -> Prefix {
        Prefix::Fixed(b"> ".to_vec())
    }

    fn judge(verifier: &mut Verifier, echo: &[u8]) -> String {
        match verifier.judge(Piece::Line(echo), Instant::now()) {
            Verdict::Echoed(number, _) => format!("{number}"),
            Verdict::Late(number, _) => format!("{number} late"),
            Verdict::Wrong(number, fault) => format!("{number} {fault:?}"),
            Verdict::Extra => "extra".into(),
        }
    }

    /// The verdicts on `echoes`, after so many lines were sent, without times.
    fn verdicts_of(mut verifier: Verifier, sent: u64, echoes: &[Vec<u8>]) -> Vec<String> {
        verifier.send(sent, Instant::now(), &mut Vec::new());
        echoes
            .iter()
            .map(|echo| judge(&mut verifier, echo))
            .collect()
    }

    /// The same for four lines with a prompt.
    fn verdicts(echoes: &[Vec<u8>]) -> Vec<String> {
        verdicts_of(verifier(LEN, prompt()), 4, echoes)
    }

    #[test]
    fn echoes_in_order_are_right_at_any_length() {
        for len in (1..30).chain([5000]) {
            let echoes: Vec<_> = (1..=200).map(|number| line_of(len, number)).collect();
            let expected: Vec<_> = (1..=200).map(|number| number.to_string()).collect();
            let verifier = verifier(len, Prefix::Fixed(vec![]));
            assert_eq!(verdicts_of(verifier, 200, &echoes), expected, "{len}");
        }
    }

    #[test]
    fn a_reordered_echo_is_wrong() {
        let echoes = [echo(2), echo(1), echo(3), echo(4)];
        assert_eq!(verdicts(&echoes), ["2", "1 Reordered", "3", "4"]);
    }

    #[test]
    fn a_repeated_echo_is_wrong() {
        let echoes = [echo(1), echo(1), echo(2), echo(1)];
        assert_eq!(verdicts(&echoes), ["1", "1 Repeated", "2", "1 Repeated"]);
    }

    #[test]
    fn a_changed_echo_is_wrong_at_its_first_different_byte() {
        for offset in 0..=LEN {
            let mut changed = echo(1);
            changed[offset] ^= 1;
            let expected = format!("1 Changed({offset})");
            assert_eq!(verdicts(&[changed, echo(2)]), [&expected, "2"]);
        }
        let without_prefix = echo(3)[2..].to_vec();
        assert_eq!(verdicts(&[without_prefix]), ["3 Changed(0)"]);
    }

    #[test]
    fn a_byte_too_many_or_too_few_does_not_shift_the_lines_that_follow() {
        for offset in 0..=LEN {
            let (mut longer, mut shorter) = (echo(1), echo(2));
            longer.insert(offset, b'?');
            shorter.remove(offset);
            let seen = verdicts(&[longer, shorter, echo(3), echo(4)]);
            assert!(seen[0].starts_with("1 Changed"), "{offset}: {seen:?}");
            assert!(seen[1].starts_with("2 Changed"), "{offset}: {seen:?}");
            assert_eq!(seen[2..], ["3", "4"]);
        }
    }

    #[test]
    fn a_line_that_is_no_echo_shifts_none_that_follow() {
        let greeting = b"220 echo server ready\r\n".to_vec();
        for strange in [greeting, b"\n".to_vec(), b"> \n".to_vec(), vec![b'x'; 5000]] {
            let echoes = [strange, echo(1), echo(2)];
            assert_eq!(verdicts(&echoes), ["extra", "1", "2"]);
        }
        let other_connection = [b"> 2.1 ", &echo(1)[6..]].concat();
        assert_eq!(verdicts(&[echo(1), other_connection, echo(2)])[2], "2");
    }

    #[test]
    fn the_echo_of_a_line_that_was_not_sent_is_extra() {
        assert_eq!(verdicts(&[echo(5), echo(1)]), ["extra", "1"]);
        let echoes = [1, 2, 3, 4].map(echo);
        let echoes = [&echoes[..], &[b"more\n".to_vec()]].concat();
        assert_eq!(verdicts(&echoes)[4], "extra");
    }

    #[test]
    fn a_prefix_that_is_not_expected_is_wrong_and_the_line_known() {
        let echoes: Vec<_> = [2, 1, 4].map(|n| [b"?? ", &echo(n)[..]].concat()).into();
        let seen = verdicts(&echoes);
        assert_eq!(seen, ["2 Changed(0)", "1 Changed(0)", "4 Changed(0)"]);
    }

    #[test]
    fn a_dropped_line_is_lost_and_its_echo_late() {
        for len in [2, 3, 8, LEN] {
            let mut verifier = verifier(len, Prefix::Fixed(vec![]));
            let now = Instant::now();
            verifier.send(4, now, &mut Vec::new());
            for number in [1, 3, 4] {
                let seen = judge(&mut verifier, &line_of(len, number));
                assert_eq!(seen, number.to_string(), "{len} bytes");
            }
            assert_eq!(verifier.give_up(now, 10), Some((2, 2)));
            assert_eq!(judge(&mut verifier, &line_of(len, 2)), "2 late");
        }
    }

    #[test]
    fn lines_without_contents_are_matched_by_their_number() {
        let mut verifier = verifier(1, Prefix::Fixed(vec![]));
        let now = Instant::now();
        verifier.send(2, now, &mut Vec::new());
        verifier.give_up(now, 1);
        let seen: Vec<_> = (0..3).map(|_| judge(&mut verifier, b"\n")).collect();
        assert_eq!(seen, ["2", "1 late", "1 Repeated"]);
    }

    #[test]
    fn a_line_that_never_ends_is_known_by_its_start() {
        let start = [&echo(2)[..LEN], &[b'x'; 3000]].concat();
        let mut verifier = verifier(LEN, prompt());
        verifier.send(4, Instant::now(), &mut Vec::new());
        let verdict = verifier.judge(Piece::TooLong(&start), Instant::now());
        assert_eq!(verdict, Verdict::Wrong(2, Fault::Changed(LEN)));
        let verdict = verifier.judge(Piece::TooLong(&[b'x'; 3000]), Instant::now());
        assert_eq!(verdict, Verdict::Extra);
    }

    #[test]
    fn an_echo_with_any_prefix_must_end_with_its_line() {
        let line = |number| echo(number)[2..].to_vec();
        let with_prefix = |prefix: &[u8], number| [prefix, &line(number)].concat();
        let any = |echoes: &[Vec<u8>]| verdicts_of(verifier(LEN, Prefix::Any), 4, echoes);
        let longest = [b'x'; MAX_PREFIX_LEN];
        let echoes = [line(1), with_prefix(b"a: ", 3), with_prefix(&longest, 2)];
        assert_eq!(any(&echoes), ["1", "3", "2 Reordered"]);

        let mut changed = with_prefix(b"a: ", 1);
        changed[3 + 5] ^= 1;
        let too_long = with_prefix(&[b'x'; MAX_PREFIX_LEN + 1], 2);
        let too_short = line(3)[1..].to_vec();
        let seen = any(&[changed, too_long, too_short]);
        assert_eq!(seen, ["1 Changed(8)", "2 Changed(1024)", "3 Changed(0)"]);
    }
}
