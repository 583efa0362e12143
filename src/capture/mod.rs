//! Counts the packets of a TCP line echo in a capture, and says when it cannot.
//!
//! [`Reader`] yields the records of a pcap or pcapng file, and [`Analysis`] takes them in:
//!
//! ```
//! use echoline::capture::{Analysis, Event, Options, Reader, Verdict};
//!
//! # fn main() -> std::io::Result<()> {
//! # let file: &[u8] = &[
//! #     0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
//! # ];
//! let mut reader = Reader::new(file)?;
//! let mut analysis = Analysis::new(Options::default());
//! let mut sink = |event: Event<'_>| println!("{event:?}");
//! while let Some(record) = reader.next()? {
//!     analysis.packet(&record, &mut sink);
//! }
//! let summary = analysis.finish(reader.notes(), None, false, &mut sink);
//! assert_eq!(summary.verdict, Verdict::NoEcho);
//! # Ok(())
//! # }
//! ```
//!
//! How it decides is in [docs/counting.md][counting]. Imports point downwards: `analysis` ->
//! `connection` -> `echo` -> `lines` -> `stream` -> `coverage`; `segment` -> `link` ->
//! `container`.
//!
//! [counting]: https://docs.rs/crate/echoline/latest/source/docs/counting.md

mod analysis;
mod closing;
mod connection;
mod container;
mod coverage;
mod echo;
mod half;
mod hash;
mod lines;
mod link;
mod other;
mod packet;
mod report;
mod segment;
mod stream;
mod summary;
mod tally;
mod undecided;

pub use analysis::{Analysis, Event, Options};
pub use closing::Closed;
pub use container::{Notes, Reader, Record};
pub use link::{NO_DIRECTION, Point};
pub use other::{Other, OtherCounts};
pub use packet::{Acked, Kind, Packet, Side, Span};
pub use report::{Counts, Expectations, Report};
pub use summary::{Summary, Totals, Verdict};
pub use tally::{Fault, PacketsPerLine, Tally};
pub use undecided::{Reasons, Undecided};
