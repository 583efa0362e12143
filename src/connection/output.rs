//! Output that the kernel has not taken yet.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use memchr::memchr;
use rustix::net::SendFlags;

use crate::net::socket::Socket;
use crate::net::stream::{EOR, MORE, Stream};
use crate::stats::Traffic;

/// Pending bytes written per run of a connection, unless the kernel takes more with
/// one send. Only lines far longer than the read buffer reach it.
const MAX_BYTES_PER_RUN: usize = 64 * 1024;

/// Sends of the rest of new lines, in the run that read them. With a segment per
/// line each line costs a system call, and a batch of lines should leave together.
const MAX_SENDS_OF_NEW_LINES: usize = 16;

/// Sends of pending output per run after that. One buffer can hold 65,536 lines, so
/// only a flood gets here with a segment per line, and should not delay others.
const MAX_SENDS_PER_RUN: usize = 4;

/// How lines become segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendOptions {
    /// Each line is a segment of its own; otherwise as few segments as possible.
    pub segment_per_line: bool,
    /// Our FIN follows at once, and is to ride on the last segment.
    pub fin_follows: bool,
}

/// The pending output of one connection. Holds no memory while there is none.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    buf: Vec<u8>,
    /// Bytes of `buf` that the kernel has taken.
    pos: usize,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The kernel has taken everything.
    Done,
    /// The budget of this run is used up; the kernel may take more.
    BudgetUsed,
    /// The kernel takes no more; an event will report when it does.
    WouldBlock,
}

impl OutputBuffer {
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Sends `lines`, which must not be empty, and keeps what the kernel does not
    /// take. Nothing may be pending. Counts the bytes taken, also before an error.
    ///
    /// # Errors
    ///
    /// Those of the socket, except `WouldBlock` and `Interrupted`.
    #[expect(clippy::inline_always, reason = "see Connection::echo")]
    #[inline(always)]
    pub fn write(
        &mut self,
        socket: &mut Socket<impl Stream>,
        lines: Cow<'_, [u8]>,
        options: SendOptions,
        traffic: &mut Traffic,
    ) -> io::Result<Progress> {
        debug_assert!(self.is_empty(), "lines would overtake pending ones");
        let taken = match write_once(socket, &lines, options) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => 0,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.keep(lines, 0);
                return Ok(Progress::WouldBlock);
            }
            Err(e) => return Err(e),
        };
        traffic.bytes_out += taken as u64;
        if taken == lines.len() {
            return Ok(Progress::Done);
        }
        self.keep(lines, taken);
        self.write_remaining(socket, options, traffic, MAX_SENDS_OF_NEW_LINES)
    }

    #[cold]
    fn keep(&mut self, lines: Cow<'_, [u8]>, taken: usize) {
        (self.buf, self.pos) = match lines {
            Cow::Borrowed(lines) => (lines[taken..].to_vec(), 0),
            Cow::Owned(lines) => (lines, taken),
        };
    }

    /// Sends pending output. Some must be pending.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn flush(
        &mut self,
        socket: &mut Socket<impl Stream>,
        options: SendOptions,
        traffic: &mut Traffic,
    ) -> io::Result<Progress> {
        self.write_remaining(socket, options, traffic, MAX_SENDS_PER_RUN)
    }

    /// Sends pending output until all is taken, the socket would block (mio reports
    /// the next writable edge only after that) or the budget is used up.
    #[cold]
    fn write_remaining(
        &mut self,
        socket: &mut Socket<impl Stream>,
        options: SendOptions,
        traffic: &mut Traffic,
        max_sends: usize,
    ) -> io::Result<Progress> {
        let budget_end = self.buf.len().min(self.pos + MAX_BYTES_PER_RUN);
        for _ in 0..max_sends {
            match write_once(socket, &self.buf[self.pos..], options) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.pos += n;
                    traffic.bytes_out += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Progress::WouldBlock),
                Err(e) => return Err(e),
            }
            if self.pos == self.buf.len() {
                *self = OutputBuffer::default();
                return Ok(Progress::Done);
            }
            if self.pos >= budget_end {
                break;
            }
        }
        Ok(Progress::BudgetUsed)
    }
}

/// Makes one send: of all `bytes`, or of the first line (or the rest of it) as a
/// record of its own. Returns the bytes taken.
#[expect(clippy::inline_always, reason = "see Connection::echo")]
#[inline(always)]
fn write_once(
    socket: &mut Socket<impl Stream>,
    bytes: &[u8],
    options: SendOptions,
) -> io::Result<usize> {
    let last = if options.fin_follows {
        MORE
    } else {
        SendFlags::empty()
    };
    if !options.segment_per_line {
        return socket.send(bytes, last);
    }
    match memchr(b'\n', bytes) {
        Some(lf) if lf + 1 < bytes.len() => socket.send(&bytes[..=lf], EOR),
        _ => socket.send(bytes, EOR | last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::net::tcp_info::TcpInfo;

    /// Takes as many bytes per send as its script says, then everything.
    struct Sink {
        script: RefCell<std::vec::IntoIter<Option<usize>>>,
        taken: RefCell<Vec<u8>>,
        /// Positions of record ends, and of sends that a FIN follows.
        records: RefCell<Vec<usize>>,
        fins: RefCell<Vec<usize>>,
        /// Sends fail after the script.
        fails_at_end: bool,
    }

    impl Stream for Sink {
        const EDGE_TRIGGERED: bool = true;

        fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("output is only sent")
        }
        fn shutdown_write(&self) -> io::Result<()> {
            unreachable!("output is only sent")
        }
        fn take_error(&self) -> io::Result<Option<io::Error>> {
            unreachable!("output is only sent")
        }
        fn set_quick_ack(&self, _: bool) {}
        fn tcp_info(&self) -> TcpInfo {
            TcpInfo::default()
        }

        fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
            let n = match self.script.borrow_mut().next() {
                Some(None) => return Err(ErrorKind::WouldBlock.into()),
                Some(Some(0)) => return Err(ErrorKind::Interrupted.into()),
                Some(Some(n)) => n.min(bytes.len()),
                None if self.fails_at_end => return Err(ErrorKind::ConnectionReset.into()),
                None => bytes.len(),
            };
            let mut taken = self.taken.borrow_mut();
            taken.extend_from_slice(&bytes[..n]);
            // Linux ends the record, or waits for more, only if it took all.
            if n == bytes.len() && flags.contains(EOR) {
                self.records.borrow_mut().push(taken.len());
            }
            if n == bytes.len() && flags.contains(MORE) {
                self.fins.borrow_mut().push(taken.len());
            }
            Ok(n)
        }
    }

    fn sink(script: Vec<Option<usize>>) -> Socket<Sink> {
        Socket::new(Sink {
            script: RefCell::new(script.into_iter()),
            taken: RefCell::default(),
            records: RefCell::default(),
            fins: RefCell::default(),
            fails_at_end: false,
        })
    }

    const PLAIN: SendOptions = SendOptions {
        segment_per_line: false,
        fin_follows: false,
    };

    #[test]
    fn a_huge_line_is_written_in_bounded_parts() {
        let mut socket = sink(vec![Some(10_000); 1000]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let lines = Cow::Owned(vec![b'x'; 1 << 20]);
        let progress = output.write(&mut socket, lines, PLAIN, &mut traffic);
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 80_000);
        let progress = output.flush(&mut socket, PLAIN, &mut traffic);
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 120_000);
    }

    #[test]
    fn a_buffer_of_newlines_is_written_in_bounded_parts() {
        let mut socket = sink(vec![]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let options = SendOptions {
            segment_per_line: true,
            ..PLAIN
        };
        let lines = Cow::Owned(vec![b'\n'; 17 + 3 * 4]);
        let mut progress = output.write(&mut socket, lines, options, &mut traffic);
        for sent in [17, 21, 25] {
            assert_eq!(progress.unwrap(), Progress::BudgetUsed);
            assert_eq!(traffic.bytes_out, sent);
            progress = output.flush(&mut socket, options, &mut traffic);
        }
        assert_eq!(progress.unwrap(), Progress::Done);
        assert!(output.is_empty());
    }

    #[test]
    fn bytes_taken_before_an_error_are_counted() {
        let mut socket = sink(vec![Some(300), Some(300)]);
        socket.stream_mut().fails_at_end = true;
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let lines = Cow::Borrowed(&[b'x'; 1000][..]);
        let progress = output.write(&mut socket, lines, PLAIN, &mut traffic);
        assert!(progress.is_err());
        assert_eq!(traffic.bytes_out, 600);
    }

    proptest! {
        #[test]
        fn short_sends_lose_and_repeat_nothing_and_keep_records_and_fin_in_place(
            mut lines in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..100),
            owned in any::<bool>(),
            segment_per_line in any::<bool>(),
            fin_follows in any::<bool>(),
            script in vec(proptest::option::of(0usize..30), 0..40),
        ) {
            lines.push(b'\n');
            let mut socket = sink(script);
            let options = SendOptions { segment_per_line, fin_follows };
            let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
            let bytes = if owned { Cow::Owned(lines.clone()) } else { Cow::Borrowed(&lines[..]) };
            let mut progress = output.write(&mut socket, bytes, options, &mut traffic).unwrap();
            while progress != Progress::Done {
                prop_assert!(!output.is_empty());
                progress = output.flush(&mut socket, options, &mut traffic).unwrap();
            }
            prop_assert!(output.is_empty());
            prop_assert_eq!(output.buf.capacity(), 0, "memory is freed");
            prop_assert_eq!(traffic.bytes_out, lines.len() as u64);
            let sink = socket.stream_mut();
            prop_assert_eq!(&*sink.taken.borrow(), &lines);
            #[cfg(target_os = "linux")]
            {
                let ends: Vec<usize> = memchr::memchr_iter(b'\n', &lines).map(|lf| lf + 1).collect();
                let records = if segment_per_line { ends } else { vec![] };
                prop_assert_eq!(&*sink.records.borrow(), &records);
                let fins = if fin_follows { vec![lines.len()] } else { vec![] };
                prop_assert_eq!(&*sink.fins.borrow(), &fins);
            }
        }
    }
}
