//! What the targets in `fuzz/` run: functions of any bytes, each with an oracle. They are
//! built with `--cfg fuzzing`, as cargo-fuzz sets it.

#[cfg(feature = "capture")]
mod captures;
#[cfg(feature = "capture")]
#[allow(dead_code)]
#[path = "../tests/packets/support/mod.rs"]
mod support;

#[cfg(feature = "capture")]
pub use captures::capture;
