//! The Debian package, in a root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;
use crate::support::systemd::Systemd;
use crate::{VERSION, package, scratch};

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
#[ignore = "needs deploy/build.sh and lintian"]
fn lintian_has_no_error() {
    let tags = run(Command::new("lintian")
        .args(["--fail-on", "error", "--allow-root"])
        .arg(deb()));
    println!("{tags}");
}

#[test]
#[ignore = "needs deploy/build.sh, dpkg and root"]
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
#[ignore = "needs deploy/build.sh, dpkg, systemd, nc and root"]
fn the_installed_service_and_socket_units_serve_in_a_booted_systemd() {
    let root = install("debian-booted");
    let systemd = Systemd::boot_with(
        &root.join("usr/lib/systemd/system"),
        &root.join("usr/bin/echoline"),
    );
    for unit in ["echoline.service", "echoline.socket"] {
        systemd.run(&format!("systemctl start {unit}"));
        let echoed = systemd.run("echo hello | nc.openbsd -N localhost 3000");
        assert_eq!(echoed, "hello\n", "{unit}");
        let pinged = systemd.run("echoline ping --count 1 localhost:3000");
        let summary = "1 line sent, 1 echoed, 0 wrong, 0 lost";
        assert!(pinged.contains(summary), "{unit}: {pinged}");
        // The socket first: a connection to it would start the service again.
        systemd.run("systemctl stop echoline.socket echoline.service");
        assert_eq!(systemd.property("Result"), "success", "{unit}");
        assert_eq!(systemd.daemon(), None, "{unit}");
    }
}
