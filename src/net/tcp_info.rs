//! `TCP_INFO`: the kernel's counts of a connection's segments.

use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

use crate::net::options::is_mptcp;
use crate::stats::SegmentCounts;

impl SegmentCounts {
    /// The counts of the TCP connection `socket` so far; `None` if the platform or
    /// the kernel does not count, if the socket has not been connected, or if the counts are
    /// of one of several connections (MPTCP).
    pub fn of(socket: &impl AsFd) -> Option<SegmentCounts> {
        if is_mptcp(&SockRef::from(socket)) {
            return None;
        }
        TcpInfo::of(socket).segments
    }
}

/// The kernel's view of a connection at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TcpInfo {
    /// `None` if the platform or the kernel does not count.
    pub segments: Option<SegmentCounts>,
    /// Bytes or our FIN have not been sent once, as the peer's window is full. The
    /// counts do not include them yet.
    pub has_unsent: bool,
    /// At least this long ago data was sent last, retransmissions not included; `None` if
    /// the platform does not say.
    pub last_data_sent: Option<Duration>,
    /// The shortest round trip; `None` if the kernel has measured none.
    #[cfg(feature = "client")]
    pub min_rtt: Option<Duration>,
}

impl TcpInfo {
    #[cfg(target_os = "linux")]
    pub fn of(socket: &impl AsFd) -> TcpInfo {
        const TCP_CLOSE: u8 = 7; // include/net/tcp_states.h
        // A connected socket has received a segment. Without one the fields are not filled:
        // gVisor's netstack returns all of them with the counts and times at zero.
        let counted = tcp_info(socket).filter(|info| info.tcpi_segs_in > 0);
        counted.map_or(TcpInfo::default(), |info| TcpInfo {
            segments: Some(SegmentCounts {
                segs_in: info.tcpi_segs_in.into(),
                data_segs_in: info.tcpi_data_segs_in.into(),
                segs_out: info.tcpi_segs_out.into(),
                data_segs_out: info.tcpi_data_segs_out.into(),
                retransmitted: info.tcpi_total_retrans.into(),
            }),
            has_unsent: info.tcpi_notsent_bytes > 0 && info.tcpi_state != TCP_CLOSE,
            last_data_sent: Some(at_least(info.tcpi_last_data_sent)),
            // Before the first measurement it is the greatest number (`tcp_min_rtt` in
            // include/net/tcp.h, `tcp_init_sock` in net/ipv4/tcp.c).
            #[cfg(feature = "client")]
            min_rtt: Some(info.tcpi_min_rtt)
                .filter(|&micros| micros > 0 && micros < u32::MAX)
                .map(|micros| Duration::from_micros(micros.into())),
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn of(_: &impl AsFd) -> TcpInfo {
        TcpInfo::default()
    }
}

/// What certainly has passed of so many milliseconds. The kernel takes them from a counter of
/// ticks (`tcp_get_info`, net/ipv4/tcp.c), of which the first may have been short.
#[cfg(target_os = "linux")]
fn at_least(millis: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10); // The longest, CONFIG_HZ=100.
    Duration::from_millis(millis.into()).saturating_sub(TICK)
}

/// `getsockopt(TCP_INFO)`. `None` if it fails, or if the kernel is older than 4.6
/// and does not know the last field that is used here.
#[cfg(target_os = "linux")]
fn tcp_info(socket: &impl AsFd) -> Option<libc::tcp_info> {
    use std::mem::{offset_of, size_of};
    use std::os::fd::AsRawFd;

    const SIZE: usize = size_of::<libc::tcp_info>();
    const USED: usize = offset_of!(libc::tcp_info, tcpi_data_segs_out) + size_of::<u32>();

    let mut len = libc::socklen_t::try_from(SIZE).ok()?;
    // SAFETY: `tcp_info` has integer fields only, so zeroed memory is a valid
    // value. The kernel writes at most `len` bytes, which is its size.
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
