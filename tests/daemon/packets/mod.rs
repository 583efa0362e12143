//! Packets of a connection, from its SYN to its close.

mod capture;
mod counted;
mod ethernet;
mod sack;
mod scenarios;
mod syn_ack;
mod tcp_info;
mod trace;

use echoline::SegmentCounts;

const PACKET_PER_LINE: &[&str] = &["--packet-per-line"];

/// The segment counts in a closing record or in the totals.
fn logged_counts(record: &str) -> SegmentCounts {
    let clause = record.split_once(" bytes, ").expect("byte counts").1;
    let (counted, after) = clause.split_once(" data)").expect("packet counts");
    let numbers = |text: &str| -> Vec<u64> {
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    let mut counts = SegmentCounts::default();
    [
        counts.segs_in,
        counts.segs_out,
        counts.data_segs_in,
        counts.data_segs_out,
    ] = numbers(counted).try_into().expect("four counts");
    if let Some((retransmitted, _)) = after.split_once(" retransmitted") {
        counts.retransmitted = numbers(retransmitted)[0];
    }
    counts
}
