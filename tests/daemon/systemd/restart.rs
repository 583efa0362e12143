//! Restarts under socket activation, while clients connect.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::deadline::DEADLINE;
use crate::support::systemd::Systemd;

const RESTARTS: usize = 20;
const SESSIONS_PER_SECOND: u32 = 100;
const LINE: &[u8] = b"a complete line\n";

/// How a client's session went.
#[derive(Debug, PartialEq)]
enum Session {
    Echoed,
    Refused(String),
    /// The line was sent, and its echo did not come.
    Lost(String),
}

fn session(addr: SocketAddr) -> Session {
    let mut client = match TcpStream::connect(addr) {
        Ok(client) => client,
        Err(e) => return Session::Refused(e.to_string()),
    };
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut echoed = [0; LINE.len()];
    let result = client
        .write_all(LINE)
        .and_then(|()| client.read_exact(&mut echoed));
    match result {
        Ok(()) if echoed == LINE => Session::Echoed,
        result => Session::Lost(format!("{result:?}")),
    }
}

/// Runs sessions at a steady rate, each in a thread, until `stop` is set.
fn sessions_until(stop: &AtomicBool, addr: SocketAddr) -> Vec<Session> {
    let mut threads: Vec<JoinHandle<Session>> = Vec::new();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        threads.push(thread::spawn(move || session(addr)));
        let count = u32::try_from(threads.len()).unwrap();
        let due = Duration::from_secs(1) / SESSIONS_PER_SECOND * count;
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}

#[test]
#[ignore = "needs systemd and root"]
fn twenty_restarts_refuse_no_client_and_lose_no_line() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.socket echoline.service");
    let stop = AtomicBool::new(false);
    let addr = SocketAddr::from(([127, 0, 0, 1], 3000));
    let sessions = thread::scope(|scope| {
        let sessions = scope.spawn(|| systemd.in_network(|| sessions_until(&stop, addr)));
        let mut pids = vec![systemd.wait_for_daemon()];
        for _ in 0..RESTARTS {
            systemd.run("systemctl restart echoline.service");
            pids.push(systemd.wait_for_daemon());
        }
        stop.store(true, Ordering::Relaxed);
        pids.dedup();
        assert_eq!(pids.len(), RESTARTS + 1);
        sessions.join().unwrap()
    });
    let failed: Vec<_> = sessions.iter().filter(|s| **s != Session::Echoed).collect();
    println!("{} sessions during {RESTARTS} restarts", sessions.len());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(sessions.len() > RESTARTS);
}
