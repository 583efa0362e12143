//! Why something cannot be decided.

use std::fmt;

/// Why something cannot be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Undecided {
    /// Bytes were acknowledged that no packet carried.
    NotCaptured,
    /// The snaplen has cut the lines.
    Snaplen,
    /// An echo is in a packet that may be several on the wire.
    Merged,
    /// Packets of several devices could not be told apart.
    Duplicates,
    /// Another capture point has packets, and the chosen one has one direction only.
    OneDirection,
    /// An echo may have been sent again after a loss before the capture point.
    PerhapsAgain,
    /// The first fragment of an IP packet has not all of its data.
    Fragments,
    /// Lines could not be compared.
    NotCompared,
    /// Lines wait for their echoes at the end of the capture.
    Pending,
    /// Which side is the server is not known.
    Roles,
    /// The first echo may belong to several lines.
    Ambiguous,
    /// A FIN is missing, and the capture ends within 2 s.
    EndOfCapture,
    /// The connection was dropped, as there were too many.
    Dropped,
    /// The capture has packets that may belong to a connection, and cannot be read.
    Unreadable,
    /// The file is damaged.
    Damaged,
    /// There is nothing that the expectation is about.
    Nothing,
}

impl Undecided {
    const ALL: [Undecided; 16] = [
        Undecided::NotCaptured,
        Undecided::Snaplen,
        Undecided::Merged,
        Undecided::Duplicates,
        Undecided::OneDirection,
        Undecided::PerhapsAgain,
        Undecided::Fragments,
        Undecided::NotCompared,
        Undecided::Pending,
        Undecided::Roles,
        Undecided::Ambiguous,
        Undecided::EndOfCapture,
        Undecided::Dropped,
        Undecided::Unreadable,
        Undecided::Damaged,
        Undecided::Nothing,
    ];

    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Undecided::NotCaptured => "not_captured",
            Undecided::Snaplen => "snaplen",
            Undecided::Merged => "merged",
            Undecided::Duplicates => "duplicates",
            Undecided::OneDirection => "one_direction",
            Undecided::PerhapsAgain => "perhaps_again",
            Undecided::Fragments => "fragments",
            Undecided::NotCompared => "not_compared",
            Undecided::Pending => "pending",
            Undecided::Roles => "roles",
            Undecided::Ambiguous => "ambiguous",
            Undecided::EndOfCapture => "end_of_capture",
            Undecided::Dropped => "dropped",
            Undecided::Unreadable => "unreadable",
            Undecided::Damaged => "damaged",
            Undecided::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Undecided::NotCaptured => "bytes were acknowledged that were not captured",
            Undecided::Snaplen => "the snaplen has cut lines",
            Undecided::Merged => "an echo is in a packet longer than the MSS",
            Undecided::Duplicates => "duplicates of several devices could not be told apart",
            Undecided::OneDirection => "the capture point has one direction only",
            Undecided::PerhapsAgain => {
                "an echo was perhaps sent again after a loss before the capture point"
            }
            Undecided::Fragments => "IP fragments",
            Undecided::NotCompared => "lines could not be compared",
            Undecided::Pending => "lines wait for their echoes when the capture ends",
            Undecided::Roles => "which side is the server is not known (--port)",
            Undecided::Ambiguous => "the first echo may belong to several lines",
            Undecided::EndOfCapture => {
                "the capture ends less than 2 s after a connection's last packet or FIN"
            }
            Undecided::Dropped => "connections were dropped (--max-connections)",
            Undecided::Unreadable => "packets could not be read",
            Undecided::Damaged => "the file is damaged",
            Undecided::Nothing => "there is nothing to judge",
        })
    }
}

/// Several reasons why something cannot be decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    pub(crate) fn add(&mut self, reason: Undecided) {
        self.0 |= 1 << reason as u8;
    }

    pub(crate) fn add_if(&mut self, condition: bool, reason: Undecided) {
        if condition {
            self.add(reason);
        }
    }

    pub(crate) fn merge(&mut self, other: Reasons) {
        self.0 |= other.0;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each reason.
    pub fn iter(self) -> impl Iterator<Item = Undecided> {
        let all = Undecided::ALL.into_iter();
        all.filter(move |reason| self.0 & (1 << *reason as u8) != 0)
    }
}
