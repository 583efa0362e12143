//! The daemon as a service of systemd: with the environment that systemd would set, and
//! in a systemd that the test boots.

pub mod activation;
mod booted;
mod notify;
mod operating;
mod restart;
mod units;
