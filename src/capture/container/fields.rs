//! Numbers in the byte order of a file or section.

#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub bytes: &'a [u8],
    pub big_endian: bool,
}

impl<'a> Fields<'a> {
    pub fn u16(self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    pub fn u32(self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    pub fn u64(self, at: usize) -> Option<u64> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// A time in pcapng: its upper half, then its lower, in both byte orders.
    pub fn ticks(self, at: usize) -> Option<u64> {
        Some(u64::from(self.u32(at)?) << 32 | u64::from(self.u32(at + 4)?))
    }

    /// Code and value of each option in pcapng.
    pub fn options(self, mut at: usize) -> impl Iterator<Item = (u16, Fields<'a>)> {
        std::iter::from_fn(move || {
            let (code, len) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            let bytes = self.bytes.get(at + 4..at + 4 + len)?;
            at += 4 + len.next_multiple_of(4);
            (code != 0).then_some((code, Fields { bytes, ..self }))
        })
    }
}
