//! Connections, the files that hold them, and what echoline counts in these.

pub mod dialogue;
pub mod file;
pub mod frame;

use echoline::capture::{
    Analysis, Event, Notes, Options, Packet, Reader, Report, Summary, Undecided, Verdict,
};

/// What was found in a capture.
pub struct Counted {
    pub packets: Vec<Packet>,
    pub reports: Vec<Report>,
    pub summary: Summary,
    pub notes: Notes,
}

impl Counted {
    /// Of the only connection.
    pub fn report(&self) -> &Report {
        assert_eq!(self.reports.len(), 1, "{:#?}", self.reports);
        &self.reports[0]
    }

    pub fn verdict(&self) -> Verdict {
        self.summary.verdict
    }

    pub fn cannot_tell(&self, reason: Undecided) {
        assert_eq!(self.verdict(), Verdict::CannotTell, "{:#?}", self.summary);
        let mut reasons = self.summary.undecided.iter();
        assert!(reasons.any(|other| other == reason), "{:#?}", self.summary);
    }

    /// Packets of handshake, exchange and close.
    pub fn phases(&self) -> [u64; 3] {
        let counts = &self.report().counts;
        [counts.handshake, counts.exchange, counts.close]
    }

    /// How many lines took how many packets.
    pub fn packets_per_line(&self) -> Vec<(u32, u64)> {
        self.report().tally.packets_per_line.iter().collect()
    }

    /// The packet of a number.
    pub fn packet(&self, number: u64) -> &Packet {
        let mut packets = self.packets.iter();
        packets
            .find(|packet| packet.number == number)
            .expect("a packet of a connection")
    }
}

/// Expects one packet per line, and the server's FIN.
pub fn strict() -> Options {
    let mut options = Options::default();
    options.expectations.packets = Some(1);
    options.expectations.close = true;
    options
}

/// Expects one packet per line.
pub fn one_packet() -> Options {
    let mut options = Options::default();
    options.expectations.packets = Some(1);
    options
}

/// Reads a capture to its end.
pub fn count_with(file: &[u8], options: Options) -> Counted {
    let mut reader = Reader::new(file).unwrap();
    let mut analysis = Analysis::new(options);
    let (mut packets, mut reports) = (Vec::new(), Vec::new());
    let mut sink = |event: Event<'_>| match event {
        Event::Packet(packet) => packets.push(*packet),
        Event::Connection(report) => reports.push(report.clone()),
    };
    let damaged = loop {
        match reader.next() {
            Ok(Some(record)) => analysis.packet(&record, &mut sink),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let notes = reader.notes();
    let summary = analysis.finish(notes, None, damaged, &mut sink);
    Counted {
        packets,
        reports,
        summary,
        notes,
    }
}

pub fn count(file: &[u8]) -> Counted {
    count_with(file, Options::default())
}
