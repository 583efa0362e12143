//! The tarball with the static binary.

use std::path::Path;
use std::process::Command;

use crate::run::{run, shell};
use crate::{VERSION, assert_links_lead_to_files, package, scratch};

#[test]
#[ignore = "needs deploy/build.sh tarball and readelf (binutils)"]
fn the_tarball_has_a_static_binary_its_documents_and_units() {
    let name = format!("echoline-{VERSION}-x86_64-linux");
    let tarball = package(&format!("{name}.tar.gz"));
    let dir = scratch("tarball");
    run(Command::new("tar")
        .arg("-xzf")
        .arg(tarball)
        .current_dir(&dir));
    let dir = dir.join(name);
    for file in [
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "docs/behaviour.md",
        "man/echoline.1",
        "man/echoline-ping.1",
        "completions/echoline.bash",
        "completions/_echoline",
        "completions/echoline.fish",
        "systemd/echoline.service",
    ] {
        assert!(dir.join(file).is_file(), "{file}");
    }
    assert_links_lead_to_files(&dir);
    let binary = dir.join("echoline");
    let version = run(Command::new(&binary).arg("--version"));
    assert_eq!(version, format!("echoline {VERSION}\n"));
    let headers = run(Command::new("readelf").arg("--program-headers").arg(binary));
    assert!(!headers.contains("INTERP"), "{headers}");
}

#[test]
#[ignore = "needs deploy/build.sh tarball"]
fn the_tarball_does_not_depend_on_the_user_or_the_time_of_the_build() {
    let tarball = package(&format!("echoline-{VERSION}-x86_64-linux.tar.gz"));
    let list = shell(
        "tar --numeric-owner -tvzf \"$1\"",
        &[tarball.to_str().unwrap()],
    );
    let fields = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let files: Vec<_> = list.lines().map(fields).collect();
    let is_sorted = files.is_sorted_by_key(|file| Path::new(&file[5]));
    assert!(is_sorted, "{list}");
    for file in &files {
        assert_eq!(file[1], "0/0", "{list}");
        assert_eq!(file[3..5], files[0][3..5], "{list}");
    }
}
