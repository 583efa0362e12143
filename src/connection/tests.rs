//! The connection against a socket that does whatever sockets may do.

use std::cell::{Cell, RefCell};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packets::Snapshot;
use crate::socket::{END_OF_RECORD, MORE};
use rustix::net::SendFlags;

/// What the socket does when it is read.
#[derive(Debug, Clone)]
enum Read {
    Data(Vec<u8>),
    WouldBlock,
    Interrupted,
    End,
    Reset,
}

/// How much the socket takes when it is written to.
#[derive(Debug, Clone)]
enum Write {
    Some(usize),
    All,
    WouldBlock,
    Interrupted,
    Reset,
}

/// A socket that plays its script, and watches the connection.
struct Script {
    reads: std::vec::IntoIter<Read>,
    /// What is left of the data that came last.
    pending: Vec<u8>,
    writes: RefCell<std::vec::IntoIter<Write>>,
    received: Vec<u8>,
    echoed: RefCell<Vec<u8>>,
    /// The peer has finished, and the zero-length read has said so.
    at_end: bool,
    failed: Cell<bool>,
    finished: Cell<bool>,
    /// A write was not taken in full since one was: output waits.
    owes: Cell<bool>,
    /// Snapshots for which the kernel still sends.
    sends_on: Cell<u32>,
}

impl Script {
    fn new(case: &Case) -> Script {
        Script {
            reads: case.reads.clone().into_iter(),
            pending: Vec::new(),
            writes: RefCell::new(case.writes.clone().into_iter()),
            received: Vec::new(),
            echoed: RefCell::default(),
            at_end: false,
            failed: Cell::new(false),
            finished: Cell::new(false),
            owes: Cell::new(false),
            sends_on: Cell::new(case.sends_on),
        }
    }
}

fn common(case: &Case) -> Common {
    Common {
        buffer: vec![0; case.buffer].into_boxed_slice(),
        max_line: case.max_line,
        packet_per_line: case.packet_per_line,
        now: 0,
        open: 1,
        log_empty: true,
    }
}

impl Socket for Script {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty());
        assert!(!self.owes.get(), "read while output waits");
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
                Some(Read::End) | None => {
                    self.at_end = true;
                    self.reads = Vec::new().into_iter();
                    return Ok(0);
                }
            }
        }
        let n = self.pending.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.pending[..n]);
        self.received.extend(self.pending.drain(..n));
        Ok(n)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        assert!(!bytes.is_empty());
        assert!(!self.finished.get(), "write after our FIN");
        assert!(!self.failed.get(), "write after a failure");
        if flags.contains(END_OF_RECORD) {
            let newlines = memchr::memchr_iter(b'\n', bytes).count();
            assert_eq!((newlines, bytes.last()), (1, Some(&b'\n')), "one line");
        }
        let n = match self.writes.borrow_mut().next().unwrap_or(Write::All) {
            Write::Some(n) => n.clamp(1, bytes.len()),
            Write::All => bytes.len(),
            Write::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Write::WouldBlock => {
                self.owes.set(true);
                return Err(ErrorKind::WouldBlock.into());
            }
            Write::Reset => {
                self.failed.set(true);
                return Err(ErrorKind::BrokenPipe.into());
            }
        };
        self.owes.set(n < bytes.len());
        self.echoed.borrow_mut().extend_from_slice(&bytes[..n]);
        if !flags.intersects(MORE | END_OF_RECORD) && n == bytes.len() {
            assert_eq!(bytes.last(), Some(&b'\n'), "whole lines");
        }
        Ok(n)
    }

    fn finish(&self) -> io::Result<()> {
        assert!(!self.finished.replace(true), "one FIN");
        assert!(!self.owes.get(), "FIN before the output");
        Ok(())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn set_quick_ack(&self, _: bool) {}

    fn snapshot(&self) -> Snapshot {
        let left = self.sends_on.get();
        self.sends_on.set(left.saturating_sub(1));
        Snapshot {
            packets: None,
            is_sending: left > 0,
        }
    }
}

/// What the echo must be if everything goes well, and whether a line is too
/// long: the words of the contract.
fn oracle(received: &[u8], at_end: bool, max_line: usize) -> (Vec<u8>, bool) {
    let mut echo = Vec::new();
    for line in received.split_inclusive(|&byte| byte == b'\n') {
        let complete = line.ends_with(b"\n");
        if line.len() + usize::from(!complete) > max_line {
            return (echo, true);
        }
        if complete || at_end {
            echo.extend_from_slice(line);
        }
        if !complete && at_end {
            echo.push(b'\n');
        }
    }
    (echo, false)
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    let byte = prop_oneof![1 => Just(b'\n'), 4 => any::<u8>()];
    vec(
        prop_oneof![
            12 => vec(byte, 1..30).prop_map(Read::Data),
            3 => Just(Read::WouldBlock),
            2 => Just(Read::Interrupted),
            1 => Just(Read::End),
            1 => Just(Read::Reset),
        ],
        0..30,
    )
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    vec(
        prop_oneof![
            6 => (1usize..20).prop_map(Write::Some),
            6 => Just(Write::All),
            4 => Just(Write::WouldBlock),
            2 => Just(Write::Interrupted),
            1 => Just(Write::Reset),
        ],
        0..30,
    )
}

#[derive(Debug, Clone)]
struct Case {
    reads: Vec<Read>,
    writes: Vec<Write>,
    max_line: usize,
    buffer: usize,
    packet_per_line: bool,
    short_reads_lie: bool,
    sends_on: u32,
    /// The turn after which the server drains the connection.
    drained_after: Option<usize>,
}

prop_compose! {
    fn cases()(
        reads in reads(),
        writes in writes(),
        max_line in 1usize..60,
        buffer in 1usize..40,
        packet_per_line in any::<bool>(),
        short_reads_lie in any::<bool>(),
        sends_on in 0u32..4,
        drained_after in proptest::option::of(0usize..40),
    ) -> Case {
        Case { reads, writes, max_line, buffer, packet_per_line, short_reads_lie, sends_on, drained_after }
    }
}

/// Runs a connection to its end, with an event before each turn, as they may
/// be spurious.
fn play(case: &Case) -> Result<(), TestCaseError> {
    let script = Script::new(case);
    let mut common = common(case);
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut connection = Connection::new(script, peer, 0, 0);
    let event = Readiness {
        readable: true,
        short_reads_lie: case.short_reads_lie,
    };
    for turn in 0..10_000 {
        if case.drained_after == Some(turn) {
            connection.drain(Cause::Shutdown);
        }
        connection.notice(event);
        let verdict = connection.run(&mut common);
        let script = &connection.stream;
        let echoed = script.echoed.borrow();
        let (echo, too_long) = oracle(&script.received, script.at_end, case.max_line);
        prop_assert!(echo.starts_with(&echoed), "wrong bytes");
        let Verdict::Close(ending) = verdict else {
            prop_assert!(!script.failed.get(), "alive after a failure");
            continue;
        };
        if script.failed.get() {
            let ours = matches!(ending.reason, Reason::We(_));
            prop_assert!(ours || matches!(ending.reason, Reason::Error(_)));
            return Ok(());
        }
        // It ended well: nothing waits, and the peer had finished.
        prop_assert!(script.at_end && !script.owes.get());
        match ending.reason {
            Reason::Peer => {
                prop_assert!(!too_long);
                prop_assert_eq!(&*echoed, &echo);
            }
            // Nothing of that line, and everything before it.
            Reason::We(Cause::LineLimit) => prop_assert!(too_long && *echoed == echo),
            // Whole lines; what came after our FIN was discarded.
            Reason::We(Cause::Shutdown) => {
                prop_assert!(case.drained_after.is_some());
                prop_assert!(echoed.is_empty() || echoed.ends_with(b"\n"));
            }
            reason => prop_assert!(false, "{}", reason),
        }
        return Ok(());
    }
    Err(TestCaseError::fail("it never ends"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn whatever_the_socket_does_no_byte_is_lost_repeated_or_reordered(case in cases()) {
        play(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    #[ignore = "needs some seconds more"]
    fn whatever_the_socket_does_no_byte_is_lost_in_100000_cases(case in cases()) {
        play(&case)?;
    }
}

#[test]
fn an_activity_after_now_is_not_idle_time() {
    let case = Case {
        reads: vec![],
        writes: vec![],
        max_line: 10,
        buffer: 10,
        packet_per_line: false,
        short_reads_lie: false,
        sends_on: 0,
        drained_after: None,
    };
    let peer = "127.0.0.1:1".parse().unwrap();
    for accepted in [0, 5, u32::MAX - 1, u32::MAX] {
        let mut connection = Connection::new(Script::new(&case), peer, 0, accepted);
        let idle_for = |connection: &mut Connection<Script>, ms: i32| {
            connection.idle_for(accepted.wrapping_add_signed(ms))
        };
        assert_eq!(idle_for(&mut connection, -3), 0);
        assert_eq!(idle_for(&mut connection, 0), 0);
        assert_eq!(idle_for(&mut connection, 7), 7);
        let longest = i32::try_from(crate::MAX_TIMEOUT.as_millis()).unwrap();
        assert_eq!(idle_for(&mut connection, longest), longest.cast_unsigned());
    }
}

#[test]
fn pending_output_is_activity() {
    let case = Case {
        reads: vec![Read::Data(b"hello\n".to_vec())],
        writes: vec![Write::WouldBlock],
        max_line: 10,
        buffer: 10,
        packet_per_line: false,
        short_reads_lie: false,
        sends_on: 0,
        drained_after: None,
    };
    let mut common = common(&case);
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut connection = Connection::new(Script::new(&case), peer, 0, 0);
    connection.notice(Readiness {
        readable: true,
        short_reads_lie: false,
    });
    assert!(matches!(connection.run(&mut common), Verdict::Keep));
    assert_eq!(connection.idle_for(1000), 0, "output is pending");
    assert!(matches!(connection.run(&mut common), Verdict::Keep));
    assert_eq!(connection.idle_for(1500), 500, "since it was pending last");
}
