//! Libraries that take the place of C library functions in a program (`LD_PRELOAD`).

use std::path::PathBuf;
use std::process::Command;

/// Compiles the library `name`, which stands beside this file.
pub fn build(name: &str) -> PathBuf {
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}.so"));
    let source = format!("tests/daemon/support/{name}.rs");
    let status = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "-Cpanic=abort"])
        .args(["-o".as_ref(), library.as_os_str(), source.as_ref()])
        .status()
        .expect("rustc runs");
    assert!(status.success());
    library
}
