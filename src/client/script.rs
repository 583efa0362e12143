//! A session against a socket that plays a script.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::net::SendFlags;

use super::*;
use crate::client::close::Close;
use crate::net::options::Support;
use crate::net::script::{Write, writes};
use crate::net::socket::Readiness;
use crate::net::tcp_info::TcpInfo;
use crate::property;

/// The result of a read.
#[derive(Debug, Clone)]
enum Read {
    /// Echoes as many of the bytes sent that have not been echoed.
    Echo(usize),
    Data(Vec<u8>),
    WouldBlock,
    Interrupted,
    Eof,
    Reset,
}

/// A socket that plays a script and checks the calls of the session.
struct Script {
    /// Checks of the connection that find it not established.
    pending_connects: Cell<u32>,
    refuses: bool,
    reads: std::vec::IntoIter<Read>,
    writes: RefCell<std::vec::IntoIter<Write>>,
    sent: RefCell<Vec<u8>>,
    echoed: usize,
    fin_sent: Cell<bool>,
    reads_made: usize,
    bytes_read: usize,
}

impl Script {
    fn new(reads: Vec<Read>, writes: Vec<Write>) -> Script {
        Script {
            pending_connects: Cell::new(0),
            refuses: false,
            reads: reads.into_iter(),
            writes: RefCell::new(writes.into_iter()),
            sent: RefCell::default(),
            echoed: 0,
            fin_sent: Cell::new(false),
            reads_made: 0,
            bytes_read: 0,
        }
    }
}

impl Connect for Script {
    fn is_connected(&self) -> io::Result<bool> {
        if self.refuses {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let left = self.pending_connects.get();
        self.pending_connects.set(left.saturating_sub(1));
        Ok(left == 0)
    }
}

impl Stream for Script {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty());
        self.reads_made += 1;
        let data = match self.reads.next() {
            Some(Read::Data(data)) => data,
            Some(Read::Echo(len)) => {
                let sent = self.sent.borrow();
                let end = sent.len().min(self.echoed + len);
                let echo = sent[self.echoed..end].to_vec();
                self.echoed = end;
                if echo.is_empty() {
                    return Err(ErrorKind::WouldBlock.into());
                }
                echo
            }
            Some(Read::Interrupted) => return Err(ErrorKind::Interrupted.into()),
            Some(Read::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            Some(Read::Reset) => return Err(ErrorKind::ConnectionReset.into()),
            Some(Read::Eof) | None => return Ok(0),
        };
        let len = data.len().min(buffer.len());
        buffer[..len].copy_from_slice(&data[..len]);
        self.bytes_read += len;
        Ok(len)
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("a session does not peek")
    }

    fn send(&self, bytes: &[u8], _: SendFlags) -> io::Result<usize> {
        assert!(!bytes.is_empty());
        assert!(!self.fin_sent.get(), "write after our FIN");
        let write = self.writes.borrow_mut().next().unwrap_or(Write::All);
        let n = write.taken(bytes.len())?;
        self.sent.borrow_mut().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        assert!(!self.fin_sent.replace(true), "one FIN");
        Ok(())
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn set_quick_ack(&self, _: bool) {}

    fn set_cork(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn tcp_info(&self) -> TcpInfo {
        TcpInfo::default()
    }
}

fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options {
        interval: Duration::ZERO,
        line_len: 16,
        ..Options::default()
    };
    change(&mut options);
    options
}

fn session(script: Script, options: &Options) -> Session<Script> {
    let mut socket = Socket::new(script);
    socket.set_support(Support::CountsOnly);
    Session::new(socket, "127.0.0.1:1".parse().unwrap(), 1, options)
}

fn make_readable(session: &mut Session<Script>) {
    session.socket.update_readiness(Readiness {
        readable: true,
        read_until_would_block: false,
    });
}

/// What the loop has: results, and events.
struct Loop {
    options: Options,
    statistics: Statistics,
    events: Vec<Event>,
    stopping: bool,
}

impl Loop {
    fn new(options: Options) -> Loop {
        Loop {
            options,
            statistics: Statistics::new(),
            events: Vec::new(),
            stopping: false,
        }
    }

    /// Runs the session once, with so many lines left in the budget.
    fn run(&mut self, session: &mut Session<Script>, budget: usize) -> Outcome {
        let events = &mut self.events;
        let mut shared = Shared {
            options: &self.options,
            statistics: &mut self.statistics,
            report: &mut |event| events.push(event),
            buffer: vec![0; 64 * 1024],
            stopping: self.stopping,
            holding: false,
            budget,
        };
        let outcome = session.run(&mut shared);
        assert!(shared.budget <= budget);
        outcome
    }

    fn last_close(&self) -> Close {
        self.statistics.last_ending.expect("it has ended").close
    }
}

#[test]
fn a_connection_is_a_state_and_nothing_is_sent_before() {
    let options = options(|o| o.count = Some(1));
    let mut session = session(Script::new(vec![], vec![]), &options);
    session.socket.stream_mut().pending_connects.set(2);
    let mut run = Loop::new(options);
    for _ in 0..2 {
        assert!(matches!(run.run(&mut session, 10), Outcome::Wait));
        assert!(session.socket.stream_mut().sent.borrow().is_empty());
    }
    assert!(matches!(run.run(&mut session, 10), Outcome::Wait));
    assert_eq!(session.socket.stream_mut().sent.borrow().len(), 16);
    assert!(matches!(
        run.events[..],
        [Event::Connected { connection: 1, .. }]
    ));
}

#[test]
fn a_refused_connection_says_so_and_a_pending_one_is_abandoned() {
    let mut run = Loop::new(options(|_| ()));
    let mut refused = session(Script::new(vec![], vec![]), &run.options);
    refused.socket.stream_mut().refuses = true;
    assert!(matches!(
        run.run(&mut refused, 10),
        Outcome::NotConnected(_)
    ));
    let mut pending = session(Script::new(vec![], vec![]), &run.options);
    pending.socket.stream_mut().pending_connects.set(9);
    run.stopping = true;
    assert!(matches!(run.run(&mut pending, 10), Outcome::Abandoned));
    assert!(run.events.is_empty());
}

/// However much there is to read, a run makes one read and judges its lines only.
#[test]
fn a_run_makes_one_read_and_judges_1024_lines_at_most() {
    let newlines = || Read::Data(vec![b'\n'; 64 * 1024]);
    let options = options(|o| o.count = Some(1));
    let script = Script::new((0..100).map(|_| newlines()).collect(), vec![]);
    let mut session = session(script, &options);
    let mut run = Loop::new(options);
    make_readable(&mut session);
    for runs in 1..=640 {
        assert!(matches!(run.run(&mut session, 4096), Outcome::Again));
        assert_eq!(run.statistics.extra, 1024 * runs);
        let reads_made = session.socket.stream_mut().reads_made as u64;
        assert_eq!(reads_made, runs.div_ceil(64));
    }
    // A budget that is used up by others leaves the lines for the next turn.
    assert!(matches!(run.run(&mut session, 0), Outcome::Again));
    assert!(matches!(run.run(&mut session, 7), Outcome::Again));
    assert_eq!(run.statistics.extra, 640 * 1024 + 7);
}

/// A line that never ends is wrong at once, and is not kept.
#[test]
fn an_endless_line_takes_no_memory() {
    let options = options(|o| o.count = Some(1));
    let reads = (0..100).map(|_| Read::Data(vec![b'x'; 64 * 1024]));
    let mut session = session(Script::new(reads.collect(), vec![]), &options);
    let mut run = Loop::new(options);
    make_readable(&mut session);
    for _ in 0..100 {
        assert!(matches!(run.run(&mut session, 10), Outcome::Again));
        assert_eq!(run.statistics.extra, 1);
    }
}

/// What was received before a write failed is judged before the session ends.
#[test]
fn a_failed_write_does_not_lose_echoes() {
    let options = options(|o| (o.count, o.burst) = (Some(4), 2));
    let reads = vec![Read::Echo(32), Read::Data(vec![b'\n'; 5]), Read::Reset];
    let script = Script::new(reads, vec![Write::All, Write::Reset]);
    let mut session = session(script, &options);
    let mut run = Loop::new(options);
    run.run(&mut session, 100);
    make_readable(&mut session);
    for _ in 0..10 {
        if let Outcome::Closed = run.run(&mut session, 100) {
            break;
        }
    }
    let statistics = &run.statistics;
    assert_eq!(
        (statistics.echoed, statistics.extra, statistics.lost),
        (2, 5, 2)
    );
    let Close::Failed(failure) = run.last_close() else {
        panic!("{:?}", run.last_close());
    };
    assert_eq!(failure.kind(), ErrorKind::BrokenPipe);
}

#[derive(Debug, Clone)]
struct Case {
    reads: Vec<Read>,
    writes: Vec<Write>,
    count: u64,
    burst: u64,
    line_len: usize,
    half_close: bool,
    skip_lines: u64,
    budget: usize,
    stopped_before: Option<usize>,
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    vec(
        prop_oneof![
            12 => (1usize..60).prop_map(Read::Echo),
            2 => vec(property::byte(52), 1..30).prop_map(Read::Data),
            3 => Just(Read::WouldBlock),
            2 => Just(Read::Interrupted),
            1 => Just(Read::Eof),
            1 => Just(Read::Reset),
        ],
        0..40,
    )
}

prop_compose! {
    fn cases()(
        reads in reads(),
        writes in writes(),
        count in 1u64..20,
        burst in 1u64..6,
        line_len in 1usize..20,
        half_close in any::<bool>(),
        skip_lines in 0u64..2,
        budget in 1usize..4,
        stopped_before in proptest::option::of(0usize..40),
    ) -> Case {
        Case { reads, writes, count, burst, line_len, half_close, skip_lines, budget, stopped_before }
    }
}

/// Runs a session to its end, with an event before each run: events may be spurious.
fn play(case: &Case) -> Result<(), TestCaseError> {
    let options = options(|o| {
        (o.count, o.burst, o.line_len) = (Some(case.count), case.burst, case.line_len);
        (o.half_close, o.skip_lines) = (case.half_close, case.skip_lines);
    });
    let script = Script::new(case.reads.clone(), case.writes.clone());
    let mut session = session(script, &options);
    let mut run = Loop::new(options);
    for turn in 0..10_000 {
        run.stopping |= case.stopped_before == Some(turn);
        make_readable(&mut session);
        let outcome = run.run(&mut session, case.budget);
        let reads_made = session.socket.stream_mut().reads_made;
        session.socket.stream_mut().reads_made = 0;
        // A read is repeated only when a signal has interrupted it.
        prop_assert!(reads_made <= 40);
        let statistics = &run.statistics;
        let lines = session.verifier.lines();
        prop_assert_eq!(statistics.sent, lines.sent());
        if let Outcome::Closed = outcome {
            return check_end(case, &run, &session);
        }
        prop_assert!(matches!(outcome, Outcome::Wait | Outcome::Again));
    }
    Err(TestCaseError::fail("the session never ends"))
}

fn check_end(case: &Case, run: &Loop, session: &Session<Script>) -> Result<(), TestCaseError> {
    let statistics = &run.statistics;
    let count = |of: fn(&Event) -> bool| run.events.iter().filter(|event| of(event)).count() as u64;
    prop_assert_eq!(count(|e| matches!(e, Event::Connected { .. })), 1);
    prop_assert_eq!(count(|e| matches!(e, Event::Closed { .. })), 1);
    let is_last = matches!(run.events.last(), Some(Event::Closed { .. }));
    prop_assert!(is_last, "an event after the end");
    prop_assert_eq!(
        count(|e| matches!(e, Event::Echo { .. })),
        statistics.echoed
    );
    prop_assert_eq!(count(|e| matches!(e, Event::Lost { .. })), statistics.lost);
    prop_assert!(statistics.sent <= case.count);
    // Each line that was sent is echoed, wrong or lost: one of these, once.
    prop_assert!(statistics.echoed + statistics.lost <= statistics.sent);
    prop_assert_eq!(session.verifier.lines().outstanding(), 0);
    if run.last_close() == Close::Early && case.stopped_before.is_none() {
        let is_complete = statistics.sent == case.count;
        prop_assert_eq!(statistics.incomplete, u64::from(!is_complete));
    }
    Ok(())
}

proptest! {
    #![proptest_config(property::config(3000))]

    #[test]
    fn any_script_ends_and_each_line_has_one_verdict(case in cases()) {
        play(&case)?;
    }
}
