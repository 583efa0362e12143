//! The library's public interface.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use echoline::testing::Echo;
use echoline::{CloseReason, Config, Handle, Observer, RunError, Server, Totals};

type Running = JoinHandle<Result<Totals, RunError>>;

fn start(config: &Config) -> (TcpStream, Handle, Running) {
    let server = Server::bind(config).unwrap();
    let (addr, handle) = (server.local_addrs()[0], server.handle());
    let running = thread::spawn(move || server.run());
    let client = TcpStream::connect(addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    (client, handle, running)
}

fn echo_one_line(mut client: &TcpStream) {
    client.write_all(b"hello\n").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
}

fn config() -> Config {
    let mut config = Config::default();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.drain_timeout = Duration::from_secs(1000);
    config
}

#[test]
fn a_shutdown_echoes_what_has_arrived_and_waits_for_the_peer() {
    let (mut client, handle, running) = start(&config());
    client.write_all(b"one\ntwo\nincompl").unwrap();
    handle.shutdown().unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    assert_eq!(echoed, b"one\ntwo\n");
    drop(client);
    let totals = running.join().unwrap().unwrap();
    assert_eq!((totals.accepted, totals.open, totals.lines), (1, 0, 2));
    assert_eq!((totals.bytes_in, totals.bytes_out), (15, 8));
    assert_eq!(totals.closes[CloseReason::Shutdown], 1);
    handle.shutdown().unwrap(); // Has no effect after the end.
}

#[test]
fn a_second_shutdown_aborts_the_open_connections() {
    let (mut client, handle, running) = start(&config());
    client.write_all(b"hello\n").unwrap();
    handle.shutdown().unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    // The FIN shows that the server drains; the client does not close.
    handle.clone().shutdown().unwrap();
    let error = running.join().unwrap().unwrap_err();
    let message = "shutdown requested while stopping: 1 connection aborted";
    assert_eq!(error.to_string(), message);
    let RunError::Aborted {
        cause,
        connections,
        totals,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((cause, connections), ("shutdown requested", 1));
    assert_eq!((totals.accepted, totals.open, totals.lines), (1, 0, 1));
    assert_eq!(totals.closes[CloseReason::Shutdown], 1);
}

/// So a program that returns `io::Result` need not know of it.
#[test]
fn an_abort_becomes_an_io_error_and_back() {
    fn run(server: Server) -> std::io::Result<Totals> {
        Ok(server.run()?)
    }
    let server = Server::bind(&config()).unwrap();
    let (addr, handle) = (server.local_addrs()[0], server.handle());
    let running = thread::spawn(move || run(server));
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"hello\n").unwrap();
    handle.shutdown().unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    handle.shutdown().unwrap();
    let error = running.join().unwrap().unwrap_err();
    let message = "shutdown requested while stopping: 1 connection aborted";
    assert_eq!(error.to_string(), message);
    let abort = error.downcast::<RunError>().unwrap();
    assert!(matches!(abort, RunError::Aborted { totals, .. } if totals.lines == 1));
}

#[test]
fn a_server_shows_where_it_listens() {
    let server = Server::bind(&config()).unwrap();
    let addr = server.local_addrs()[0];
    let shown = format!("Server {{ local_addrs: [{addr}], drain_timeout: 1000s, .. }}");
    assert_eq!(format!("{server:?}"), shown);
}

#[test]
fn a_shutdown_before_the_run_is_not_lost() {
    let server = Server::bind(&config()).unwrap();
    server.handle().shutdown().unwrap();
    assert_eq!(server.run().unwrap().accepted, 0);
}

/// Unlike the text of the option, it need not be UTF-8.
#[test]
fn a_prefix_can_be_any_bytes_and_counts_as_sent() {
    let echo = Echo::start_with(|config| config.prefix = b"\xff\0".to_vec());
    let mut client = TcpStream::connect(echo.addr()).unwrap();
    client.write_all(b"one\n\n").unwrap();
    let mut echoed = [0; 9];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"\xff\0one\n\xff\0\n");
    let totals = echo.stop();
    let counts = (totals.lines, totals.bytes_in, totals.bytes_out);
    assert_eq!(counts, (2, 5, 9));
}

fn refusal(config: &Config) -> String {
    let error = Server::bind(config).map(drop).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    error.to_string()
}

#[test]
fn settings_out_of_range_are_errors() {
    let mut config = config();
    config.max_line = 0;
    assert_eq!(refusal(&config), "max_line is not in 1..=1073741824");
}

/// A timer that is due as soon as it is armed would keep the loop busy for ever.
#[test]
fn timeouts_that_round_to_zero_are_errors() {
    let mut idle = config();
    idle.idle_timeout = Some(Duration::ZERO);
    let message = "idle_timeout is under 1 ms; None turns it off";
    assert_eq!(refusal(&idle), message);
    let mut send = config();
    send.send_timeout = Some(Duration::from_micros(999));
    let message = "send_timeout is under 1 ms; None turns it off";
    assert_eq!(refusal(&send), message);
}

/// 500 connections have timers that are due again at once.
#[test]
fn the_shortest_idle_timeout_does_not_prevent_shutdown() {
    let mut config = config();
    config.idle_timeout = Some(Duration::from_millis(1));
    config.drain_timeout = Duration::ZERO;
    let (client, handle, running) = start(&config);
    let addr = client.peer_addr().unwrap();
    let _clients: Vec<TcpStream> = (0..500)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    handle.shutdown().unwrap();
    running.join().unwrap().unwrap();
}

#[test]
fn the_totals_are_refused_while_the_server_does_not_run() {
    let server = Server::bind(&config()).unwrap();
    let (addr, handle) = (server.local_addrs()[0], server.handle());
    let refused = |handle: &Handle| {
        let error = handle.totals().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert_eq!(error.to_string(), "the server does not run");
    };
    refused(&handle);
    let running = thread::spawn(move || server.run());
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"one\ntwo\n").unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    let totals = handle.totals().unwrap();
    assert_eq!((totals.accepted, totals.open, totals.lines), (1, 1, 2));
    assert_eq!((totals.bytes_in, totals.bytes_out), (8, 8));
    // The loop answers while it drains, too.
    handle.shutdown().unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(handle.totals().unwrap().open, 1);
    drop(client);
    running.join().unwrap().unwrap();
    refused(&handle);
}

#[test]
fn a_server_that_is_dropped_refuses_the_totals() {
    let server = Server::bind(&config()).unwrap();
    let handle = server.handle();
    drop(server);
    assert_eq!(handle.totals().unwrap_err().kind(), ErrorKind::NotConnected);
    handle.shutdown().unwrap();
}

/// The answer comes from the loop's thread, and a handle tells that the stop has begun.
#[test]
fn a_request_for_the_totals_does_not_wait_for_them() {
    let (client, handle, running) = start(&config());
    echo_one_line(&client);
    let (sender, receiver) = channel();
    let ask = |handle: &Handle| {
        let sender = sender.clone();
        let answer = move |totals: Totals| sender.send((totals, thread::current().id())).unwrap();
        handle.request_totals(answer)
    };
    ask(&handle).unwrap();
    let (totals, thread) = receiver.recv().unwrap();
    assert_eq!((totals.open, totals.lines), (1, 1));
    assert_eq!(thread, running.thread().id());
    assert!(!handle.is_stopping());
    handle.shutdown().unwrap();
    ask(&handle).unwrap();
    receiver.recv().unwrap();
    assert!(handle.is_stopping(), "the answer came after the stop");
    drop(client);
    running.join().unwrap().unwrap();
    assert_eq!(ask(&handle).unwrap_err().kind(), ErrorKind::NotConnected);
}

/// Each call that begins before the stop gets an answer or an error; none waits for ever.
#[test]
fn many_threads_get_the_totals_until_the_server_stops() {
    let (client, handle, running) = start(&config());
    let ask = |handle: Handle| {
        let mut answers = 0_u32;
        loop {
            match handle.totals() {
                Ok(totals) => assert_eq!(totals.accepted, 1),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::NotConnected);
                    return answers;
                }
            }
            answers += 1;
            if answers.is_multiple_of(100) {
                handle.shutdown().unwrap();
            }
        }
    };
    echo_one_line(&client);
    let (sender, receiver) = channel();
    for _ in 0..8 {
        let (handle, sender) = (handle.clone(), sender.clone());
        thread::spawn(move || sender.send(ask(handle)));
    }
    let answers = (0..8).map(|_| receiver.recv_timeout(Duration::from_mins(1)).unwrap());
    assert!(answers.sum::<u32>() >= 200, "two shutdowns");
    drop(client);
    assert!(running.join().unwrap().is_err());
}

/// An observer is called by the loop, which cannot answer itself.
#[test]
fn the_loop_cannot_ask_itself() {
    struct Asks(Handle, Sender<ErrorKind>);
    impl Observer for Asks {
        fn listening(&mut self, _: &Totals) {
            let kind = self.0.totals().unwrap_err().kind();
            self.1.send(kind).unwrap();
        }
    }
    let mut server = Server::bind(&config()).unwrap();
    let handle = server.handle();
    let (sender, receiver) = channel();
    server.set_observer(Asks(handle.clone(), sender));
    handle.shutdown().unwrap();
    server.run().unwrap();
    assert_eq!(receiver.recv().unwrap(), ErrorKind::Deadlock);
}

/// Asks for a heartbeat.
struct Heart(Duration);

impl Observer for Heart {
    fn heartbeat_interval(&self) -> Option<Duration> {
        Some(self.0)
    }
}

/// One that is due at once would keep the loop busy, and no clock shows the end of the
/// longest.
#[test]
fn heartbeat_intervals_that_cannot_be_kept_are_errors() {
    for interval in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        let mut server = Server::bind(&config()).unwrap();
        server.set_observer(Heart(interval));
        server.handle().shutdown().unwrap();
        let error = server.run().unwrap_err();
        assert!(matches!(&error, RunError::Start(e) if e.kind() == ErrorKind::InvalidInput));
        let message = "heartbeat_interval is not in 1 ms..=2000000 s; None turns it off";
        assert_eq!(error.to_string(), message);
    }
    for interval in [Duration::from_millis(1), echoline::MAX_TIMEOUT] {
        let mut server = Server::bind(&config()).unwrap();
        server.set_observer(Heart(interval));
        server.handle().shutdown().unwrap();
        server.run().unwrap();
    }
}

/// They would overflow the clock.
#[cfg(feature = "client")]
#[test]
fn times_of_a_client_that_no_clock_would_reach_are_errors() {
    use echoline::client::{Client, Options};

    let changes: [fn(&mut Options); 4] = [
        |options| options.interval = Duration::MAX,
        |options| options.timeout = Duration::MAX,
        |options| options.timeout = Duration::ZERO,
        |options| options.deadline = Some(Duration::MAX),
    ];
    for change in changes {
        let mut options = Options::default();
        change(&mut options);
        let error = Client::new(&["127.0.0.1:1".parse().unwrap()], options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// Each line is due an interval after the one before, so without one all would be due.
#[cfg(feature = "client")]
#[test]
fn an_open_loop_needs_an_interval() {
    use echoline::client::{Client, Options};

    let mut options = Options::default();
    (options.open_loop, options.interval) = (true, Duration::ZERO);
    let error = Client::new(&["127.0.0.1:1".parse().unwrap()], options).unwrap_err();
    assert_eq!(error.to_string(), "open_loop without an interval");
}
