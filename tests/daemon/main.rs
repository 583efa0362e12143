//! The real binary on real sockets, seen from outside.
//!
//! Tests that need more than Rust and Linux are ignored and say what they
//! need; `.ci/run` installs that and runs them too.

mod capture;
mod chaos;
mod closing;
mod command_line;
mod faults;
mod figures;
mod limits;
mod lines;
mod load;
mod log;
mod lossy_link;
mod packets;
mod signals;
mod support;
mod tour;
