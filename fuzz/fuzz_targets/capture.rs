//! Captures of every container and link type.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../cost.rs"]
mod cost;

/// A connection takes 1.6 KiB, and an input byte may be a segment of one byte. The reader's
/// buffer, and the packets and reports that the target keeps, are in it too.
const LIMITS: cost::Limits = cost::Limits {
    steps: 100_000,
    steps_per_byte: 4_000,
    memory: 8 << 20,
    memory_per_byte: 1_024,
};

fuzz_target!(|input: &[u8]| LIMITS.hold(input, echoline::fuzz::capture));
