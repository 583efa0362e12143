//! What waits to be sent, and how it is flushed.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

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

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that the kernel took since the connection began.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends `lines` at once, with one write if the kernel takes them all, and
    /// keeps what it did not take. Nothing may be waiting.
    ///
    /// # Errors
    ///
    /// Those of the stream, `WouldBlock` and `Interrupted` excepted.
    pub fn send(&mut self, stream: &mut impl Write, lines: Cow<'_, [u8]>) -> io::Result<()> {
        debug_assert!(self.is_empty(), "lines would overtake those that wait");
        let taken = self.put(stream, &lines)?;
        if taken < lines.len() {
            (self.waiting, self.gone) = match lines {
                Cow::Borrowed(lines) => (lines[taken..].to_vec(), 0),
                Cow::Owned(lines) => (lines, taken),
            };
        }
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.gone += self.put(stream, &waiting[self.gone..])?;
        if self.gone < waiting.len() {
            self.waiting = waiting;
        }
        Ok(())
    }

    /// Writes until all is taken or the stream would block: mio promises the
    /// next writable event only after `WouldBlock`. Returns the bytes taken.
    fn put(&mut self, stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match stream.write(&bytes[taken..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => taken += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.sent += taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Takes as many bytes per write as its script says, then everything.
    struct Sink {
        script: std::vec::IntoIter<Option<usize>>,
        taken: Vec<u8>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = match self.script.next() {
                Some(None) => return Err(ErrorKind::WouldBlock.into()),
                Some(Some(0)) => return Err(ErrorKind::Interrupted.into()),
                Some(Some(n)) => n.min(bytes.len()),
                None => bytes.len(),
            };
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn short_writes_lose_and_repeat_nothing(
            lines in vec(any::<u8>(), 0..100),
            owned in any::<bool>(),
            script in vec(proptest::option::of(0usize..30), 0..40),
        ) {
            let mut sink = Sink { script: script.into_iter(), taken: Vec::new() };
            let mut outbox = Outbox::default();
            let bytes = if owned { Cow::Owned(lines.clone()) } else { Cow::Borrowed(&lines[..]) };
            outbox.send(&mut sink, bytes).unwrap();
            while !outbox.is_empty() {
                outbox.flush(&mut sink).unwrap();
            }
            prop_assert_eq!(&sink.taken, &lines);
            prop_assert_eq!(outbox.sent(), lines.len() as u64);
            prop_assert_eq!(outbox.waiting.capacity(), 0, "memory is given back");
        }
    }
}
