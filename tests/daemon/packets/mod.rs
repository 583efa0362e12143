//! Packets of a connection, from its SYN to its close.

mod capture;
mod sack;
mod scenarios;
mod tcp_info;
mod trace;

use echoline::SegmentCounts;

const PACKET_PER_LINE: &[&str] = &["--packet-per-line"];

/// The segment counts in a closing record or in the totals.
fn logged_counts(record: &str) -> SegmentCounts {
    let clause = record.split_once("; packets in ").expect("packet counts").1;
    let figures = clause
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|figure| figure.parse().ok());
    let figures: Vec<u64> = figures.collect();
    let mut counts = SegmentCounts::default();
    [
        counts.segs_in,
        counts.data_segs_in,
        counts.segs_out,
        counts.data_segs_out,
        counts.retransmitted,
    ] = figures.try_into().expect("five figures");
    counts
}
