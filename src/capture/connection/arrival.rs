//! A packet while it is taken in.

use std::ops::Range;

use crate::capture::half::{self, Half};
use crate::capture::link::Network;
use crate::capture::segment::Segment;

/// Longest IP packet on a link where the MSS is not known.
const MTU: u32 = 1500;

/// A packet while it is taken in.
pub struct Arrival<'a> {
    pub segment: &'a Segment<'a>,
    pub from: usize,
    pub time: i64,
    /// Position of its first byte.
    pub position: i64,
    pub frame_len: u32,
    /// More than this is several packets on the wire.
    pub segment_size: Option<u32>,
}

impl<'a> Arrival<'a> {
    /// How many packets on the wire it is, at least.
    pub fn segments(&self) -> u32 {
        self.segment_size
            .map_or(1, |size| self.segment.len.div_ceil(size.max(1)).max(1))
    }

    /// What was captured of a part of its data.
    pub fn bytes(&self, part: &Range<i64>) -> &'a [u8] {
        let at = |position: i64| {
            let offset = usize::try_from(position - self.position).unwrap_or(0);
            offset.min(self.segment.data.len())
        };
        &self.segment.data[at(part.start)..at(part.end)]
    }
}

/// Bytes that one packet on the wire carries at most; `None`: the segment is one.
pub fn segment_size(
    halves: &[Half; 2],
    segment: &Segment<'_>,
    network: &Network<'_>,
) -> Option<u32> {
    let Some(mss) = half::mss(halves) else {
        return (network.len > MTU && segment.len > 0).then_some(segment.len);
    };
    let size = u32::from(mss).saturating_sub(segment.options_len).max(1);
    (segment.len > size).then_some(size)
}
