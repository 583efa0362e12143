//! The Debian package, in a root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;
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
    let root = scratch("debian");
    let dpkg_dir = root.join("var/lib/dpkg");
    for dir in ["info", "updates"] {
        fs::create_dir_all(dpkg_dir.join(dir)).unwrap();
    }
    fs::write(dpkg_dir.join("status"), "").unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();

    run(dpkg(&root).arg("--install").arg(deb()));
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
