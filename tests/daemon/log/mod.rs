//! The log: its records, its levels, and a log that cannot be written.

mod levels;
mod records;
mod unwritable;
