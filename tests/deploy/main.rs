//! The packages that `deploy/build.sh` has made, and the files that go into them, with
//! the programs that use them; and the build for aarch64.

mod aarch64;
mod container;
mod debian;
mod image;
mod kubernetes;
#[path = "../links/mod.rs"]
mod links;
mod manual;
mod run;
#[allow(dead_code, reason = "shared with the tests of the daemon")]
#[path = "../daemon/support/mod.rs"]
mod support;
mod tarball;

use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file or directory of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A package that `deploy/build.sh` has made.
fn package(name: &str) -> PathBuf {
    let path = repository("target/package").join(name);
    assert!(path.exists(), "no {}: run deploy/build.sh", path.display());
    path
}

/// A directory for one test, empty at first.
fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Asserts that no link of the Markdown pages in `dir` leads nowhere.
#[track_caller]
fn assert_links_lead_to_files(dir: &Path) {
    let mut find = Command::new("find");
    let pages = run::run(find.arg(dir).args(["-name", "*.md"]));
    let pages: Vec<_> = pages.lines().map(PathBuf::from).collect();
    let (checked, faults) = links::broken_links(&pages);
    assert!(checked > 20, "only {checked} links found");
    assert!(faults.is_empty(), "{}: {faults:#?}", faults.len());
}
