//! `TCP_INFO`: the kernel's own count of a connection's segments.

use std::fmt;
use std::os::fd::AsFd;

/// Segments of one or more connections, as the kernel counted them.
///
/// On the accepting side Linux counts from the SYN on for `incoming` and after
/// the SYN-ACK for `outgoing` (`tcp_create_openreq_child` in
/// `net/ipv4/tcp_minisocks.c`); on the connecting side it counts all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Packets {
    /// Segments received.
    pub incoming: u64,
    /// Those of them that carried data.
    pub data_in: u64,
    /// Segments sent.
    pub outgoing: u64,
    /// Those of them that carried data.
    pub data_out: u64,
    /// Segments sent again, counted in the two above as well.
    pub retransmitted: u64,
}

impl Packets {
    /// What the TCP connection `socket` has received and sent so far; `None`
    /// where the platform or the kernel does not say.
    pub fn of(socket: &impl AsFd) -> Option<Packets> {
        Snapshot::of(socket).packets
    }

    pub(crate) fn add(&mut self, other: Packets) {
        self.incoming += other.incoming;
        self.data_in += other.data_in;
        self.outgoing += other.outgoing;
        self.data_out += other.data_out;
        self.retransmitted += other.retransmitted;
    }
}

impl fmt::Display for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "packets in {} ({} data), out {} ({} data), {} retransmitted",
            self.incoming, self.data_in, self.outgoing, self.data_out, self.retransmitted
        )
    }
}

/// What the kernel says of a connection at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    /// `None` where it does not say.
    pub packets: Option<Packets>,
    /// It has bytes, or our FIN, that it has not sent once: the peer's window
    /// is full. They are not in the count, and after a close nobody counts.
    pub is_sending: bool,
}

impl Snapshot {
    #[cfg(target_os = "linux")]
    pub fn of(socket: &impl AsFd) -> Snapshot {
        const TCP_CLOSE: u8 = 7; // include/net/tcp_states.h
        tcp_info(socket).map_or(Snapshot::default(), |info| Snapshot {
            packets: Some(Packets {
                incoming: info.tcpi_segs_in.into(),
                data_in: info.tcpi_data_segs_in.into(),
                outgoing: info.tcpi_segs_out.into(),
                data_out: info.tcpi_data_segs_out.into(),
                retransmitted: info.tcpi_total_retrans.into(),
            }),
            is_sending: info.tcpi_notsent_bytes > 0 && info.tcpi_state != TCP_CLOSE,
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn of(_: &impl AsFd) -> Snapshot {
        Snapshot::default()
    }
}

/// `getsockopt(TCP_INFO)`, or `None` if it fails or the kernel is too old (4.6)
/// to know the last field that is used here.
#[cfg(target_os = "linux")]
fn tcp_info(socket: &impl AsFd) -> Option<libc::tcp_info> {
    use std::mem::{offset_of, size_of};
    use std::os::fd::AsRawFd;

    const SIZE: usize = size_of::<libc::tcp_info>();
    const USED: usize = offset_of!(libc::tcp_info, tcpi_data_segs_out) + size_of::<u32>();

    let mut len = libc::socklen_t::try_from(SIZE).ok()?;
    // SAFETY: `tcp_info` is made of integers only, for which all bits zero is
    // a value. The kernel writes at most `len` bytes, its size, into it.
    #[allow(unsafe_code)]
    let (info, result) = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let result = libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        );
        (info, result)
    };
    (result == 0 && len as usize >= USED).then_some(info)
}
