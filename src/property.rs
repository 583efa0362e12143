//! What the property tests share.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// A property test of so many random cases. The seeds of those that fail are kept beside
/// its source, with the extension `regressions`, and run first.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::with_cases(cases)
    }
}

/// Any byte, and one of `share` in 256 a newline. Most of the time of a property test is
/// spent making its bytes: a choice between two strategies takes three times as long.
pub(crate) fn byte(share: u8) -> impl Strategy<Value = u8> {
    any::<u8>().prop_map(move |byte| if byte < share { b'\n' } else { byte })
}
