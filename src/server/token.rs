//! Tokens: which event source an event belongs to.

use mio::Token;

/// An event source of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The connection with this slab key.
    Connection(usize),
    /// The listener with this index.
    Listener(usize),
    Waker,
    Signals,
}

// Slab keys count up from 0, and the other tokens down from the top of the range.
const WAKER: usize = usize::MAX;
const SIGNALS: usize = usize::MAX - 1;
const FIRST_LISTENER: usize = usize::MAX - 2;
// File descriptors are `i32`, so there are no more listeners than that.
const LAST_LISTENER: usize = FIRST_LISTENER - i32::MAX as usize;

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        Token(match source {
            Source::Connection(key) => key,
            Source::Listener(i) => FIRST_LISTENER - i,
            Source::Waker => WAKER,
            Source::Signals => SIGNALS,
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Source {
        match token {
            ..LAST_LISTENER => Source::Connection(token),
            LAST_LISTENER..=FIRST_LISTENER => Source::Listener(FIRST_LISTENER - token),
            SIGNALS => Source::Signals,
            WAKER.. => Source::Waker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_token_of_its_own() {
        for source in [
            Source::Connection(0),
            Source::Connection(1 << 30),
            Source::Listener(0),
            Source::Listener(i32::MAX as usize),
            Source::Waker,
            Source::Signals,
        ] {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
