//! The input, of which a window is in memory: what is read is not copied again.

use std::io::{self, ErrorKind, Read};

use super::invalid;

const CAPACITY: usize = 256 * 1024;
/// The longest record that is read. libpcap's own limit is 262,144 bytes of packet.
const MAX_RECORD: usize = 4 * 1024 * 1024;

pub struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Window<R> {
    pub fn new(input: R) -> Window<R> {
        let bytes = vec![0; CAPACITY];
        Window {
            input,
            bytes,
            start: 0,
            end: 0,
        }
    }

    /// Whether so many bytes follow. Reads no more than that takes.
    #[inline]
    pub fn has(&mut self, len: usize) -> io::Result<bool> {
        Ok(self.end - self.start >= len || self.fill(len)?)
    }

    #[cold]
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.end - self.start < len {
            if len > MAX_RECORD {
                return Err(invalid("a record of over 4 MiB"));
            }
            if self.start + len > self.bytes.len() {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
                self.bytes.resize(self.bytes.len().max(len), 0);
            }
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(len) => self.end += len,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// What is in memory from here on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Passes over bytes; over fewer, if the input ends before. Returns whether it did not.
    pub fn pass(&mut self, mut len: usize) -> io::Result<bool> {
        while self.end - self.start < len {
            len -= self.end - self.start;
            self.start = self.end;
            if !self.has(1)? {
                return Ok(false);
            }
        }
        self.start += len;
        Ok(true)
    }
}
