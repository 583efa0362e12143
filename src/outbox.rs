//! What waits to be sent, and how it is flushed.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use memchr::memchr;
use rustix::net::SendFlags;

use crate::socket::{END_OF_RECORD, MORE, Socket};

/// Bytes sent per turn before the other connections have theirs, if a send has
/// not taken all by then: only lines far beyond the read budget get there.
const BUDGET: usize = 64 * 1024;

/// Sends per turn, likewise: with a segment per line, a buffer of newlines would
/// be 65,536 of them.
const MAX_SENDS_PER_RUN: usize = 16;

/// How lines become packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// One segment per line rather than as few as will do: no two share one,
    /// and the kernel cuts only what exceeds the MSS or the peer's window.
    pub per_line: bool,
    /// Our FIN follows at once and is to ride on the last segment.
    pub last: bool,
}

/// The output of one connection that the kernel did not take yet.
///
/// Holds no memory while nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Vec<u8>,
    /// How much of `waiting` is gone already.
    gone: usize,
    /// Bytes that the kernel took, ever.
    sent: u64,
}

/// How far output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The kernel has taken all.
    Done,
    /// It has taken the budget, and may take more.
    Budget,
    /// It takes no more; an event will tell when it does.
    Blocked,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that the kernel took since the connection began.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends `lines` at once, with one system call if the kernel takes them
    /// all, and keeps what it did not take. There must be some, and nothing may
    /// be waiting.
    ///
    /// # Errors
    ///
    /// Those of the stream, `WouldBlock` and `Interrupted` excepted.
    #[expect(
        clippy::inline_always,
        reason = "40 of 282 instructions a line (callgrind)"
    )]
    #[inline(always)]
    pub fn send(
        &mut self,
        stream: &impl Socket,
        lines: Cow<'_, [u8]>,
        manner: Manner,
    ) -> io::Result<Progress> {
        debug_assert!(self.is_empty(), "lines would overtake those that wait");
        let first = match send_next(stream, &lines, manner) {
            Ok(n) if n == lines.len() => {
                self.sent += n as u64;
                return Ok(Progress::Done);
            }
            first => first,
        };
        let (taken, progress) = self.go_on(first, stream, &lines, manner)?;
        if taken < lines.len() {
            (self.waiting, self.gone) = match lines {
                Cow::Borrowed(lines) => (lines[taken..].to_vec(), 0),
                Cow::Owned(lines) => (lines, taken),
            };
        }
        Ok(progress)
    }

    /// Sends what waits, as far as the kernel takes it. Something must wait.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    #[inline(never)] // Rare: the usual path is shorter without it.
    pub fn flush(&mut self, stream: &impl Socket, manner: Manner) -> io::Result<Progress> {
        let waiting = std::mem::take(&mut self.waiting);
        let rest = &waiting[self.gone..];
        let first = send_next(stream, rest, manner);
        let (taken, progress) = self.go_on(first, stream, rest, manner)?;
        self.gone += taken;
        if self.gone < waiting.len() {
            self.waiting = waiting;
        }
        Ok(progress)
    }

    /// Goes on after the `first` send of `bytes` until all is taken, the stream
    /// would block (mio promises the next writable event only after that) or
    /// the budget is used up. Returns the bytes taken as well.
    #[inline(never)] // Rare: the usual path is shorter without it.
    fn go_on(
        &mut self,
        first: io::Result<usize>,
        stream: &impl Socket,
        bytes: &[u8],
        manner: Manner,
    ) -> io::Result<(usize, Progress)> {
        let (mut taken, mut result) = (0, first);
        let mut sends = 1;
        loop {
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    taken += n;
                    self.sent += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Ok((taken, Progress::Blocked));
                }
                Err(e) => return Err(e),
            }
            if taken == bytes.len() {
                return Ok((taken, Progress::Done));
            }
            if taken >= BUDGET || sends == MAX_SENDS_PER_RUN {
                return Ok((taken, Progress::Budget));
            }
            sends += 1;
            result = send_next(stream, &bytes[taken..], manner);
        }
    }
}

/// Makes one send of `bytes`: of everything, or of one line (or what remains
/// of one) as a record of its own. Returns the bytes taken.
#[expect(
    clippy::inline_always,
    reason = "23 of 265 instructions a line (callgrind)"
)]
#[inline(always)]
fn send_next(stream: &impl Socket, bytes: &[u8], manner: Manner) -> io::Result<usize> {
    let fin_follows = if manner.last {
        MORE
    } else {
        SendFlags::empty()
    };
    if !manner.per_line {
        return stream.send(bytes, fin_follows);
    }
    match memchr(b'\n', bytes) {
        Some(lf) if lf + 1 < bytes.len() => stream.send(&bytes[..=lf], END_OF_RECORD),
        _ => stream.send(bytes, END_OF_RECORD | fin_follows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::packets::Snapshot;

    /// Takes as many bytes per send as its script says, then everything.
    struct Sink {
        script: RefCell<std::vec::IntoIter<Option<usize>>>,
        taken: RefCell<Vec<u8>>,
        /// Where records ended, and where a FIN was said to follow.
        records: RefCell<Vec<usize>>,
        fins: RefCell<Vec<usize>>,
        /// After the script it takes nothing, but fails.
        fails_in_the_end: bool,
    }

    impl Socket for Sink {
        fn receive(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("an outbox only sends")
        }
        fn finish(&self) -> io::Result<()> {
            unreachable!("an outbox only sends")
        }
        fn take_error(&self) -> io::Result<Option<io::Error>> {
            unreachable!("an outbox only sends")
        }
        fn set_quick_ack(&self, _: bool) {}
        fn snapshot(&self) -> Snapshot {
            Snapshot::default()
        }

        fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
            let n = match self.script.borrow_mut().next() {
                Some(None) => return Err(ErrorKind::WouldBlock.into()),
                Some(Some(0)) => return Err(ErrorKind::Interrupted.into()),
                Some(Some(n)) => n.min(bytes.len()),
                None if self.fails_in_the_end => return Err(ErrorKind::ConnectionReset.into()),
                None => bytes.len(),
            };
            let mut taken = self.taken.borrow_mut();
            taken.extend_from_slice(&bytes[..n]);
            // Linux ends the record, or holds back, where it took all.
            if n == bytes.len() && flags.contains(END_OF_RECORD) {
                self.records.borrow_mut().push(taken.len());
            }
            if n == bytes.len() && flags.contains(MORE) {
                self.fins.borrow_mut().push(taken.len());
            }
            Ok(n)
        }
    }

    fn sink(script: Vec<Option<usize>>) -> Sink {
        Sink {
            script: RefCell::new(script.into_iter()),
            taken: RefCell::default(),
            records: RefCell::default(),
            fins: RefCell::default(),
            fails_in_the_end: false,
        }
    }

    const PLAIN: Manner = Manner {
        per_line: false,
        last: false,
    };

    #[test]
    fn a_reader_that_keeps_up_with_a_huge_line_gets_one_budget_per_turn() {
        let sink = sink(vec![Some(10_000); 1000]);
        let mut outbox = Outbox::default();
        let lines = Cow::Owned(vec![b'x'; 1 << 20]);
        assert_eq!(outbox.send(&sink, lines, PLAIN).unwrap(), Progress::Budget);
        assert_eq!(outbox.sent(), 70_000);
        assert_eq!(outbox.flush(&sink, PLAIN).unwrap(), Progress::Budget);
        assert_eq!(outbox.sent(), 140_000);
    }

    #[test]
    fn what_was_taken_before_an_error_is_counted() {
        let mut outbox = Outbox::default();
        let lines = Cow::Borrowed(&[b'x'; 1000][..]);
        let mut failing = sink(vec![Some(300), Some(300)]);
        failing.fails_in_the_end = true;
        assert!(outbox.send(&failing, lines, PLAIN).is_err());
        assert_eq!(outbox.sent(), 600);
    }

    #[test]
    fn a_buffer_of_newlines_is_sent_in_bounded_parts() {
        let sink = sink(vec![]);
        let mut outbox = Outbox::default();
        let per_line = Manner {
            per_line: true,
            ..PLAIN
        };
        let lines = Cow::Owned(vec![b'\n'; 100]);
        assert_eq!(
            outbox.send(&sink, lines, per_line).unwrap(),
            Progress::Budget
        );
        for runs in 1..=100_usize.div_ceil(MAX_SENDS_PER_RUN) {
            assert_eq!(outbox.sent(), 100.min(runs * MAX_SENDS_PER_RUN) as u64);
            if !outbox.is_empty() {
                outbox.flush(&sink, per_line).unwrap();
            }
        }
        assert!(outbox.is_empty());
    }

    proptest! {
        #[test]
        fn short_sends_lose_and_repeat_nothing_and_keep_lines_and_fin_apart(
            mut lines in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..100),
            owned in any::<bool>(),
            per_line in any::<bool>(),
            last in any::<bool>(),
            script in vec(proptest::option::of(0usize..30), 0..40),
        ) {
            lines.push(b'\n');
            let sink = sink(script);
            let manner = Manner { per_line, last };
            let mut outbox = Outbox::default();
            let bytes = if owned { Cow::Owned(lines.clone()) } else { Cow::Borrowed(&lines[..]) };
            let mut progress = outbox.send(&sink, bytes, manner).unwrap();
            while progress != Progress::Done {
                prop_assert!(!outbox.is_empty());
                progress = outbox.flush(&sink, manner).unwrap();
            }
            prop_assert!(outbox.is_empty());
            prop_assert_eq!(&*sink.taken.borrow(), &lines);
            prop_assert_eq!(outbox.sent(), lines.len() as u64);
            prop_assert_eq!(outbox.waiting.capacity(), 0, "memory is given back");
            #[cfg(target_os = "linux")]
            {
                let ends: Vec<usize> = memchr::memchr_iter(b'\n', &lines).map(|lf| lf + 1).collect();
                prop_assert_eq!(sink.records.into_inner(), if per_line { ends } else { vec![] });
                prop_assert_eq!(sink.fins.into_inner(), if last { vec![lines.len()] } else { vec![] });
            }
        }
    }
}
