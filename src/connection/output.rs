//! Output that the kernel has not taken yet.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use memchr::memchr;
use rustix::net::SendFlags;

use crate::connection::encoder::{LineEncoder, Position};
use crate::net::socket::Socket;
use crate::net::stream::{EOR, MORE, Stream};
use crate::stats::Traffic;

/// Pending bytes written per run of a connection, unless the kernel takes more with
/// one send. Only lines far longer than the read buffer reach it, and lines with a prefix.
const MAX_BYTES_PER_RUN: usize = 64 * 1024;

/// Sends of the rest of new lines, in the run that read them. With a segment per
/// line each line costs a system call, and a batch of lines should leave together.
const MAX_SENDS_OF_NEW_LINES: usize = 16;

/// Sends of pending output per run after that. One buffer can hold 65,536 lines, so
/// only a flood gets here with a segment per line, and should not delay others.
const MAX_SENDS_PER_RUN: usize = 4;

/// The pending output of one connection. Holds no memory while there is none.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    /// Lines without their prefixes.
    lines: Box<[u8]>,
    /// How much the kernel has taken.
    position: Position,
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
        self.lines.is_empty()
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
        fin_follows: bool,
        encoder: &mut LineEncoder,
        traffic: &mut Traffic,
    ) -> io::Result<Progress> {
        debug_assert!(self.is_empty(), "lines would overtake pending ones");
        if encoder.has_prefix() {
            let start = encoder.start();
            return self.write_rest(socket, lines, start, fin_follows, encoder, traffic);
        }
        let taken = match write_plain(socket, &lines, fin_follows, encoder) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => 0,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.keep(lines, encoder.start());
                return Ok(Progress::WouldBlock);
            }
            Err(e) => return Err(e),
        };
        traffic.bytes_out += taken as u64;
        if taken == lines.len() {
            return Ok(Progress::Done);
        }
        let position = encoder.at(taken);
        self.write_rest(socket, lines, position, fin_follows, encoder, traffic)
    }

    /// Sends `lines` from `position` on, and keeps what the kernel does not take.
    #[cold]
    #[inline(never)]
    fn write_rest(
        &mut self,
        socket: &mut Socket<impl Stream>,
        lines: Cow<'_, [u8]>,
        mut position: Position,
        fin_follows: bool,
        encoder: &mut LineEncoder,
        traffic: &mut Traffic,
    ) -> io::Result<Progress> {
        let (at, max_sends) = (&mut position, MAX_SENDS_OF_NEW_LINES);
        let progress = write_lines(socket, &lines, at, fin_follows, encoder, traffic, max_sends)?;
        if progress != Progress::Done {
            self.keep(lines, position);
        }
        Ok(progress)
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, lines: Cow<'_, [u8]>, mut position: Position) {
        self.lines = match lines {
            Cow::Borrowed(lines) => lines[std::mem::take(&mut position.sent)..].into(),
            Cow::Owned(lines) => lines.into(),
        };
        self.position = position;
    }

    /// Sends pending output. Some must be pending.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    #[cold]
    #[inline(never)]
    pub fn flush(
        &mut self,
        socket: &mut Socket<impl Stream>,
        fin_follows: bool,
        encoder: &mut LineEncoder,
        traffic: &mut Traffic,
    ) -> io::Result<Progress> {
        let (at, max_sends) = (&mut self.position, MAX_SENDS_PER_RUN);
        let progress = write_lines(
            socket,
            &self.lines,
            at,
            fin_follows,
            encoder,
            traffic,
            max_sends,
        )?;
        if progress == Progress::Done {
            *self = OutputBuffer::default();
        }
        Ok(progress)
    }
}

/// Sends `lines` from `position` on until all is taken, the socket would block (mio
/// reports the next writable edge only after that) or the budget is used up.
fn write_lines(
    socket: &mut Socket<impl Stream>,
    lines: &[u8],
    position: &mut Position,
    fin_follows: bool,
    encoder: &mut LineEncoder,
    traffic: &mut Traffic,
    max_sends: usize,
) -> io::Result<Progress> {
    let mut taken = 0;
    for _ in 0..max_sends {
        match write_once(socket, lines, position, fin_follows, encoder) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                taken += n;
                traffic.bytes_out += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Progress::WouldBlock),
            Err(e) => return Err(e),
        }
        if position.sent == lines.len() {
            return Ok(Progress::Done);
        }
        if taken >= MAX_BYTES_PER_RUN {
            break;
        }
    }
    Ok(Progress::BudgetUsed)
}

/// Makes one send, of the next part of `lines`. Advances `position` and returns the bytes
/// taken.
fn write_once(
    socket: &mut Socket<impl Stream>,
    lines: &[u8],
    position: &mut Position,
    fin_follows: bool,
    encoder: &mut LineEncoder,
) -> io::Result<usize> {
    if encoder.has_prefix() {
        return write_encoded(socket, lines, position, fin_follows, encoder);
    }
    let taken = write_plain(socket, &lines[position.sent..], fin_follows, encoder)?;
    position.sent += taken;
    Ok(taken)
}

/// Sends `lines` as they are: all, or the first (or the rest of it) as a record of its own.
/// If our FIN follows at once, it is to ride on the last segment.
#[expect(clippy::inline_always, reason = "see Connection::echo")]
#[inline(always)]
fn write_plain(
    socket: &mut Socket<impl Stream>,
    lines: &[u8],
    fin_follows: bool,
    encoder: &LineEncoder,
) -> io::Result<usize> {
    let last = if fin_follows {
        MORE
    } else {
        SendFlags::empty()
    };
    if encoder.is_identity() {
        return socket.send(lines, last);
    }
    match memchr(b'\n', lines) {
        Some(lf) if lf + 1 < lines.len() => socket.send(&lines[..=lf], EOR),
        _ => socket.send(lines, EOR | last),
    }
}

/// Sends the next part of `lines` with their prefixes.
fn write_encoded(
    socket: &mut Socket<impl Stream>,
    lines: &[u8],
    position: &mut Position,
    fin_follows: bool,
    encoder: &mut LineEncoder,
) -> io::Result<usize> {
    let segment_per_line = encoder.segment_per_line;
    let (part, end) = encoder.encode(lines, *position);
    let ends_record = segment_per_line && part.ends_with(b"\n");
    let more_follows = if end.sent < lines.len() {
        !ends_record // The next part follows at once.
    } else {
        fin_follows
    };
    let mut flags = SendFlags::empty();
    flags.set(EOR, ends_record);
    flags.set(MORE, more_follows);
    let len = part.len();
    let taken = socket.send(part, flags)?;
    *position = if taken == len {
        end
    } else {
        encoder.advance(lines, *position, taken)
    };
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::net::tcp_info::TcpInfo;
    use crate::property;

    /// Takes as many bytes per send as its script says, then everything.
    struct Sink {
        script: RefCell<std::vec::IntoIter<Option<usize>>>,
        taken: RefCell<Vec<u8>>,
        /// Positions of record ends, and of ends that wait for more or a FIN.
        records: RefCell<Vec<usize>>,
        waits: RefCell<Vec<usize>>,
        /// Sends fail after the script.
        fails_at_end: bool,
    }

    impl Stream for Sink {
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

        fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("output is only sent")
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
                self.waits.borrow_mut().push(taken.len());
            }
            Ok(n)
        }
    }

    fn sink(script: Vec<Option<usize>>) -> Socket<Sink> {
        Socket::new(Sink {
            script: RefCell::new(script.into_iter()),
            taken: RefCell::default(),
            records: RefCell::default(),
            waits: RefCell::default(),
            fails_at_end: false,
        })
    }

    #[test]
    fn a_huge_line_is_written_in_bounded_parts() {
        let mut socket = sink(vec![Some(10_000); 1000]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(false, b"", 1);
        let lines = Cow::Owned(vec![b'x'; 1 << 20]);
        let progress = output.write(&mut socket, lines, false, &mut encoder, &mut traffic);
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 80_000);
        let progress = output.flush(&mut socket, false, &mut encoder, &mut traffic);
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 120_000);
    }

    #[test]
    fn a_buffer_of_newlines_is_written_in_bounded_parts() {
        let mut socket = sink(vec![]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(true, b"", 1);
        let lines = Cow::Owned(vec![b'\n'; 17 + 3 * 4]);
        let mut progress = output.write(&mut socket, lines, false, &mut encoder, &mut traffic);
        for sent in [17, 21, 25] {
            assert_eq!(progress.unwrap(), Progress::BudgetUsed);
            assert_eq!(traffic.bytes_out, sent);
            progress = output.flush(&mut socket, false, &mut encoder, &mut traffic);
        }
        assert_eq!(progress.unwrap(), Progress::Done);
        assert!(output.is_empty());
    }

    /// 64 KiB of newlines become 64 MiB.
    #[test]
    fn newlines_with_a_long_prefix_are_written_in_bounded_parts() {
        let mut socket = sink(vec![]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(false, &[b'x'; 1024], 65 * 1024);
        let lines = Cow::Owned(vec![b'\n'; 65536]);
        let mut progress = output.write(&mut socket, lines, false, &mut encoder, &mut traffic);
        for runs in 1..1024 {
            assert_eq!(progress.unwrap(), Progress::BudgetUsed);
            assert_eq!(output.lines.len(), 65536, "kept without prefixes");
            // A part has 64 lines, and is more than a run may write.
            assert_eq!(traffic.bytes_out, runs * 64 * 1025);
            progress = output.flush(&mut socket, false, &mut encoder, &mut traffic);
        }
        assert_eq!(progress.unwrap(), Progress::Done);
        assert_eq!(traffic.bytes_out, 65536 * 1025);
    }

    #[test]
    fn bytes_taken_before_an_error_are_counted() {
        let mut socket = sink(vec![Some(300), Some(300)]);
        socket.stream_mut().fails_at_end = true;
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(false, b"", 1);
        let lines = Cow::Borrowed(&[b'x'; 1000][..]);
        let progress = output.write(&mut socket, lines, false, &mut encoder, &mut traffic);
        assert!(progress.is_err());
        assert_eq!(traffic.bytes_out, 600);
    }

    proptest! {
        #![proptest_config(property::config(256))]

        #[test]
        fn short_sends_lose_and_repeat_nothing_and_keep_records_and_fin_in_place(
            mut lines in vec(property::byte(128), 0..100),
            owned in any::<bool>(),
            segment_per_line in any::<bool>(),
            fin_follows in any::<bool>(),
            script in vec(proptest::option::of(0usize..30), 0..40),
            prefix in vec(b' '..=b'~', 0..6),
            max_part in 7usize..40,
        ) {
            lines.push(b'\n');
            let mut encoder = LineEncoder::new(segment_per_line, &prefix, max_part);
            let mut socket = sink(script);
            let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
            let bytes = if owned { Cow::Owned(lines.clone()) } else { Cow::Borrowed(&lines[..]) };
            let mut progress = output.write(&mut socket, bytes, fin_follows, &mut encoder, &mut traffic).unwrap();
            while progress != Progress::Done {
                prop_assert!(!output.is_empty());
                progress = output.flush(&mut socket, fin_follows, &mut encoder, &mut traffic).unwrap();
            }
            prop_assert!(output.is_empty());
            let sent = lines.split_inclusive(|&byte| byte == b'\n');
            let sent: Vec<u8> = sent.flat_map(|line| [&prefix, line].concat()).collect();
            prop_assert_eq!(traffic.bytes_out, sent.len() as u64);
            let sink = socket.stream_mut();
            prop_assert_eq!(&*sink.taken.borrow(), &sent);
            #[cfg(target_os = "linux")]
            {
                let ends: Vec<usize> = memchr::memchr_iter(b'\n', &sent).map(|lf| lf + 1).collect();
                let records = if segment_per_line { ends } else { vec![] };
                prop_assert_eq!(&*sink.records.borrow(), &records);
                let waits = sink.waits.borrow();
                prop_assert_eq!(waits.last() == Some(&sent.len()), fin_follows);
                if prefix.is_empty() {
                    prop_assert_eq!(waits.len(), usize::from(fin_follows));
                }
            }
        }
    }
}
