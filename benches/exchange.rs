//! The shape of the traffic between the clients and a server.

/// Each client sends a batch of lines with one write, and the next batch when
/// all lines have come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    pub connections: usize,
    /// Lines per batch.
    pub lines: usize,
    /// Bytes per line, newline included.
    pub line_len: usize,
    /// What the server puts before each line.
    pub prefix: &'static str,
}

impl Exchange {
    /// Bytes per batch.
    pub fn batch_len(self) -> usize {
        self.lines * self.line_len
    }

    /// Bytes of the echo of a line.
    pub fn echo_len(self) -> usize {
        self.prefix.len() + self.line_len
    }

    /// The echo of `payload`.
    pub fn echo(self, payload: &[u8]) -> Box<[u8]> {
        let lines = payload.chunks(self.line_len);
        lines
            .flat_map(|line| [self.prefix.as_bytes(), line].concat())
            .collect()
    }

    /// Several batches for client `number`. Each line begins with its own name,
    /// so that an echo of another line or client is detected.
    pub fn payload(self, number: usize) -> Box<[u8]> {
        let batches = (64 / self.lines).clamp(2, 16);
        (0..batches * self.lines)
            .flat_map(|line| self.line(&format!("{number:x}.{line:x}.")))
            .collect()
    }

    fn line(self, name: &str) -> Vec<u8> {
        let mut line: Vec<u8> = name.bytes().cycle().take(self.line_len).collect();
        line[self.line_len - 1] = b'\n';
        line
    }
}
