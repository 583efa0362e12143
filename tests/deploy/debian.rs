//! The Debian package, in a root of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;
use crate::support::operating::commands_with;
use crate::support::systemd::Systemd;
use crate::{VERSION, assert_links_lead_to_files, package, scratch};

fn deb() -> PathBuf {
    package(&format!("echoline_{VERSION}-1_amd64.deb"))
}

/// Runs dpkg on the system in `root`. The maintainer scripts run outside, as the root
/// has no shell, and know it by `DPKG_ROOT`; nor does it have a C library to depend on.
fn dpkg(root: &Path) -> Command {
    let mut command = Command::new("dpkg");
    command.arg("--root").arg(root);
    command.args(["--force-script-chrootless", "--force-depends"]);
    command
}

/// Installs the package in a root of its own.
fn install(test: &str) -> PathBuf {
    let root = scratch(test);
    let dpkg_dir = root.join("var/lib/dpkg");
    for dir in ["info", "updates"] {
        fs::create_dir_all(dpkg_dir.join(dir)).unwrap();
    }
    fs::write(dpkg_dir.join("status"), "").unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    run(dpkg(&root).arg("--install").arg(deb()));
    root
}

/// Files and links below `root` that are not dpkg's, by their paths.
fn files(root: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    find.args([".", "-not", "-type", "d"]).current_dir(root);
    find.args(["-not", "-path", "./var/lib/dpkg/*"]);
    let mut files: Vec<_> = run(&mut find)
        .lines()
        .map(|path| path[1..].to_owned())
        .collect();
    files.sort_unstable();
    files
}

#[test]
#[ignore = "needs deploy/build.sh deb and lintian"]
fn lintian_has_no_error() {
    let tags = run(Command::new("lintian")
        .args(["--fail-on", "error", "--allow-root"])
        .arg(deb()));
    println!("{tags}");
}

#[test]
#[ignore = "needs deploy/build.sh deb, dpkg and root"]
fn the_package_installs_its_files_enables_its_service_and_leaves_nothing_when_purged() {
    let root = install("debian");
    let installed = files(&root);
    for file in [
        "/etc/default/echoline",
        "/etc/systemd/system/multi-user.target.wants/echoline.service",
        "/usr/bin/echoline",
        "/usr/lib/systemd/system/echoline.service",
        "/usr/share/bash-completion/completions/echoline",
        "/usr/share/doc/echoline/changelog.Debian.gz",
        "/usr/share/doc/echoline/copyright",
        "/usr/share/fish/vendor_completions.d/echoline.fish",
        "/usr/share/man/man1/echoline-ping.1.gz",
        "/usr/share/man/man1/echoline.1.gz",
        "/usr/share/zsh/vendor-completions/_echoline",
    ] {
        assert!(
            installed.iter().any(|path| path == file),
            "{file}: {installed:#?}"
        );
    }
    let version = run(Command::new(root.join("usr/bin/echoline")).arg("--version"));
    assert_eq!(version, format!("echoline {VERSION}\n"));

    run(dpkg(&root).args(["--remove", "echoline"]));
    assert!(root.join("etc/default/echoline").exists());
    assert!(!root.join("usr/bin/echoline").exists());
    run(dpkg(&root).args(["--purge", "echoline"]));
    assert_eq!(files(&root), Vec::<String>::new());
}

#[test]
#[ignore = "needs deploy/build.sh deb, dpkg and root"]
fn every_link_of_the_documents_leads_to_a_file_of_the_package() {
    let root = install("debian-documents");
    assert_links_lead_to_files(&root.join("usr/share/doc/echoline"));
}

/// dpkg in the booted systemd. The machine may be a container, whose packages start no
/// service; man-db and its kin have nothing to do here.
const DPKG: &str = "rm -f /usr/sbin/policy-rc.d; dpkg --no-triggers";

fn assert_serves(systemd: &Systemd, port: u16) {
    for host in ["127.0.0.1", "::1"] {
        let echoed = systemd.run(&format!("echo hello | nc.openbsd -N {host} {port}"));
        assert_eq!(echoed, "hello\n", "{host} {port}");
    }
    let pinged = systemd.run(&format!("echoline ping --count 1 localhost:{port}"));
    let summary = "1 line sent, 1 echoed, 0 wrong, 0 lost";
    assert!(pinged.contains(summary), "{pinged}");
}

fn assert_both_are_active(systemd: &Systemd) {
    for unit in ["echoline.socket", "echoline.service"] {
        systemd.run(&format!("systemctl is-active {unit}"));
    }
}

#[test]
#[ignore = "needs deploy/build.sh deb, dpkg, deb-systemd-helper, systemd, nc, ss and root"]
fn the_package_starts_its_service_which_the_socket_unit_takes_over_as_the_page_says() {
    let systemd = Systemd::boot_with(&[]);
    let mut copy = systemd.command("cat >/run/echoline.deb");
    run(copy.stdin(File::open(deb()).unwrap()));
    let install = format!("{DPKG} --install /run/echoline.deb");
    systemd.run(&install);
    systemd.run("systemctl is-active echoline.service && systemctl is-enabled echoline.service");
    assert_serves(&systemd, 3000);

    systemd.run(&commands_with("enable --now echoline.socket"));
    assert_serves(&systemd, 3000);
    systemd.run(&commands_with("ListenStream=7"));
    assert_serves(&systemd, 7);
    // The line of the file of settings that has to be uncommented for all addresses.
    systemd.run("sed -i 's/^#ECHOLINE_LISTEN=/ECHOLINE_LISTEN=/' /etc/default/echoline");
    systemd.run("grep -q ^ECHOLINE_LISTEN=:3000 /etc/default/echoline");
    systemd.run("systemctl restart echoline");
    assert_serves(&systemd, 7);
    systemd.wait_for_record("ECHOLINE_LISTEN has no effect");

    let before = systemd.wait_for_daemon();
    systemd.run(&install);
    assert_ne!(systemd.wait_for_daemon(), before, "an upgrade restarts");
    assert_serves(&systemd, 7);
    assert_both_are_active(&systemd);

    systemd.run(&format!("{DPKG} --remove echoline"));
    assert_eq!(systemd.daemon(), None);
    let sockets = systemd.run("ss --no-header --tcp --listening --numeric");
    assert_eq!(sockets, "");

    systemd.run(&install);
    assert_both_are_active(&systemd);
    assert_serves(&systemd, 7);
}
