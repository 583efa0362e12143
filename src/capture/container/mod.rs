//! Reads the records of a pcap or pcapng file, one after another, from any stream.
//!
//! Own code, because no kept crate reads every valid file. `pcap-parser` 0.17 has no
//! obsolete Packet Block (what Wireshark wrote until 2010), and reads Kuznetzov's records
//! in one byte order only; the others refuse records longer than the snaplen, snaplen 0,
//! or text that is no UTF-8.
//!
//! Formats: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html>,
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-01.html>.

mod fields;
mod pcap;
mod pcapng;
mod window;

use std::io::{self, ErrorKind, Read};

use fields::Fields;
use pcap::Pcap;
use pcapng::Pcapng;
use window::Window;

/// A packet as it stands in a capture.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Counts from 1, as the frame numbers of tcpdump and Wireshark do.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Which interface of the file, if it tells several apart.
    pub interface: u32,
    /// The number of the link type, `LINKTYPE_…`.
    pub link_type: u16,
    /// Bytes of a frame check sequence at the end of the frame.
    pub fcs: u8,
    /// The frame's length on the link.
    pub original_len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// What a file says besides its packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notes {
    /// The last record is cut.
    pub cut: bool,
    /// Until when the capture ran, in nanoseconds since 1970, where the file says so.
    pub end: Option<i64>,
    /// Packets that the capture lost, where the file says so.
    pub dropped: u64,
}

/// A packet's place in its record, and what is known of it besides its bytes.
struct Header {
    /// Length of the record that begins here.
    record: usize,
    /// Where in the record the packet begins.
    start: usize,
    captured: usize,
    original: u32,
    /// `None`: the file does not say.
    time: Option<i64>,
    interface: u32,
    link_type: u16,
    fcs: u8,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// Reads a capture.
pub struct Reader<R> {
    input: Window<R>,
    format: Format,
    number: u64,
    time: i64,
    notes: Notes,
    /// Length of the last packet's record, which is still in the window.
    record: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a capture.
    ///
    /// # Errors
    ///
    /// If the input fails, or is no pcap or pcapng file ([`ErrorKind::InvalidData`]).
    pub fn new(input: R) -> io::Result<Reader<R>> {
        let mut input = Window::new(input);
        if !input.has(4)? {
            return Err(invalid("no capture: it has less than 4 bytes"));
        }
        let format = match input.bytes() {
            [0x1f, 0x8b, ..] => return Err(invalid("compressed: gunzip it first")),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Format::Pcapng(Pcapng::default()),
            _ => Format::Pcap(Pcap::read(&mut input)?),
        };
        Ok(Reader {
            input,
            format,
            number: 0,
            time: 0,
            notes: Notes::default(),
            record: 0,
        })
    }

    /// The next packet; `None` at the end of the capture.
    ///
    /// # Errors
    ///
    /// If the input fails or is damaged ([`ErrorKind::InvalidData`]). What came before
    /// counts all the same.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows the reader")]
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        self.input.pass(std::mem::take(&mut self.record))?;
        let (input, notes) = (&mut self.input, &mut self.notes);
        let header = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(input, notes)?,
            Format::Pcapng(pcapng) => pcapng.next(input, notes)?,
        };
        let Some(header) = header else {
            return Ok(None);
        };
        self.number += 1;
        self.record = header.record;
        // A Simple Packet Block has no time.
        self.time = header.time.unwrap_or(self.time);
        Ok(Some(Record {
            number: self.number,
            time: self.time,
            interface: header.interface,
            link_type: header.link_type,
            fcs: header.fcs,
            original_len: header.original,
            bytes: &self.input.bytes()[header.start..][..header.captured],
        }))
    }

    /// What the part that has been read says besides its packets.
    pub fn notes(&self) -> Notes {
        self.notes
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
