//! The commands of docs/operating.md about the socket unit, as they stand there.

use crate::support::clients::echo;
use crate::support::operating::commands_with;
use crate::support::systemd::Systemd;

#[test]
#[ignore = "needs systemd and root"]
fn the_socket_unit_takes_over_from_a_service_that_runs() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.service");
    let alone = systemd.wait_for_daemon();
    systemd.run(&commands_with("enable --now echoline.socket"));
    for unit in ["echoline.socket", "echoline.service"] {
        systemd.run(&format!(
            "systemctl is-active {unit} && systemctl is-enabled {unit}"
        ));
    }
    assert_ne!(systemd.wait_for_daemon(), alone);
    for addr in ["127.0.0.1:3000", "[::1]:3000"] {
        echo(&systemd.connect(addr), b"hello\n");
    }
}

#[test]
#[ignore = "needs systemd, ss and root"]
fn a_port_alone_in_the_drop_in_is_all_addresses_of_both_families() {
    let systemd = Systemd::boot();
    systemd.run("systemctl start echoline.socket echoline.service");
    systemd.run(&commands_with("ListenStream=7"));
    for addr in ["127.0.0.1:7", "[::1]:7"] {
        let client = systemd.connect(addr);
        echo(&client, b"hello\n");
        let client = client.local_addr().unwrap();
        systemd.wait_for_record(&format!("[echoline] {client} connected"));
    }
    let systemd_has = systemd.run("ss --no-header --tcp --listening --numeric --processes");
    assert_eq!(systemd_has.lines().count(), 1, "{systemd_has}");
    assert!(systemd_has.contains("\"systemd\""), "{systemd_has}");
}

#[test]
#[ignore = "needs systemd and root"]
fn addresses_of_the_settings_have_no_effect_beside_the_socket_unit_and_the_journal_says_so() {
    let systemd = Systemd::boot();
    systemd.run("echo ECHOLINE_LISTEN=:3001 >/etc/default/echoline");
    systemd.run("systemctl start echoline.service");
    echo(&systemd.connect("127.0.0.1:3001"), b"hello\n");
    systemd.run(&commands_with("enable --now echoline.socket"));
    echo(&systemd.connect("127.0.0.1:3000"), b"hello\n");
    let warnings = systemd.journal("--priority=4..4");
    assert!(
        warnings.contains("ECHOLINE_LISTEN has no effect"),
        "{warnings}"
    );
}
