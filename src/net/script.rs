//! Scripts of what writes to a socket do, for the tests of both of its users.

use std::io::{self, ErrorKind};

use proptest::collection::vec;
use proptest::prelude::*;

/// The result of a write: how much is taken.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Some(usize),
    All,
    WouldBlock,
    Interrupted,
    Reset,
}

impl Write {
    /// How many of `len` bytes are taken.
    pub fn taken(&self, len: usize) -> io::Result<usize> {
        match self {
            Write::Some(n) => Ok((*n).clamp(1, len)),
            Write::All => Ok(len),
            Write::WouldBlock => Err(ErrorKind::WouldBlock.into()),
            Write::Interrupted => Err(ErrorKind::Interrupted.into()),
            Write::Reset => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

pub(crate) fn writes() -> impl Strategy<Value = Vec<Write>> {
    vec(
        prop_oneof![
            6 => (1usize..20).prop_map(Write::Some),
            6 => Just(Write::All),
            4 => Just(Write::WouldBlock),
            2 => Just(Write::Interrupted),
            1 => Just(Write::Reset),
        ],
        0..30,
    )
}
