//! A TCP segment, and the frames that carry it.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u16 = 0x01;
pub const SYN: u16 = 0x02;
pub const RST: u16 = 0x04;
pub const PSH: u16 = 0x08;
pub const ACK: u16 = 0x10;

/// The option that offers an MSS of 1,460 bytes.
pub const MSS: &[u8] = &[2, 4, 0x05, 0xb4];

#[derive(Debug, Clone)]
pub struct Segment {
    /// Nanoseconds since 1970.
    pub time: i64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u16,
    pub window: u16,
    /// IPv4 identification.
    pub id: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Segment {
    pub fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let words = u16::try_from(5 + self.options.len() / 4).unwrap();
        tcp.extend((words << 12 | self.flags).to_be_bytes());
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.data);
        tcp
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        let tcp = self.tcp();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ipv4(6, self.id, 0, [from.octets(), to.octets()], &tcp)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(6, [from.octets(), to.octets()], &tcp),
            _ => panic!("two families"),
        }
    }

    pub fn is_ipv6(&self) -> bool {
        self.from.is_ipv6()
    }

    fn ether_type(&self) -> u16 {
        if self.is_ipv6() { 0x86dd } else { 0x0800 }
    }

    pub fn ethernet(&self) -> Vec<u8> {
        ethernet(self.ether_type(), &self.ip())
    }

    /// With the type of each tag, the outermost first.
    pub fn tagged(&self, tags: &[u16]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 7]);
        }
        frame.extend(self.ether_type().to_be_bytes());
        frame.extend(self.ip());
        frame
    }

    /// `LINKTYPE_LINUX_SLL`.
    pub fn sll(&self, direction: u16) -> Vec<u8> {
        let mut frame = direction.to_be_bytes().to_vec();
        frame.extend([0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(self.ether_type().to_be_bytes());
        frame.extend(self.ip());
        frame
    }

    /// `LINKTYPE_LINUX_SLL2`.
    pub fn sll2(&self, device: u32, direction: u8) -> Vec<u8> {
        let mut frame = self.ether_type().to_be_bytes().to_vec();
        frame.extend([0, 0]);
        frame.extend(device.to_be_bytes());
        frame.extend([0, 1, direction, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(self.ip());
        frame
    }
}

pub fn ethernet(ether_type: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(content);
    frame
}

/// `fragment` is the field with flags and offset.
pub fn ipv4(protocol: u8, id: u16, fragment: u16, addrs: [[u8; 4]; 2], content: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + content.len()).unwrap_or(0);
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend(id.to_be_bytes());
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, protocol, 0, 0]);
    ip.extend(addrs.concat());
    ip.extend(content);
    ip
}

pub fn ipv6(next: u8, addrs: [[u8; 16]; 2], content: &[u8]) -> Vec<u8> {
    let payload = u16::try_from(content.len()).unwrap_or(0);
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend(payload.to_be_bytes());
    ip.extend([next, 64]);
    ip.extend(addrs.concat());
    ip.extend(content);
    ip
}
