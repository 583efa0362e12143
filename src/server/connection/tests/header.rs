//! Connections that begin with a PROXY header.

use super::*;

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

/// Runs a connection with so many events, or until it is closed. Returns the runs that asked for its place, and why it was closed.
fn run_behind_proxy(
    connection: &mut Connection<Script>,
    context: &mut Context,
    events: usize,
) -> (usize, Option<CloseCause>) {
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
                Outcome::Close(closed) => return (admitted, Some(closed.cause)),
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
            assert!(matches!(reason, Some(CloseCause::Peer)), "{first} {second}");
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
        context.input = InputBuffer::new(vec![0; 20], 5);
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
    assert_eq!(connection.idle_for(1500), Duration::from_nanos(500));
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
