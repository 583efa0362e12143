//! Shared by the tests: the daemon, its clients, and the tools that watch or disturb
//! them.

pub mod callgrind;
pub mod clients;
pub mod daemon;
pub mod deadline;
pub mod link;
pub mod namespace;
pub mod operating;
pub mod pcap;
pub mod port;
pub mod preload;
pub mod process;
pub mod retransmission;
pub mod sessions;
pub mod sockets;
pub mod strace;
pub mod systemd;
pub mod tcpdump;
pub mod terminal;
