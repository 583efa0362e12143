//! Errors that say what could not be done.

use std::fmt;
use std::io;

/// An error of the same kind, with what could not be done before its cause.
pub(crate) fn with_context(cause: &io::Error, what: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(cause.kind(), format!("{what}: {cause}"))
}
