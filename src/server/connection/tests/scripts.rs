//! Any script of reads and writes, against an oracle.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::net::script::writes;
use crate::property;

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

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub reads: Vec<Read>,
    pub writes: Vec<Write>,
    pub max_line: usize,
    pub buffer: usize,
    pub max_prepend: usize,
    pub segment_per_line: bool,
    pub prefix: Vec<u8>,
    pub max_part: usize,
    pub read_until_would_block: bool,
    pub unsent_reports: u32,
    /// The run before which the server drains the connection.
    pub drained_before: Option<usize>,
}

impl Case {
    pub fn script(&self) -> Script {
        let (reads, writes) = (self.reads.clone(), self.writes.clone());
        Script::new(reads, writes, self.unsent_reports)
    }

    pub fn context(&self) -> Context {
        Context {
            input: InputBuffer::new(vec![0; self.max_prepend + self.buffer], self.max_prepend),
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
            match closed.cause {
                CloseCause::Local(_) => {}
                CloseCause::Peer => prop_assert!(received.is_empty()),
                CloseCause::Error(_) => prop_assert!(!received.is_empty()),
                reason @ CloseCause::SendTimeout(_) => prop_assert!(false, "{}", reason),
            }
            return Ok(());
        }
        // Closed without a failure: no output is pending, and the peer has finished.
        prop_assert!(script.at_eof && !script.has_output.get());
        match closed.cause {
            CloseCause::Peer => {
                prop_assert!(!too_long);
                prop_assert_eq!(&*echoed, &echo);
            }
            // Every line before that one, and nothing of it.
            CloseCause::Local(LocalClose::LineLimit) => prop_assert!(too_long && *echoed == echo),
            // Whole lines; input after our FIN is discarded.
            CloseCause::Local(LocalClose::Shutdown) => {
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
