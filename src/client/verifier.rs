//! Compares echoes with the lines that were sent. Pure: no I/O.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::client::options::Prefix;
use crate::client::pattern::Pattern;
use crate::config::MAX_PREFIX_LEN;

/// Lost lines and echoed lines that are remembered, to recognize a late or repeated
/// echo.
const REMEMBERED: usize = 64;

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
    /// No line was waiting for an echo.
    Unexpected,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Reordered => f.write_str("came after a later line"),
            Fault::Repeated => f.write_str("came twice"),
            Fault::Changed(offset) => write!(f, "differs at byte {offset}"),
            Fault::Unexpected => f.write_str("came without a line"),
        }
    }
}

/// What an echo turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The echo of a line, this long after it was sent.
    Echoed(u64, Duration),
    /// The echo of a line that had been given up as lost.
    Late(u64, Duration),
    /// A wrong echo, in place of this line.
    Wrong(u64, Fault),
}

/// The lines of one connection that wait for their echoes.
#[derive(Debug)]
pub(crate) struct Verifier {
    expected: Expected,
    waiting: VecDeque<(u64, Instant)>,
    /// Lines without an echo, although later lines have been echoed: they are lost, or
    /// their echoes come in the wrong order.
    overtaken: VecDeque<(u64, Instant)>,
    lost: VecDeque<(u64, Instant)>,
    echoed: VecDeque<u64>,
    /// The beginning of an echo that is not complete.
    partial: Vec<u8>,
}

/// Makes the echo that a line must have.
#[derive(Debug)]
struct Expected {
    pattern: Pattern,
    prefix: Prefix,
    buffer: Vec<u8>,
}

impl Expected {
    /// The echo of a line. If it may have any prefix, that of the received `echo`.
    fn echo(&mut self, number: u64, echo: &[u8]) -> &[u8] {
        let prefix = match &self.prefix {
            Prefix::Fixed(prefix) => prefix,
            Prefix::Any => {
                let prefix = prefix_of(echo, self.pattern.len());
                &prefix[..prefix.len().min(MAX_PREFIX_LEN)]
            }
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(prefix);
        self.pattern.append(number, &mut self.buffer);
        &self.buffer
    }

    fn is_echo(&mut self, echo: &[u8], number: u64) -> bool {
        echo == self.echo(number, echo)
    }

    /// Where in `lines` the line is that `echo` belongs to.
    fn find(&mut self, echo: &[u8], lines: &VecDeque<(u64, Instant)>) -> Option<usize> {
        lines
            .iter()
            .position(|(number, _)| self.is_echo(echo, *number))
    }

    /// The offset of the first byte of `echo` that differs.
    fn difference(&mut self, echo: &[u8], number: u64) -> usize {
        let pairs = echo.iter().zip(self.echo(number, echo));
        pairs.take_while(|(a, b)| a == b).count()
    }
}

/// What stands in `echo` before a line of `line_len` bytes.
pub(crate) fn prefix_of(echo: &[u8], line_len: usize) -> &[u8] {
    &echo[..echo.len().saturating_sub(line_len)]
}

impl Verifier {
    pub fn new(pattern: Pattern, prefix: Prefix) -> Verifier {
        Verifier {
            expected: Expected {
                pattern,
                prefix,
                buffer: Vec::new(),
            },
            waiting: VecDeque::new(),
            overtaken: VecDeque::new(),
            lost: VecDeque::new(),
            echoed: VecDeque::new(),
            partial: Vec::new(),
        }
    }

    /// Appends line `number` to `output` and expects its echo from now on.
    pub fn send(&mut self, number: u64, now: Instant, output: &mut Vec<u8>) {
        self.expected.pattern.append(number, output);
        self.waiting.push_back((number, now));
    }

    /// The number of lines that still wait for an echo.
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + self.overtaken.len()
    }

    /// When the oldest outstanding line was sent.
    pub fn oldest(&self) -> Option<Instant> {
        let fronts = [self.waiting.front(), self.overtaken.front()];
        let sent_at = fronts.into_iter().flatten().map(|(_, sent_at)| *sent_at);
        sent_at.min()
    }

    /// Gives up the outstanding lines that were sent at `before` or earlier. Returns
    /// their numbers.
    pub fn give_up(&mut self, before: Instant) -> Vec<u64> {
        let mut numbers = Vec::new();
        for queue in [&mut self.overtaken, &mut self.waiting] {
            while let Some(line) = queue.pop_front_if(|(_, sent_at)| *sent_at <= before) {
                numbers.push(line.0);
                remember(&mut self.lost, line);
            }
        }
        numbers
    }

    /// Takes received bytes, and reports the verdict on each complete line, and the line.
    pub fn receive(&mut self, bytes: &[u8], now: Instant, mut report: impl FnMut(Verdict, &[u8])) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !piece.ends_with(b"\n") {
                self.partial.extend_from_slice(piece);
            } else if self.partial.is_empty() {
                report(self.judge(piece, now), piece);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(piece);
                report(self.judge(&line, now), &line);
            }
        }
    }

    fn judge(&mut self, echo: &[u8], now: Instant) -> Verdict {
        match self.waiting.front() {
            Some(&(number, sent_at)) if self.expected.is_echo(echo, number) => {
                self.waiting.pop_front();
                remember(&mut self.echoed, number);
                Verdict::Echoed(number, now - sent_at)
            }
            _ => self.judge_out_of_order(echo, now),
        }
    }

    /// Judges an echo that is not of the next line.
    #[cold]
    fn judge_out_of_order(&mut self, echo: &[u8], now: Instant) -> Verdict {
        if let Some(i) = self.expected.find(echo, &self.waiting) {
            self.overtaken.extend(self.waiting.drain(..i));
            return self.judge(echo, now);
        }
        if let Some(i) = self.expected.find(echo, &self.overtaken)
            && let Some((number, _)) = self.overtaken.remove(i)
        {
            remember(&mut self.echoed, number);
            return Verdict::Wrong(number, Fault::Reordered);
        }
        if let Some(i) = self.expected.find(echo, &self.lost)
            && let Some((number, sent_at)) = self.lost.remove(i)
        {
            remember(&mut self.echoed, number);
            return Verdict::Late(number, now - sent_at);
        }
        for &number in &self.echoed {
            if self.expected.is_echo(echo, number) {
                return Verdict::Wrong(number, Fault::Repeated);
            }
        }
        if let Some((number, _)) = self.waiting.pop_front() {
            let offset = self.expected.difference(echo, number);
            return Verdict::Wrong(number, Fault::Changed(offset));
        }
        let last = self.echoed.back().copied().unwrap_or(0);
        Verdict::Wrong(last, Fault::Unexpected)
    }
}

fn remember<T>(queue: &mut VecDeque<T>, line: T) {
    if queue.len() == REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 20;

    fn verifier(prefix: Prefix) -> Verifier {
        Verifier::new(Pattern::new(1, LEN), prefix)
    }

    /// The echo of a line, prefix included.
    fn echo(number: u64) -> Vec<u8> {
        let mut echo = b"> ".to_vec();
        Pattern::new(1, LEN).append(number, &mut echo);
        echo
    }

    /// The verdicts on `echoes`, after lines 1 to 4 were sent, without times.
    fn verdicts(echoes: &[Vec<u8>]) -> (Vec<String>, Verifier) {
        verdicts_with(Prefix::Fixed(b"> ".to_vec()), echoes)
    }

    fn verdicts_with(prefix: Prefix, echoes: &[Vec<u8>]) -> (Vec<String>, Verifier) {
        let (mut verifier, now) = (verifier(prefix), Instant::now());
        (1..=4).for_each(|number| verifier.send(number, now, &mut Vec::new()));
        let mut verdicts = Vec::new();
        for echo in echoes {
            verifier.receive(echo, now, |verdict, _| {
                verdicts.push(match verdict {
                    Verdict::Echoed(number, _) => format!("{number}"),
                    Verdict::Late(number, _) => format!("{number} late"),
                    Verdict::Wrong(number, fault) => format!("{number} {fault:?}"),
                });
            });
        }
        (verdicts, verifier)
    }

    #[test]
    fn echoes_in_order_are_right_however_they_are_cut() {
        let all: Vec<u8> = (1..=4).flat_map(echo).collect();
        for size in 1..all.len() {
            let pieces: Vec<_> = all.chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(verdicts(&pieces).0, ["1", "2", "3", "4"]);
        }
    }

    #[test]
    fn a_reordered_echo_is_wrong() {
        let echoes = [echo(2), echo(1), echo(3), echo(4)];
        assert_eq!(verdicts(&echoes).0, ["2", "1 Reordered", "3", "4"]);
    }

    #[test]
    fn a_repeated_echo_is_wrong() {
        let echoes = [echo(1), echo(1), echo(2)];
        assert_eq!(verdicts(&echoes).0, ["1", "1 Repeated", "2"]);
    }

    #[test]
    fn a_changed_echo_is_wrong_at_its_first_different_byte() {
        let mut changed = echo(1);
        changed[7] ^= 1;
        assert_eq!(verdicts(&[changed, echo(2)]).0, ["1 Changed(7)", "2"]);
        let without_prefix = echo(1)[2..].to_vec();
        assert_eq!(verdicts(&[without_prefix]).0, ["1 Changed(0)"]);
    }

    #[test]
    fn an_echo_of_nothing_is_wrong() {
        let echoes = [1, 2, 3, 4].map(echo);
        let echoes = [&echoes[..], &[b"more\n".to_vec()]].concat();
        assert_eq!(verdicts(&echoes).0[4], "4 Unexpected");
    }

    #[test]
    fn a_dropped_line_is_lost_and_its_echo_late() {
        let (seen, mut verifier) = verdicts(&[echo(1), echo(3), echo(4)]);
        assert_eq!(seen, ["1", "3", "4"]);
        assert_eq!(verifier.outstanding(), 1);
        let now = Instant::now();
        assert_eq!(verifier.give_up(now), [2]);
        assert_eq!(verifier.outstanding(), 0);
        verifier.receive(&echo(2), now, |verdict, _| {
            assert!(matches!(verdict, Verdict::Late(2, _)));
        });
    }

    #[test]
    fn an_echo_with_any_prefix_must_end_with_its_line() {
        let line = |number| echo(number)[2..].to_vec();
        let with_prefix = |prefix: &[u8], number| [prefix, &line(number)].concat();
        let longest = [b'x'; MAX_PREFIX_LEN];
        let echoes = [line(1), with_prefix(b"a: ", 3), with_prefix(&longest, 2)];
        let seen = verdicts_with(Prefix::Any, &echoes).0;
        assert_eq!(seen, ["1", "3", "2 Reordered"]);

        let mut changed = with_prefix(b"a: ", 1);
        changed[3 + 5] ^= 1;
        let too_long = with_prefix(&[b'x'; MAX_PREFIX_LEN + 1], 2);
        let too_short = line(3)[1..].to_vec();
        let seen = verdicts_with(Prefix::Any, &[changed, too_long, too_short]).0;
        assert_eq!(seen, ["1 Changed(8)", "2 Changed(1024)", "3 Changed(0)"]);
    }
}
