//! The units in a booted systemd, with all their hardening.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::clients::{echo, read_exactly, read_to_end};
use crate::support::deadline::wait_until;
use crate::support::process::{send_signal, status_field};
use crate::support::strace::count_calls_of;
use crate::support::systemd::Systemd;

#[test]
#[ignore = "needs systemd, nc and root"]
fn the_service_is_ready_when_it_listens_shows_its_status_and_drains() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.service");
    // The start has returned, so the daemon listens.
    let echoed = systemd.run("echo hello | nc.openbsd -N localhost 3000");
    assert_eq!(echoed, "hello\n");
    let pid = systemd.wait_for_daemon();
    assert!(!status_field(pid, "Uid").starts_with("0\t"));
    assert_eq!(status_field(pid, "CapEff"), "0000000000000000");
    assert_eq!(status_field(pid, "Seccomp"), "2");

    let client = systemd.connect("[::1]:3000");
    echo(&client, b"hello\n");
    let status = "open connections: 1, lines echoed: 2";
    wait_until("the status", || systemd.property("StatusText") == status);
    let shown = systemd.run("systemctl status echoline.service");
    assert!(shown.contains(&format!("Status: \"{status}\"")), "{shown}");

    (&client).write_all(b"one\ntwo\n").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| systemd.run("systemctl stop echoline.service"));
        assert_eq!(read_to_end(&client), b"one\ntwo\n");
        let state = "stop-sigterm";
        wait_until("the stop", || systemd.property("SubState") == state);
        drop(client);
    });
    assert_eq!(systemd.property("Result"), "success");
    systemd.wait_for_record("totals: 2 connections, 0 open, 4 lines");
}

#[test]
#[ignore = "needs systemd and root"]
fn sighup_does_not_end_the_service() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.service");
    let client = systemd.connect("127.0.0.1:3000");
    echo(&client, b"hello\n");
    systemd.run("systemctl kill -s HUP echoline.service");
    systemd.wait_for_record("SIGHUP: ignored");
    echo(&client, b"still here\n");
    assert_eq!(systemd.property("SubState"), "running");
}

#[test]
#[ignore = "needs systemd and root"]
fn the_journal_has_the_priorities_of_the_records() {
    let systemd = Systemd::boot();
    systemd.configure_command("/usr/bin/echoline -v --max-line 5");
    systemd.run("systemctl start echoline.service");
    let client = systemd.connect("127.0.0.1:3000");
    echo(&client, b"four\n");
    (&client).write_all(b"too long\n").unwrap();
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    systemd.wait_for_record("closed by line limit");
    for (priority, part) in [
        (4, "WARN  [echoline] 127.0.0.1:"),
        (6, "INFO  [echoline] listening on 127.0.0.1:3000"),
        (7, "message: \"four\""),
    ] {
        let journal = systemd.journal(&format!("--priority={priority}..{priority}"));
        assert!(journal.contains(part), "{priority}: {journal}");
    }
    systemd.run("systemctl stop echoline.service");
    systemd.configure_command("/usr/bin/echoline --listen 192.0.2.1:1");
    systemd.run("! systemctl start echoline.service");
    let why = "echoline: cannot listen on 192.0.2.1:1: ";
    wait_until("the error", || {
        systemd.journal("--priority=3").contains(why)
    });
}

#[test]
#[ignore = "needs systemd and root"]
fn the_watchdog_restarts_a_stopped_process_within_twice_its_time() {
    const WATCHDOG: Duration = Duration::from_secs(3);
    let systemd = Systemd::boot();
    let setting = format!("WatchdogSec={}", WATCHDOG.as_secs());
    systemd.configure("echoline.service", "Service", &setting);
    systemd.run("systemctl start echoline.service");
    let first = systemd.wait_for_daemon();
    thread::sleep(WATCHDOG * 3 / 2);
    assert_eq!(systemd.daemon(), Some(first), "the loop feeds the watchdog");
    send_signal(first, Signal::STOP);
    let stopped = Instant::now();
    systemd.wait_for_restart(first);
    let took = stopped.elapsed();
    println!("ready again {took:?} after SIGSTOP; the watchdog's time is {WATCHDOG:?}");
    assert!(took < 2 * WATCHDOG, "{took:?}");
    systemd.wait_for_record("Watchdog timeout");
    echo(&systemd.connect("127.0.0.1:3000"), b"hello\n");
}

#[test]
#[ignore = "needs systemd and root"]
fn a_killed_process_is_restarted_and_a_usage_error_is_not() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.service");
    let first = systemd.wait_for_daemon();
    send_signal(first, Signal::KILL);
    systemd.wait_for_restart(first);
    echo(&systemd.connect("127.0.0.1:3000"), b"hello\n");
    systemd.run("systemctl stop echoline.service");
    systemd.configure_command("/usr/bin/echoline --bogus");
    systemd.run("! systemctl start echoline.service");
    assert_eq!(systemd.property("ExecMainStatus"), "2");
    assert_eq!(systemd.property("SubState"), "failed");
}

#[test]
#[ignore = "needs systemd, strace and root"]
fn an_idle_service_without_watchdog_makes_no_system_call() {
    let systemd = Systemd::boot();
    systemd.configure("echoline.service", "Service", "WatchdogSec=0");
    systemd.run("systemctl start echoline.service");
    let client = systemd.connect("127.0.0.1:3000");
    echo(&client, b"hello\n");
    let status = "open connections: 1, lines echoed: 1";
    wait_until("the status", || systemd.property("StatusText") == status);
    let pid = systemd.wait_for_daemon();
    let calls = count_calls_of(pid, || thread::sleep(Duration::from_secs(10)));
    println!("system calls in 10 s: {calls:?}");
    // strace interrupts one call.
    assert!(calls.of("epoll_wait") <= 1, "{calls:?}");
    assert_eq!(calls.total(), calls.of("epoll_wait"), "{calls:?}");
}

#[test]
#[ignore = "needs systemd and root"]
fn a_connection_starts_the_service_and_listen_conflicts_with_its_sockets() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.socket");
    assert_eq!(systemd.daemon(), None);
    for addr in ["127.0.0.1:3000", "[::1]:3000"] {
        echo(&systemd.connect(addr), b"hello\n");
    }
    systemd.run("systemctl stop echoline.service");
    assert_eq!(systemd.property("Result"), "success");
    let client = systemd.connect("127.0.0.1:3000");
    (&client).write_all(b"again\n").unwrap();
    assert_eq!(read_exactly(&client, 6), b"again\n");
    drop(client);
    systemd.run("systemctl stop echoline.service");
    systemd.configure_command("/usr/bin/echoline --listen 127.0.0.1:3001");
    systemd.run("! systemctl start echoline.service");
    assert_eq!(systemd.property("ExecMainStatus"), "2");
}

#[test]
#[ignore = "needs systemd and root"]
fn a_socket_unit_of_another_kind_is_refused() {
    let systemd = Systemd::boot();
    systemd.configure("echoline.service", "Service", "Restart=no");
    let socket = "ListenStream=\nListenDatagram=127.0.0.1:3000";
    systemd.configure("echoline.socket", "Socket", socket);
    systemd.run("systemctl start echoline.socket");
    systemd.run("! systemctl start echoline.service");
    assert_eq!(systemd.property("ExecMainStatus"), "1");
    systemd.wait_for_record("echoline: cannot listen on file descriptor 3: not a TCP socket");
}

#[test]
#[ignore = "needs systemd, two processors and root"]
fn instances_of_the_template_have_a_processor_each_and_share_the_port() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline@0.service echoline@1.service");
    let show = |instance: usize, property: &str| {
        let unit = format!("echoline@{instance}.service");
        let show = format!("systemctl show --value --property={property} {unit}");
        systemd.run(&show).trim_end().to_owned()
    };
    for instance in [0, 1] {
        let pid = show(instance, "MainPID");
        let allowed = systemd.run(&format!("grep Cpus_allowed_list: /proc/{pid}/status"));
        assert_eq!(allowed, format!("Cpus_allowed_list:\t{instance}\n"));
    }
    // The kernel chooses by a hash: 2^-63 is the chance of a miss.
    let connect = |i: usize| systemd.connect(["127.0.0.1:3000", "[::1]:3000"][i % 2]);
    let clients: Vec<_> = (0..64).map(connect).collect();
    for client in &clients {
        echo(client, b"hello\n");
    }
    wait_until("both to have connections", || {
        [0, 1].iter().all(|&instance| {
            let status = show(instance, "StatusText");
            !status.starts_with("open connections: 0,")
        })
    });
    drop(clients);
    systemd.run("systemctl stop echoline@0.service");
    (0..8).for_each(|i| echo(&connect(i), b"hello\n"));
    systemd.run("systemctl stop echoline@1.service");
}
