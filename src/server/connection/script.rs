//! A socket that plays a script, for the tests of the connection.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};

use rustix::net::SendFlags;

use crate::net::script::Write;
use crate::net::stream::{EOR, MORE, Stream};
use crate::net::tcp_info::TcpInfo;

/// The result of a read.
#[derive(Debug, Clone)]
pub(super) enum Read {
    Data(Vec<u8>),
    WouldBlock,
    Interrupted,
    Eof,
    Reset,
}

/// A socket that plays a script and checks the calls of the connection.
pub(super) struct Script {
    reads: std::vec::IntoIter<Read>,
    /// The rest of the last data.
    pending: Vec<u8>,
    writes: RefCell<std::vec::IntoIter<Write>>,
    pub received: Vec<u8>,
    pub echoed: RefCell<Vec<u8>>,
    /// A zero-length read has reported the peer's FIN.
    pub at_eof: bool,
    pub failed: Cell<bool>,
    pub fin_sent: Cell<bool>,
    /// The last write was not taken in full.
    pub has_output: Cell<bool>,
    /// A segment that is not full waits for more.
    pub corked: Cell<bool>,
    /// Calls of `tcp_info` that report unsent bytes.
    unsent_reports: Cell<u32>,
}

impl Script {
    pub fn new(reads: Vec<Read>, writes: Vec<Write>, unsent_reports: u32) -> Script {
        Script {
            reads: reads.into_iter(),
            pending: Vec::new(),
            writes: RefCell::new(writes.into_iter()),
            received: Vec::new(),
            echoed: RefCell::default(),
            at_eof: false,
            failed: Cell::new(false),
            fin_sent: Cell::new(false),
            has_output: Cell::new(false),
            corked: Cell::new(false),
            unsent_reports: Cell::new(unsent_reports),
        }
    }
}

impl Stream for Script {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.peek(buffer)?;
        self.received.extend(self.pending.drain(..n));
        Ok(n)
    }

    fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty());
        assert!(!self.has_output.get(), "read while output is pending");
        assert!(!self.failed.get(), "read after a failure");
        if self.pending.is_empty() {
            match self.reads.next() {
                Some(Read::Data(data)) => self.pending = data,
                Some(Read::Interrupted) => return Err(ErrorKind::Interrupted.into()),
                Some(Read::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
                Some(Read::Reset) => {
                    self.failed.set(true);
                    return Err(ErrorKind::ConnectionReset.into());
                }
                Some(Read::Eof) | None => {
                    self.at_eof = true;
                    self.reads = Vec::new().into_iter();
                    return Ok(0);
                }
            }
        }
        let n = self.pending.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.pending[..n]);
        Ok(n)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        assert!(!bytes.is_empty());
        assert!(!self.fin_sent.get(), "write after our FIN");
        assert!(!self.failed.get(), "write after a failure");
        if flags.contains(EOR) {
            let newlines = memchr::memchr_iter(b'\n', bytes).count();
            assert_eq!((newlines, bytes.last()), (1, Some(&b'\n')), "one line");
        }
        let write = self.writes.borrow_mut().next().unwrap_or(Write::All);
        match write {
            Write::WouldBlock => self.has_output.set(true),
            Write::Reset => self.failed.set(true),
            Write::Some(_) | Write::All | Write::Interrupted => {}
        }
        let n = write.taken(bytes.len())?;
        self.has_output.set(n < bytes.len());
        self.echoed.borrow_mut().extend_from_slice(&bytes[..n]);
        if !flags.intersects(MORE | EOR) && n == bytes.len() {
            assert_eq!(bytes.last(), Some(&b'\n'), "whole lines");
        }
        Ok(n)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        assert!(!self.fin_sent.replace(true), "one FIN");
        assert!(!self.has_output.get(), "FIN before the output");
        Ok(())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn set_quick_ack(&self, _: bool) {}

    fn set_cork(&self, on: bool) -> io::Result<()> {
        assert_ne!(self.corked.replace(on), on, "a call for nothing");
        Ok(())
    }

    fn tcp_info(&self) -> TcpInfo {
        let left = self.unsent_reports.get();
        self.unsent_reports.set(left.saturating_sub(1));
        TcpInfo {
            has_unsent: left > 0,
            ..TcpInfo::default()
        }
    }
}
