//! A connection against a scripted socket.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::net::options::Support;
use crate::net::socket::Readiness;
use crate::property;
use crate::server::connection::reason::{CloseReason, LocalClose};
use crate::server::connection::script::{Read, Script, Write};

/// The echo of an undisturbed connection, and whether a line is too long.
fn oracle(received: &[u8], at_eof: bool, max_line: usize, prefix: &[u8]) -> (Vec<u8>, bool) {
    let mut echo = Vec::new();
    for line in received.split_inclusive(|&byte| byte == b'\n') {
        let complete = line.ends_with(b"\n");
        if line.len() + usize::from(!complete) > max_line {
            return (echo, true);
        }
        if complete || at_eof {
            echo.extend_from_slice(prefix);
            echo.extend_from_slice(line);
        }
        if !complete && at_eof {
            echo.push(b'\n');
        }
    }
    (echo, false)
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    vec(
        prop_oneof![
            12 => vec(property::byte(52), 1..30).prop_map(Read::Data),
            3 => Just(Read::WouldBlock),
            2 => Just(Read::Interrupted),
            1 => Just(Read::Eof),
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
    max_prepend: usize,
    segment_per_line: bool,
    prefix: Vec<u8>,
    max_part: usize,
    read_until_would_block: bool,
    unsent_reports: u32,
    /// The run before which the server drains the connection.
    drained_before: Option<usize>,
}

impl Case {
    fn script(&self) -> Script {
        let (reads, writes) = (self.reads.clone(), self.writes.clone());
        Script::new(reads, writes, self.unsent_reports)
    }

    fn context(&self) -> Context {
        Context {
            input: InputBuffer::new(self.max_prepend + self.buffer, self.max_prepend),
            headers: PartialHeaders::default(),
            encoder: LineEncoder::new(self.segment_per_line, &self.prefix, self.max_part),
            max_line: self.max_line,
            now: 0,
            open: 1,
            log_empty: true,
        }
    }
}

prop_compose! {
    fn cases()(
        reads in reads(),
        writes in writes(),
        max_line in 1usize..60,
        buffer in 1usize..40,
        max_prepend in 0usize..10,
        segment_per_line in any::<bool>(),
        prefix in vec(b' '..=b'~', 0..6),
        max_part in 6usize..60,
        read_until_would_block in any::<bool>(),
        unsent_reports in 0u32..4,
        drained_before in proptest::option::of(0usize..40),
    ) -> Case {
        Case { reads, writes, max_line, buffer, max_prepend, segment_per_line, prefix, max_part, read_until_would_block, unsent_reports, drained_before }
    }
}

/// Runs a connection to its end, with an event before each run: events may be
/// spurious.
fn play(case: &Case) -> Result<(), TestCaseError> {
    let script = case.script();
    let mut context = case.context();
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut connection = Connection::new(script, peer, 0, 0);
    let event = Readiness {
        readable: true,
        read_until_would_block: case.read_until_would_block,
    };
    // Bytes received before the last run, if a part of their echo was pending after it.
    let mut received_before = None;
    for run in 0..10_000 {
        if case.drained_before == Some(run) {
            connection.begin_close(LocalClose::Shutdown);
        }
        connection.socket.update_readiness(event);
        let outcome = connection.run(&mut context);
        let script = connection.socket.stream_mut();
        let echoed = script.echoed.borrow();
        let (received, at_eof) = (&script.received, script.at_eof);
        let (echo, too_long) = oracle(received, at_eof, case.max_line, &case.prefix);
        prop_assert!(echo.starts_with(&echoed), "wrong bytes");
        let was_pending = received_before.is_none_or(|len| len == received.len());
        prop_assert!(was_pending, "read while output is pending");
        let is_pending = echoed.len() < echo.len() && !script.fin_sent.get();
        received_before = is_pending.then_some(received.len());
        let Outcome::Close(closed) = outcome else {
            prop_assert!(!script.failed.get(), "alive after a failure");
            let held = script.corked.get() && !script.fin_sent.get();
            prop_assert!(
                !held || matches!(outcome, Outcome::Reschedule),
                "an echo is held back"
            );
            continue;
        };
        if script.failed.get() {
            match closed.reason {
                CloseReason::Local(_) => {}
                CloseReason::Peer => prop_assert!(received.is_empty()),
                CloseReason::Error(_) => prop_assert!(!received.is_empty()),
                reason @ CloseReason::SendTimeout(_) => prop_assert!(false, "{}", reason),
            }
            return Ok(());
        }
        // Closed without a failure: no output is pending, and the peer has finished.
        prop_assert!(script.at_eof && !script.has_output.get());
        match closed.reason {
            CloseReason::Peer => {
                prop_assert!(!too_long);
                prop_assert_eq!(&*echoed, &echo);
            }
            // Every line before that one, and nothing of it.
            CloseReason::Local(LocalClose::LineLimit) => prop_assert!(too_long && *echoed == echo),
            // Whole lines; input after our FIN is discarded.
            CloseReason::Local(LocalClose::Shutdown) => {
                prop_assert!(case.drained_before.is_some());
                prop_assert!(echoed.is_empty() || echoed.ends_with(b"\n"));
            }
            reason => prop_assert!(false, "{}", reason),
        }
        return Ok(());
    }
    Err(TestCaseError::fail("the connection never ends"))
}

proptest! {
    #![proptest_config(property::config(3000))]

    #[test]
    fn no_script_loses_repeats_or_reorders_a_byte(case in cases()) {
        play(&case)?;
    }
}

proptest! {
    #![proptest_config(property::config(100_000))]

    #[test]
    #[ignore = "needs some seconds more"]
    fn none_of_100000_scripts_loses_repeats_or_reorders_a_byte(case in cases()) {
        play(&case)?;
    }
}

/// A connection with a script of these reads and writes, and its context.
fn scripted(reads: Vec<Read>, writes: Vec<Write>) -> (Connection<Script>, Context) {
    let case = Case {
        reads,
        writes,
        max_line: 10,
        buffer: 10,
        max_prepend: 5,
        segment_per_line: false,
        prefix: vec![],
        max_part: 1,
        read_until_would_block: false,
        unsent_reports: 0,
        drained_before: None,
    };
    let peer = "127.0.0.1:1".parse().unwrap();
    let connection = Connection::new(case.script(), peer, 0, 0);
    (connection, case.context())
}

#[test]
fn activity_after_now_is_no_idle_time() {
    let (mut connection, _) = scripted(vec![], vec![]);
    connection.last_activity = 5;
    assert_eq!(connection.idle_for(2), 0);
    assert_eq!(connection.idle_for(5), 0);
    assert_eq!(connection.idle_for(12), 7);
}

#[test]
fn pending_output_counts_as_activity() {
    let reads = vec![Read::Data(b"hello\n".to_vec())];
    let (mut connection, mut context) = scripted(reads, vec![Write::WouldBlock]);
    connection.socket.update_readiness(Readiness {
        readable: true,
        read_until_would_block: false,
    });
    assert!(matches!(connection.run(&mut context), Outcome::Wait));
    assert_eq!(connection.idle_for(1000), 0, "output is pending");
    context.now = 1200;
    assert!(matches!(connection.run(&mut context), Outcome::Wait));
    assert_eq!(connection.idle_for(1500), 300, "output was sent at 1200");
}

/// A buffer's worth of input was waiting, and nothing behind it.
#[test]
fn input_found_by_an_idle_close_keeps_the_connection_open() {
    let reads = vec![Read::Data(b"0123456789abc\n\n".to_vec()), Read::WouldBlock];
    let (mut connection, mut context) = scripted(reads, vec![]);
    context.max_line = 20;
    connection.begin_close(LocalClose::IdleTimeout);
    while !matches!(connection.run(&mut context), Outcome::Wait) {}
    let script = connection.socket.stream_mut();
    assert_eq!(*script.echoed.borrow(), b"0123456789abc\n\n");
    assert!(!script.fin_sent.get());
    assert_eq!(connection.state, State::Open);
}

/// Output that makes no progress is timed here only where the kernel does not do it.
#[test]
fn pending_output_is_blocked_until_the_kernel_takes_some() {
    for support in [Support::Full, Support::CountsOnly, Support::Neither] {
        let writes = vec![Write::Some(1), Write::WouldBlock, Write::WouldBlock];
        let (mut connection, mut context) = scripted(vec![Read::Data(b"one\n".into())], writes);
        connection.socket.set_support(support);
        let is_timed = support != Support::Full;
        make_readable(&mut connection);
        let outcome = connection.run(&mut context);
        assert_eq!(matches!(outcome, Outcome::Blocked), is_timed, "{outcome:?}");
        connection.begin_blocked(100);
        context.now = 150;
        let outcome = connection.run(&mut context);
        assert_eq!(matches!(outcome, Outcome::Blocked), is_timed, "{outcome:?}");
        assert_eq!(connection.blocked_for(150), is_timed.then_some(50));
        connection.run(&mut context);
        assert_eq!(connection.blocked_for(160), None, "all is taken");
    }
}

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

fn make_readable(connection: &mut Connection<Script>) {
    connection.socket.update_readiness(Readiness {
        readable: true,
        read_until_would_block: false,
    });
}

/// Runs a connection with so many events, or until it is closed. Returns the runs that asked for its place, and why it was closed.
fn run_behind_proxy(
    connection: &mut Connection<Script>,
    context: &mut Context,
    events: usize,
) -> (usize, Option<CloseReason>) {
    let mut admitted = 0;
    for _ in 0..events {
        make_readable(connection);
        loop {
            match connection.run(context) {
                Outcome::Wait | Outcome::Blocked => break,
                Outcome::Reschedule | Outcome::Linger => {}
                Outcome::Admit => {
                    connection.admitted = true;
                    admitted += 1;
                }
                Outcome::Close(closed) => return (admitted, Some(closed.reason)),
            }
        }
    }
    (admitted, None)
}

fn awaiting_header(chunks: &[&[u8]]) -> (Connection<Script>, Context) {
    let would_block = [Read::WouldBlock, Read::WouldBlock];
    let reads = chunks.iter().flat_map(|chunk| {
        let data = (!chunk.is_empty()).then(|| Read::Data(chunk.to_vec()));
        data.into_iter().chain(would_block.clone())
    });
    let (mut connection, context) = scripted(reads.chain([Read::Eof]).collect(), vec![]);
    connection.await_header();
    (connection, context)
}

#[test]
fn a_header_cut_anywhere_names_the_client_and_the_lines_behind_it_are_echoed() {
    let bytes = [HEADER, b"one\ntwo\n"].concat();
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            let (mut connection, mut context) = awaiting_header(&chunks);
            let (admitted, reason) = run_behind_proxy(&mut connection, &mut context, 12);
            assert!(
                matches!(reason, Some(CloseReason::Peer)),
                "{first} {second}"
            );
            assert_eq!(admitted, 1);
            assert_eq!(connection.peer, "192.0.2.1:56324".parse().unwrap());
            let script = connection.socket.stream_mut();
            assert_eq!(*script.echoed.borrow(), b"one\ntwo\n");
            assert_eq!(
                (connection.traffic.lines, connection.traffic.bytes_in),
                (2, 8)
            );
        }
    }
}

#[test]
fn a_header_that_ends_early_is_incomplete_and_none_at_all_is_no_fault() {
    for len in 0..HEADER.len() {
        let (mut connection, mut context) = awaiting_header(&[&HEADER[..len]]);
        let (admitted, reason) = run_behind_proxy(&mut connection, &mut context, 4);
        let reason = reason.expect("closed").to_string();
        let expected = ["peer", "proxy header (incomplete)"][usize::from(len > 0)];
        assert_eq!((admitted, reason.as_str()), (0, expected));
        assert_eq!(connection.traffic.bytes_in, len as u64);
    }
}

/// The rest of the header, and a line, were waiting behind what was read.
#[test]
fn a_close_that_finds_a_complete_header_goes_on_with_it() {
    let timeout = LocalClose::ProxyHeader(proxy_header::HeaderError::Timeout);
    for (reason, shown) in [(LocalClose::Shutdown, "shutdown"), (timeout, "peer")] {
        let (mut connection, mut context) = awaiting_header(&[&[HEADER, b"one\n"].concat()]);
        context.input = InputBuffer::new(20, 5);
        connection.begin_close(reason);
        let (admitted, closed) = run_behind_proxy(&mut connection, &mut context, 6);
        assert_eq!((admitted, closed.unwrap().to_string().as_str()), (1, shown));
        assert_eq!(*connection.socket.stream_mut().echoed.borrow(), b"one\n");
    }
}

/// A part of the header was waiting: its event was late.
#[test]
fn an_idle_close_that_finds_a_part_of_a_header_goes_on_waiting() {
    let (mut connection, mut context) = awaiting_header(&[&HEADER[..9], &HEADER[9..]]);
    connection.begin_close(LocalClose::IdleTimeout);
    context.now = 1000;
    let (admitted, closed) = run_behind_proxy(&mut connection, &mut context, 1);
    assert!(admitted == 0 && closed.is_none());
    assert_eq!(connection.idle_for(1500), 500);
    let (admitted, closed) = run_behind_proxy(&mut connection, &mut context, 6);
    assert_eq!(
        (admitted, closed.unwrap().to_string().as_str()),
        (1, "peer")
    );
}

#[test]
fn only_a_shutdown_takes_the_place_of_a_close_that_has_begun() {
    let timeout = LocalClose::ProxyHeader(proxy_header::HeaderError::Timeout);
    let (idle, shutdown) = (LocalClose::IdleTimeout, LocalClose::Shutdown);
    for (first, second, shown) in [
        (timeout, idle, "proxy header (timeout)"),
        (shutdown, idle, "shutdown"),
        (shutdown, timeout, "shutdown"),
        (timeout, shutdown, "shutdown"),
        (idle, shutdown, "shutdown"),
    ] {
        let (mut connection, mut context) = awaiting_header(&[b""]);
        connection.begin_close(first);
        connection.begin_close(second);
        let (_, closed) = run_behind_proxy(&mut connection, &mut context, 6);
        assert_eq!(closed.unwrap().to_string(), shown);
    }
}

#[test]
fn a_close_without_a_complete_header_echoes_nothing() {
    let timeout = LocalClose::ProxyHeader(proxy_header::HeaderError::Timeout);
    for (reason, shown) in [
        (LocalClose::Shutdown, "shutdown"),
        (timeout, "proxy header (timeout)"),
    ] {
        let (mut connection, mut context) = awaiting_header(&[&HEADER[..9], &HEADER[9..]]);
        connection.begin_close(reason);
        let (admitted, closed) = run_behind_proxy(&mut connection, &mut context, 6);
        assert_eq!((admitted, closed.unwrap().to_string().as_str()), (0, shown));
        assert!(connection.socket.stream_mut().fin_sent.get());
    }
}
