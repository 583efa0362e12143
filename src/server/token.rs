//! Tokens: which event source an event belongs to.

use mio::Token;

/// An event source of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventSource {
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

impl From<EventSource> for Token {
    fn from(source: EventSource) -> Token {
        Token(match source {
            EventSource::Connection(key) => key,
            EventSource::Listener(i) => FIRST_LISTENER - i,
            EventSource::Waker => WAKER,
            EventSource::Signals => SIGNALS,
        })
    }
}

impl From<Token> for EventSource {
    fn from(Token(token): Token) -> EventSource {
        match token {
            ..LAST_LISTENER => EventSource::Connection(token),
            LAST_LISTENER..=FIRST_LISTENER => EventSource::Listener(FIRST_LISTENER - token),
            SIGNALS => EventSource::Signals,
            WAKER.. => EventSource::Waker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_token_of_its_own() {
        for source in [
            EventSource::Connection(0),
            EventSource::Connection(1 << 30),
            EventSource::Listener(0),
            EventSource::Listener(i32::MAX as usize),
            EventSource::Waker,
            EventSource::Signals,
        ] {
            assert_eq!(EventSource::from(Token::from(source)), source);
        }
    }
}
