//! Output that the kernel has not taken yet.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use rustix::net::SendFlags;

use crate::net::socket::Socket;
use crate::net::stream::{EOR, MORE, Stream};
use crate::server::connection::encoder::{LineEncoder, Position, first_line};
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

/// The pending output of one connection. While there is none, it is a null pointer.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer(Option<Box<Pending>>);

#[derive(Debug)]
struct Pending {
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
        self.0.is_none()
    }

    /// Sends `lines`, which must not be empty, and keeps what the kernel does not
    /// take. Nothing may be pending. Counts the bytes taken, also before an error.
    ///
    /// # Errors
    ///
    /// Those of the socket, except `WouldBlock` and `Interrupted`.
    pub fn write(
        &mut self,
        sender: &mut Sender<'_, impl Stream>,
        lines: Cow<'_, [u8]>,
    ) -> io::Result<Progress> {
        debug_assert!(self.is_empty(), "lines would overtake pending ones");
        let mut position = sender.encoder.start();
        let mut progress = Progress::BudgetUsed;
        if !sender.encoder.has_prefix() {
            progress = sender.send_next(&lines, &mut position)?;
        }
        if progress == Progress::BudgetUsed {
            progress = sender.send(&lines, &mut position, MAX_SENDS_OF_NEW_LINES)?;
        }
        if progress != Progress::Done {
            self.keep(lines, position);
        }
        Ok(progress)
    }

    #[cold]
    fn keep(&mut self, lines: Cow<'_, [u8]>, mut position: Position) {
        let lines = match lines {
            Cow::Borrowed(lines) => lines[std::mem::take(&mut position.sent)..].into(),
            Cow::Owned(lines) => lines.into(),
        };
        self.0 = Some(Box::new(Pending { lines, position }));
    }

    /// Sends pending output, if any.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn flush(&mut self, sender: &mut Sender<'_, impl Stream>) -> io::Result<Progress> {
        let Some(Pending { lines, position }) = self.0.as_deref_mut() else {
            return Ok(Progress::Done);
        };
        let progress = sender.send(lines, position, MAX_SENDS_PER_RUN)?;
        if progress == Progress::Done {
            self.0 = None;
        }
        Ok(progress)
    }
}

/// What sends the lines of one connection.
pub(crate) struct Sender<'a, S> {
    pub socket: &'a mut Socket<S>,
    pub encoder: &'a mut LineEncoder,
    pub traffic: &'a mut Traffic,
    /// Our FIN follows the lines at once, and is to ride on the last segment.
    pub fin_follows: bool,
}

impl<S: Stream> Sender<'_, S> {
    /// Sends `lines` from `position` on until all is taken, the socket would block (mio
    /// reports the next writable edge only after that) or the budget is used up.
    #[cold]
    fn send(
        &mut self,
        lines: &[u8],
        position: &mut Position,
        max_sends: usize,
    ) -> io::Result<Progress> {
        let limit = self.traffic.bytes_out + MAX_BYTES_PER_RUN as u64;
        for _ in 0..max_sends {
            let progress = self.send_next(lines, position)?;
            if progress != Progress::BudgetUsed || self.traffic.bytes_out >= limit {
                return Ok(progress);
            }
        }
        Ok(Progress::BudgetUsed)
    }

    /// Makes one send, of the next part of `lines`: all that is left, a part with
    /// prefixes, or a record of its own. `BudgetUsed` if lines are left.
    #[inline]
    fn send_next(&mut self, lines: &[u8], position: &mut Position) -> io::Result<Progress> {
        let taken = if self.encoder.has_prefix() {
            self.send_encoded(lines, position)
        } else {
            self.send_plain(lines, position)
        };
        match taken {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => self.traffic.bytes_out += taken as u64,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Progress::WouldBlock),
            Err(e) => return Err(e),
        }
        Ok(if position.sent == lines.len() {
            Progress::Done
        } else {
            Progress::BudgetUsed
        })
    }

    /// Sends `lines` as they are: all, or the first (or the rest of it) as a record of its
    /// own.
    #[inline]
    fn send_plain(&mut self, lines: &[u8], position: &mut Position) -> io::Result<usize> {
        let rest = &lines[position.sent..];
        let (part, eor) = if self.encoder.segment_per_line {
            (first_line(rest), EOR)
        } else {
            (rest, SendFlags::empty())
        };
        let is_last = part.len() == rest.len();
        let more = if is_last && self.fin_follows {
            MORE
        } else {
            SendFlags::empty()
        };
        let taken = self.socket.send(part, eor | more)?;
        position.sent += taken;
        Ok(taken)
    }

    /// Sends the next part of `lines` with their prefixes.
    #[cold]
    fn send_encoded(&mut self, lines: &[u8], position: &mut Position) -> io::Result<usize> {
        let segment_per_line = self.encoder.segment_per_line;
        let (part, end) = self.encoder.encode(lines, *position);
        let ends_record = segment_per_line && part.ends_with(b"\n");
        let more_follows = if end.sent < lines.len() {
            !ends_record // The next part follows at once.
        } else {
            self.fin_follows
        };
        let mut flags = SendFlags::empty();
        flags.set(EOR, ends_record);
        flags.set(MORE, more_follows);
        let len = part.len();
        let taken = self.socket.send(part, flags)?;
        *position = if taken == len {
            end
        } else {
            self.encoder.advance(lines, *position, taken)
        };
        Ok(taken)
    }
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
        fn set_cork(&self, _: bool) -> io::Result<()> {
            unreachable!("output is only sent")
        }
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

    fn sender<'a>(
        socket: &'a mut Socket<Sink>,
        encoder: &'a mut LineEncoder,
        traffic: &'a mut Traffic,
        fin_follows: bool,
    ) -> Sender<'a, Sink> {
        Sender {
            socket,
            encoder,
            traffic,
            fin_follows,
        }
    }

    #[test]
    fn a_huge_line_is_written_in_bounded_parts() {
        let mut socket = sink(vec![Some(10_000); 1000]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(false, b"", 1);
        let lines = Cow::Owned(vec![b'x'; 1 << 20]);
        let progress = output.write(
            &mut sender(&mut socket, &mut encoder, &mut traffic, false),
            lines,
        );
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 80_000);
        let progress = output.flush(&mut sender(&mut socket, &mut encoder, &mut traffic, false));
        assert_eq!(progress.unwrap(), Progress::BudgetUsed);
        assert_eq!(traffic.bytes_out, 120_000);
    }

    #[test]
    fn a_buffer_of_newlines_is_written_in_bounded_parts() {
        let mut socket = sink(vec![]);
        let (mut output, mut traffic) = (OutputBuffer::default(), Traffic::default());
        let mut encoder = LineEncoder::new(true, b"", 1);
        let lines = Cow::Owned(vec![b'\n'; 17 + 3 * 4]);
        let mut progress = output.write(
            &mut sender(&mut socket, &mut encoder, &mut traffic, false),
            lines,
        );
        for sent in [17, 21, 25] {
            assert_eq!(progress.unwrap(), Progress::BudgetUsed);
            assert_eq!(traffic.bytes_out, sent);
            progress = output.flush(&mut sender(&mut socket, &mut encoder, &mut traffic, false));
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
        let mut progress = output.write(
            &mut sender(&mut socket, &mut encoder, &mut traffic, false),
            lines,
        );
        for runs in 1..1024 {
            assert_eq!(progress.unwrap(), Progress::BudgetUsed);
            assert_eq!(
                output.0.as_ref().unwrap().lines.len(),
                65536,
                "kept without prefixes"
            );
            // A part has 64 lines, and is more than a run may write.
            assert_eq!(traffic.bytes_out, runs * 64 * 1025);
            progress = output.flush(&mut sender(&mut socket, &mut encoder, &mut traffic, false));
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
        let progress = output.write(
            &mut sender(&mut socket, &mut encoder, &mut traffic, false),
            lines,
        );
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
            let mut progress = output.write(&mut sender(&mut socket, &mut encoder, &mut traffic, fin_follows), bytes).unwrap();
            while progress != Progress::Done {
                prop_assert!(!output.is_empty());
                progress = output.flush(&mut sender(&mut socket, &mut encoder, &mut traffic, fin_follows)).unwrap();
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
