//! Restarts under socket activation, while clients connect.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::sessions::sessions_until;
use crate::support::systemd::Systemd;

const RESTARTS: usize = 20;

#[test]
#[ignore = "needs systemd and root"]
fn twenty_restarts_refuse_no_client_and_lose_no_line() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.socket echoline.service");
    let stop = AtomicBool::new(false);
    let addr = SocketAddr::from(([127, 0, 0, 1], 3000));
    let sessions = thread::scope(|scope| {
        let sessions =
            scope.spawn(|| systemd.in_network(|| sessions_until(&stop, addr, 100, Duration::ZERO)));
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
    let failed: Vec<_> = sessions.iter().filter(|s| !s.is_echoed()).collect();
    println!("{} sessions during {RESTARTS} restarts", sessions.len());
    assert!(failed.is_empty(), "{failed:?}");
    assert!(sessions.len() > RESTARTS);
}
