//! One direction of a connection: its sequence numbers, and what is remembered of its
//! packets.

use crate::capture::coverage::Coverage;
use crate::capture::segment::Segment;
use crate::capture::stream::Stream;

/// Within this time, in nanoseconds, an identical packet is taken for a duplicate.
const DUPLICATE_WITHIN: i64 = 1_000_000;
/// So many in-order packets with growing IPv4 identifications make it trusted.
const TRUST: u8 = 3;
/// What a SYN without the option means (RFC 9293, 3.7.1).
const DEFAULT_MSS: [u16; 2] = [536, 1220];

#[derive(Debug)]
pub struct Half {
    /// The SYN's sequence number.
    pub syn: Option<u32>,
    /// Sequence number of position 0, the first byte of data.
    base: Option<u32>,
    base_is_guess: bool,
    pub coverage: Coverage,
    pub stream: Stream,
    /// Position of the FIN, and its time.
    pub fin: Option<(i64, i64)>,
    /// Up to where the peer has acknowledged; `None`: it has sent no ACK.
    pub acked: Option<i64>,
    /// Ordinal of the packet since which acknowledged bytes are missing.
    pub hole_since: Option<u32>,
    /// The last window that was offered, not scaled.
    pub window: Option<u16>,
    /// The MSS of the SYN; `None`: not known.
    pub mss: Option<u16>,
    /// The direction of a cooked capture in which this half's packets are counted.
    pub direction: Option<u8>,
    /// Time of the last new data.
    pub last_data: Option<i64>,
    /// Time of the last packet.
    pub last_time: Option<i64>,
    pub stall: Stall,
    /// IPv4 identification of the packet with the highest bytes.
    id: u16,
    trust: u8,
    recent: [(u64, i64); 4],
    next_recent: u8,
}

/// Where a line stands if its parts come one by one.
#[derive(Debug, Clone, Copy, Default)]
pub enum Stall {
    #[default]
    No,
    /// A part of a line came at this time.
    Part(i64),
    /// The ACK of the part came at the second time.
    Acknowledged(i64, i64),
}

impl Half {
    pub fn new() -> Half {
        Half {
            syn: None,
            base: None,
            base_is_guess: false,
            coverage: Coverage::from_the_middle(),
            stream: Stream::default(),
            fin: None,
            acked: None,
            hole_since: None,
            window: None,
            mss: None,
            direction: None,
            last_data: None,
            last_time: None,
            stall: Stall::No,
            id: 0,
            trust: 0,
            recent: [(0, i64::MIN); 4],
            next_recent: 0,
        }
    }

    /// Whether a SYN belongs to this half.
    pub fn accepts_syn(&self, seq: u32) -> bool {
        match (self.syn, self.base) {
            (Some(syn), _) => syn == seq,
            (None, Some(base)) => base == seq.wrapping_add(1),
            (None, None) => true,
        }
    }

    /// Takes the SYN's sequence number and options.
    pub fn set_syn(&mut self, segment: &Segment<'_>) {
        if self.syn.is_some() {
            return;
        }
        self.syn = Some(segment.seq);
        if self.base.is_none() {
            self.coverage = Coverage::new();
        }
        self.base = Some(segment.seq.wrapping_add(1));
        let option = segment.options().find(|(kind, _)| *kind == 2);
        let option = option.and_then(|(_, value)| value.first_chunk().copied());
        let is_cut = (segment.options.len() as u64) < u64::from(segment.options_len);
        let is_ipv6 = !segment.from.is_ipv4();
        self.mss = match option.map(u16::from_be_bytes) {
            None if is_cut => None,
            None | Some(0) => Some(DEFAULT_MSS[usize::from(is_ipv6)]),
            mss => mss,
        };
    }

    pub fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// Takes a sequence number for that of position 0, unless it is known.
    pub fn set_base(&mut self, seq: u32) {
        self.base.get_or_insert(seq);
    }

    /// As [`Half::set_base`], from a packet of this half, which may be a keep-alive.
    pub fn guess_base(&mut self, seq: u32) {
        if self.base.is_none() {
            self.base = Some(seq);
            self.base_is_guess = true;
        }
    }

    /// The position of a sequence number: the nearest to the highest byte seen.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sequence numbers have 32 bits"
    )]
    pub fn position(&self, seq: u32) -> i64 {
        let high = self.coverage.high();
        let expected = self.base.unwrap_or(seq).wrapping_add(high as u32);
        high + i64::from(seq.wrapping_sub(expected).cast_signed())
    }

    /// The position after what has been sent, the FIN included.
    pub fn next(&self) -> i64 {
        self.coverage.high() + i64::from(self.fin.is_some())
    }

    /// Up to where the peer has acknowledged data. A FIN that was not captured counts as a
    /// byte.
    pub fn acked_data(&self) -> i64 {
        let acked = self.acked.unwrap_or(0);
        self.fin.map_or(acked, |(fin, _)| acked.min(fin))
    }

    /// Bytes, and a FIN, that the peer has and that were not captured.
    pub fn not_captured(&self) -> u64 {
        self.coverage.missing_below(self.acked_data())
    }

    /// A capture that begins with a keep-alive: the first byte stands one later.
    pub fn skip_keep_alive(&mut self, position: i64) -> i64 {
        let is_first = self.base_is_guess && self.coverage.high() == 0;
        if is_first && position == 1 {
            self.base = self.base.map(|base| base.wrapping_add(1));
            return 0;
        }
        position
    }

    /// Remembers the identification of a packet above all others.
    pub fn note_id(&mut self, id: u16) {
        let step = id.wrapping_sub(self.id);
        if id == 0 || self.trust > 0 && !(1..1024).contains(&step) {
            self.trust = 0;
        } else {
            self.trust = self.trust.saturating_add(1);
        }
        self.id = id;
    }

    /// Whether the identification proves that a late packet was sent before the highest.
    pub fn was_sent_before(&self, id: u16) -> bool {
        let behind = self.id.wrapping_sub(id);
        self.trust >= TRUST && id != 0 && (1..1024).contains(&behind)
    }

    /// Whether an identical packet has just been seen. A sender does not use an IPv4
    /// identification twice; without one, only in a `suspicious` capture.
    pub fn is_duplicate(&mut self, segment: &Segment<'_>, time: i64, suspicious: bool) -> bool {
        let print = fingerprint(segment);
        let is_near = |seen: i64| time.saturating_sub(seen).saturating_abs() <= DUPLICATE_WITHIN;
        let mut recent = self.recent.iter();
        let is_known = recent.any(|(other, seen)| *other == print && is_near(*seen));
        if is_known {
            return suspicious || segment.id != 0;
        }
        self.recent[usize::from(self.next_recent)] = (print, time);
        self.next_recent = (self.next_recent + 1) % 4;
        false
    }
}

/// What two packets share that differ in link header and hop limit only.
fn fingerprint(segment: &Segment<'_>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    // The timestamp option, where there is one, is the last.
    let timestamp = segment
        .options
        .last_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let words = [
        u64::from(segment.seq) << 32 | u64::from(segment.ack),
        u64::from(segment.flags) << 48 | u64::from(segment.window) << 32 | u64::from(segment.len),
        u64::from(segment.id),
        timestamp,
    ];
    words.iter().fold(0, |sum: u64, word| {
        (sum.rotate_left(29) ^ word).wrapping_mul(ODD)
    })
}

/// The MSS in both directions, if both SYNs were captured.
pub fn mss(halves: &[Half; 2]) -> Option<u16> {
    let [a, b] = halves;
    let known = a.syn.is_some() && b.syn.is_some();
    known.then_some(a.mss?.min(b.mss?))
}
