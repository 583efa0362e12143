//! A connection against a scripted socket.

mod header;
mod scripts;

use super::*;
use crate::net::options::Support;
use crate::net::script::Write;
use crate::net::socket::Readiness;
use crate::server::connection::reason::{CloseCause, LocalClose};
use crate::server::connection::script::{Read, Script};
use scripts::Case;

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

fn make_readable(connection: &mut Connection<Script>) {
    connection.socket.update_readiness(Readiness {
        readable: true,
        read_until_would_block: false,
    });
}

#[test]
fn activity_after_now_is_no_idle_time() {
    let (mut connection, _) = scripted(vec![], vec![]);
    connection.last_activity = 5;
    assert_eq!(connection.idle_for(2), Duration::from_nanos(0));
    assert_eq!(connection.idle_for(5), Duration::from_nanos(0));
    assert_eq!(connection.idle_for(12), Duration::from_nanos(7));
}

#[test]
fn pending_output_counts_as_activity() {
    let reads = vec![Read::Data(b"hello\n".to_vec())];
    let (mut connection, mut context) = scripted(reads, vec![Write::WouldBlock]);
    make_readable(&mut connection);
    assert!(matches!(connection.run(&mut context), Outcome::Wait));
    assert_eq!(
        connection.idle_for(1000),
        Duration::from_nanos(0),
        "output is pending"
    );
    context.now = 1200;
    assert!(matches!(connection.run(&mut context), Outcome::Wait));
    assert_eq!(
        connection.idle_for(1500),
        Duration::from_nanos(300),
        "output was sent at 1200"
    );
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
        assert_eq!(
            connection.blocked_for(150),
            is_timed.then_some(Duration::from_nanos(50))
        );
        connection.run(&mut context);
        assert_eq!(connection.blocked_for(160), None, "all is taken");
    }
}
