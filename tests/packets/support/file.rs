//! pcap and pcapng files.

/// A pcap file of a link type, as tcpdump writes it.
pub fn pcap(link_type: u32, frames: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut file = Pcap::new(link_type);
    for (time, frame) in frames {
        file.record(*time, frame, frame.len());
    }
    file.bytes
}

/// Numbers in a byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    pub fn u16(self, number: u16) -> [u8; 2] {
        if self == Order::Big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    pub fn u32(self, number: u32) -> [u8; 4] {
        if self == Order::Big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    pub fn u64(self, number: u64) -> [u8; 8] {
        if self == Order::Big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }
}

/// What a pcap file is like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub order: Order,
    pub magic: u32,
    pub minor: u16,
    pub snaplen: u32,
    pub link: u32,
}

pub const MICROSECONDS: u32 = 0xa1b2_c3d4;
pub const NANOSECONDS: u32 = 0xa1b2_3c4d;
pub const KUZNETZOV: u32 = 0xa1b2_cd34;

pub struct Pcap {
    kind: Kind,
    pub bytes: Vec<u8>,
}

impl Pcap {
    pub fn new(link: u32) -> Pcap {
        Pcap::of(Kind {
            order: Order::Little,
            magic: MICROSECONDS,
            minor: 4,
            snaplen: 262_144,
            link,
        })
    }

    pub fn of(kind: Kind) -> Pcap {
        let mut bytes = Vec::new();
        bytes.extend(kind.order.u32(kind.magic));
        bytes.extend(kind.order.u16(2));
        bytes.extend(kind.order.u16(kind.minor));
        bytes.extend([0; 8]);
        bytes.extend(kind.order.u32(kind.snaplen));
        bytes.extend(kind.order.u32(kind.link));
        Pcap { kind, bytes }
    }

    pub fn record(&mut self, time: i64, frame: &[u8], original: usize) {
        let order = self.kind.order;
        let unit = if self.kind.magic == NANOSECONDS {
            1
        } else {
            1000
        };
        let numbers = [time / 1_000_000_000, time % 1_000_000_000 / unit];
        for number in numbers {
            self.bytes.extend(order.u32(u32::try_from(number).unwrap()));
        }
        let lens = [frame.len(), original].map(|len| order.u32(u32::try_from(len).unwrap()));
        let lens = if self.kind.minor == 3 {
            [lens[1], lens[0]]
        } else {
            lens
        };
        self.bytes.extend(lens.concat());
        if self.kind.magic == KUZNETZOV {
            self.bytes.extend(order.u32(2));
            self.bytes.extend([0; 4]);
        }
        self.bytes.extend(frame);
    }
}

/// A pcapng file, which begins with a section.
pub struct Pcapng {
    order: Order,
    pub bytes: Vec<u8>,
}

impl Pcapng {
    pub fn new(order: Order) -> Pcapng {
        let bytes = Vec::new();
        let mut file = Pcapng { order, bytes };
        file.section(order);
        file
    }

    pub fn section(&mut self, order: Order) {
        self.order = order;
        let mut body = order.u32(0x1a2b_3c4d).to_vec();
        body.extend(order.u16(1));
        body.extend(order.u16(0));
        body.extend(order.u64(u64::MAX));
        self.block(0x0a0d_0d0a, &body);
    }

    /// Pads the body.
    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let len = u32::try_from(12 + body.len().next_multiple_of(4)).unwrap();
        self.bytes.extend(self.order.u32(kind));
        self.bytes.extend(self.order.u32(len));
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(self.order.u32(len));
    }

    fn options(&self, body: &mut Vec<u8>, options: &[(u16, &[u8])]) {
        for (code, value) in options {
            body.extend(self.order.u16(*code));
            body.extend(self.order.u16(u16::try_from(value.len()).unwrap()));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
    }

    pub fn interface(&mut self, link_type: u16, snaplen: u32, options: &[(u16, &[u8])]) {
        let mut body = self.order.u16(link_type).to_vec();
        body.extend([0; 2]);
        body.extend(self.order.u32(snaplen));
        self.options(&mut body, options);
        self.block(1, &body);
    }

    /// A time, in units of the interface.
    pub fn packet(&mut self, interface: u32, ticks: u64, frame: &[u8], original: usize) {
        let mut body = self.order.u32(interface).to_vec();
        self.time_and_frame(&mut body, ticks, frame, original);
        // A comment that is no UTF-8.
        self.options(&mut body, &[(1, b"\xff\xfe\x80")]);
        self.block(6, &body);
    }

    pub fn obsolete_packet(&mut self, interface: u16, ticks: u64, frame: &[u8]) {
        let mut body = self.order.u16(interface).to_vec();
        body.extend(self.order.u16(3)); // Drops.
        self.time_and_frame(&mut body, ticks, frame, frame.len());
        self.block(2, &body);
    }

    fn time_and_frame(&self, body: &mut Vec<u8>, ticks: u64, frame: &[u8], original: usize) {
        for half in [ticks >> 32, ticks & 0xffff_ffff] {
            body.extend(self.order.u32(u32::try_from(half).unwrap()));
        }
        for len in [frame.len(), original] {
            body.extend(self.order.u32(u32::try_from(len).unwrap()));
        }
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
    }

    pub fn simple_packet(&mut self, frame: &[u8], original: usize) {
        let mut body = self.order.u32(u32::try_from(original).unwrap()).to_vec();
        body.extend(frame);
        self.block(3, &body);
    }

    pub fn statistics(&mut self, end: u64, dropped: u64) {
        let mut body = self.order.u32(0).to_vec();
        body.extend([0; 8]);
        let [high, low] = [end >> 32, end & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
        let end = [self.order.u32(high), self.order.u32(low)].concat();
        let dropped = self.order.u64(dropped);
        self.options(&mut body, &[(3, &end), (5, &dropped)]);
        self.block(5, &body);
    }
}
