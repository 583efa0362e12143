//! Captures of line echoes that never happened, of any size.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Connections that are open at the same time; the next ones begin when these are closed.
const MOST_OPEN: usize = 1000;

const SYN: u8 = 2;
const FIN: u8 = 1;
const ACK: u8 = 16;
const PSH: u8 = 8;

/// What is in a capture.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contents {
    pub packets: u64,
    pub lines: u64,
    pub bytes: u64,
}

/// Writes a capture of at least `bytes`, with lines of so many connections, in turn.
pub fn write(path: &Path, connections: usize, bytes: u64) -> io::Result<Contents> {
    let mut capture = Capture::create(path)?;
    let overhead = 8 * 70 * connections as u64;
    let bytes_per_connection = bytes.saturating_sub(overhead) / connections as u64;
    let mut left = connections;
    while left > 0 {
        let open = left.min(MOST_OPEN);
        let first = connections - left;
        let goal = capture.contents.bytes + bytes_per_connection * open as u64;
        capture.sessions(first..first + open, goal)?;
        left -= open;
    }
    capture.file.flush()?;
    Ok(capture.contents)
}

struct Capture {
    file: BufWriter<File>,
    contents: Contents,
    micros: u64,
    random: u64,
}

/// A connection: the next sequence numbers of both sides.
struct Connection {
    port: u16,
    client: [u8; 4],
    seq: [u32; 2],
}

impl Capture {
    fn create(path: &Path) -> io::Result<Capture> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
        header
            .iter()
            .try_for_each(|n| file.write_all(&n.to_le_bytes()))?;
        Ok(Capture {
            file,
            contents: Contents {
                bytes: 24,
                ..Contents::default()
            },
            micros: 1_700_000_000_000_000,
            random: 0x9e37_79b9_7f4a_7c15,
        })
    }

    /// Opens connections, lets each send a line in turn, once at least and until the file has `goal` bytes, and
    /// closes them.
    fn sessions(&mut self, numbers: std::ops::Range<usize>, goal: u64) -> io::Result<()> {
        let mut open: Vec<Connection> = numbers.map(Connection::new).collect();
        for connection in &mut open {
            self.packet(connection, 0, SYN, &[])?;
            self.packet(connection, 1, SYN | ACK, &[])?;
            self.packet(connection, 0, ACK, &[])?;
        }
        let mut line = Vec::new();
        loop {
            for connection in &mut open {
                self.fill(&mut line);
                self.packet(connection, 0, PSH | ACK, &line)?;
                self.packet(connection, 1, PSH | ACK, &line)?;
                self.packet(connection, 0, ACK, &[])?;
                self.contents.lines += 1;
            }
            if self.contents.bytes >= goal {
                break;
            }
        }
        for connection in &mut open {
            self.packet(connection, 0, FIN | ACK, &[])?;
            self.packet(connection, 1, FIN | ACK, &[])?;
            self.packet(connection, 0, ACK, &[])?;
        }
        Ok(())
    }

    /// A line of 16 to 79 bytes.
    fn fill(&mut self, line: &mut Vec<u8>) {
        let len = 16 + self.next() as usize % 64;
        line.clear();
        while line.len() + 1 < len {
            let bytes = self.next().to_le_bytes();
            let missing = len - 1 - line.len();
            line.extend(bytes.iter().take(missing).map(|byte| b'a' + byte % 26));
        }
        line.push(b'\n');
    }

    /// xorshift64, Marsaglia 2003.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn packet(
        &mut self,
        connection: &mut Connection,
        from: usize,
        flags: u8,
        payload: &[u8],
    ) -> io::Result<()> {
        self.micros += 10;
        let millis = (self.micros / 1000) as u32;
        let frame = connection.frame(from, flags, millis, payload);
        let len = frame.len() as u32;
        let seconds = (self.micros / 1_000_000) as u32;
        let record = [seconds, (self.micros % 1_000_000) as u32, len, len];
        record
            .iter()
            .try_for_each(|n| self.file.write_all(&n.to_le_bytes()))?;
        self.file.write_all(&frame)?;
        self.contents.packets += 1;
        self.contents.bytes += 16 + u64::from(len);
        Ok(())
    }
}

impl Connection {
    fn new(number: usize) -> Connection {
        let host = (number / 50_000) as u8;
        Connection {
            port: 10_000 + (number % 50_000) as u16,
            client: [10, 0, 1, 1 + host],
            seq: [1000, 5000],
        }
    }

    /// The next Ethernet frame of one side. Checksums are 0, as nothing reads them.
    fn frame(&mut self, from: usize, flags: u8, millis: u32, payload: &[u8]) -> Vec<u8> {
        const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 3000);
        let mut ends = [(self.client, self.port), SERVER];
        ends.rotate_left(from);
        let [(src, src_port), (dst, dst_port)] = ends;
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        let options = options(flags, millis);
        let header_len = 20 + options.len();
        frame.extend((20 + header_len as u16 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(src.iter().chain(&dst));
        frame.extend(src_port.to_be_bytes());
        frame.extend(dst_port.to_be_bytes());
        frame.extend(self.seq[from].to_be_bytes());
        let ack = if flags & ACK > 0 {
            self.seq[1 - from]
        } else {
            0
        };
        frame.extend(ack.to_be_bytes());
        frame.extend([(header_len as u8) << 2, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(options);
        frame.extend(payload);
        let taken = payload.len() as u32 + u32::from(flags & (SYN | FIN) > 0);
        self.seq[from] = self.seq[from].wrapping_add(taken);
        frame
    }
}

/// As Linux sends them: timestamps in each packet, and in a SYN MSS, SACK and window scale.
fn options(flags: u8, millis: u32) -> Vec<u8> {
    const SYN_OPTIONS: [u8; 10] = [2, 4, 5, 180, 4, 2, 1, 3, 3, 7];
    let mut options = if flags & SYN > 0 {
        SYN_OPTIONS.to_vec()
    } else {
        vec![1, 1]
    };
    options.extend([8, 10]);
    options.extend(millis.to_be_bytes());
    options.extend(millis.wrapping_sub(1).to_be_bytes());
    options
}
