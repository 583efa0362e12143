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

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use fields::Fields;
use pcap::Pcap;
use pcapng::Pcapng;

/// The longest record that is read. libpcap's own limit is 262,144 bytes of packet.
const MAX_RECORD: usize = 4 * 1024 * 1024;

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

/// What is known of a packet before its bytes.
struct Header {
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
    input: BufReader<R>,
    format: Format,
    number: u64,
    time: i64,
    notes: Notes,
    /// The last record, or a part that begins with its packet.
    record: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a capture.
    ///
    /// # Errors
    ///
    /// If the input fails, or is no pcap or pcapng file ([`ErrorKind::InvalidData`]).
    pub fn new(input: R) -> io::Result<Reader<R>> {
        let mut input = BufReader::with_capacity(256 * 1024, input);
        let mut magic = Vec::new();
        if !read(&mut input, &mut magic, 4)? {
            return Err(invalid("no capture: it has less than 4 bytes"));
        }
        let format = match magic[..] {
            [0x1f, 0x8b, ..] => return Err(invalid("compressed: gunzip it first")),
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::Pcapng(Pcapng::default()),
            _ => Format::Pcap(Pcap::read(&mut input, magic)?),
        };
        Ok(Reader {
            input,
            format,
            number: 0,
            time: 0,
            notes: Notes::default(),
            record: Vec::new(),
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
        let (input, record) = (&mut self.input, &mut self.record);
        let header = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(input, record, &mut self.notes)?,
            Format::Pcapng(pcapng) => pcapng.next(input, record, &mut self.notes)?,
        };
        Ok(header.map(|header| {
            self.number += 1;
            // A Simple Packet Block has no time.
            self.time = header.time.unwrap_or(self.time);
            Record {
                number: self.number,
                time: self.time,
                interface: header.interface,
                link_type: header.link_type,
                fcs: header.fcs,
                original_len: header.original,
                bytes: &self.record[..header.captured],
            }
        }))
    }

    /// What the part that has been read says besides its packets.
    pub fn notes(&self) -> Notes {
        self.notes
    }
}

/// Reads `len` bytes, [`MAX_RECORD`] at most; false if the input ends before.
fn read(input: &mut impl Read, bytes: &mut Vec<u8>, len: usize) -> io::Result<bool> {
    if len > MAX_RECORD {
        return Err(invalid("a record of over 4 MiB"));
    }
    bytes.resize(len, 0);
    match input.read_exact(bytes) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn is_at_end(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        match input.fill_buf() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            bytes => return Ok(bytes?.is_empty()),
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
