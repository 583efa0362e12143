//! The filters and commands of `docs/wireshark.md`, tried on packets that tell the right
//! ones from those that only look right.

use std::process::{self, Command};
use std::{env, fs};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

const FIN: u16 = 0x001;
const SYN: u16 = 0x002;
const PSH: u16 = 0x008;
const ACK: u16 = 0x010;
/// The bits of `AccECN` in the handshake; later they are a counter (RFC 9768).
const ECE: u16 = 0x040;
const CWR: u16 = 0x080;
const AE: u16 = 0x100;

const CLIENT: u16 = 40_000;
const SERVER: u16 = 3000;

/// A packet of one connection. Sequence numbers are relative, as Wireshark shows them.
struct Packet {
    milliseconds: u32,
    from: u16,
    flags: u16,
    seq: u32,
    ack: u32,
    window: u16,
    data: &'static [u8],
}

/// A packet without data.
fn packet(milliseconds: u32, from: u16, flags: u16, seq: u32, ack: u32) -> Packet {
    Packet {
        milliseconds,
        from,
        flags,
        seq,
        ack,
        window: 1000,
        data: b"",
    }
}

impl Packet {
    fn with_data(self, data: &'static [u8]) -> Packet {
        Packet { data, ..self }
    }

    fn with_window(self, window: u16) -> Packet {
        Packet { window, ..self }
    }

    /// An Ethernet frame with an IPv4 packet from 127.0.0.1 to 127.0.0.1. Checksums are 0.
    fn frame(&self) -> Vec<u8> {
        let to = if self.from == CLIENT { SERVER } else { CLIENT };
        let len = u16::try_from(40 + self.data.len()).unwrap();
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0x00]);
        frame.extend(len.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        for number in [self.from, to] {
            frame.extend(number.to_be_bytes());
        }
        for number in [self.seq, self.ack] {
            frame.extend(number.to_be_bytes());
        }
        for number in [5 << 12 | self.flags, self.window, 0, 0] {
            frame.extend(number.to_be_bytes());
        }
        frame.extend(self.data);
        frame
    }
}

/// The three packets of a handshake, whose numbers are 1 to 3.
fn handshake() -> Vec<Packet> {
    vec![
        packet(0, CLIENT, SYN, 0, 0),
        packet(1, SERVER, SYN | ACK, 0, 1),
        packet(2, CLIENT, ACK, 1, 1),
    ]
}

/// A pcap file.
fn file(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.extend(u32::to_le_bytes(number));
    }
    for packet in packets {
        let frame = packet.frame();
        let len = u32::try_from(frame.len()).unwrap();
        let (seconds, rest) = (packet.milliseconds / 1000, packet.milliseconds % 1000);
        for number in [seconds, rest * 1000, len, len] {
            file.extend(number.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// The command of the page that contains `words`.
fn command(words: &str) -> String {
    let page = fs::read_to_string(format!("{REPOSITORY}/docs/wireshark.md")).unwrap();
    let mut commands = page.lines().filter_map(|line| line.strip_prefix("$ "));
    let command = commands.find(|command| command.contains(words));
    command.expect("a command with these words").to_owned()
}

/// What bash prints for `script`, by lines, with `$capture` as a file of the packets.
fn run(packets: &[Packet], script: &str) -> Vec<String> {
    let name = format!("wireshark-filters.{}.pcap", process::id());
    let capture = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&capture, file(packets)).unwrap();
    let output = Command::new("bash")
        .args(["-euc", &format!("set -o pipefail\n{script}")])
        .env("capture", &capture)
        // Not the user's settings.
        .env("WIRESHARK_CONFIG_DIR", "/no/such/directory")
        .output()
        .expect("bash is installed");
    fs::remove_file(&capture).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

/// The numbers of the packets that the display filter shows.
fn shown(packets: &[Packet], filter: &str) -> Vec<String> {
    let script = format!("tshark -r \"$capture\" -Y {filter} -T fields -e frame.number");
    run(packets, &script)
}

#[test]
#[ignore = "needs tshark"]
fn the_filter_for_pure_acks_shows_them_all_and_nothing_else() {
    let ace = AE | ECE;
    let packets = [
        packet(0, CLIENT, SYN | AE | CWR | ECE, 0, 0),
        packet(1, SERVER, SYN | ACK | CWR, 0, 1),
        packet(2, CLIENT, ACK | CWR, 1, 1),
        packet(10, CLIENT, PSH | ACK | ace, 1, 1).with_data(b"hi\n"),
        packet(11, SERVER, PSH | ACK | ace, 1, 4).with_data(b"hi\n"),
        packet(12, CLIENT, ACK | ace, 4, 4),
        // A keep-alive and its answer, and a window update.
        packet(60_012, CLIENT, ACK | ace, 3, 4),
        packet(60_013, SERVER, ACK | ace, 4, 4),
        packet(60_020, SERVER, ACK | ace, 4, 4).with_window(1400),
        packet(60_030, CLIENT, ACK | FIN, 4, 4),
        packet(60_031, SERVER, ACK, 4, 5).with_window(1400),
        packet(60_032, SERVER, ACK | FIN, 4, 5).with_window(1400),
        packet(60_033, CLIENT, ACK | ace, 5, 5),
    ];
    let filter = command("pure_acks='");
    let (_, filter) = filter.split_once('=').unwrap();
    assert_eq!(shown(&packets, filter), ["3", "6", "11", "13"]);
    // What looks right, and misses ACKs with AccECN or finds what acknowledges nothing.
    let naive = "'tcp.len == 0 and tcp.flags == 0x010'";
    assert_eq!(shown(&packets, naive), ["11"]);
    let masked = "'tcp.len == 0 and tcp.flags & 0x017 == 0x010'";
    let with_others = ["3", "6", "7", "8", "9", "11", "13"];
    assert_eq!(shown(&packets, masked), with_others);
}

#[test]
#[ignore = "needs tshark"]
fn the_command_for_data_sent_again_prints_what_passed_twice() {
    let mut packets = handshake();
    packets.extend([
        packet(10, CLIENT, PSH | ACK, 1, 1).with_data(b"one\n"),
        // The third line overtakes the second. Neither is sent again.
        packet(11, CLIENT, PSH | ACK, 9, 1).with_data(b"four\n"),
        packet(15, CLIENT, PSH | ACK, 5, 1).with_data(b"two\n"),
        packet(16, SERVER, PSH | ACK, 1, 14).with_data(b"one\ntwo\nfour\n"),
        packet(17, CLIENT, ACK, 14, 14),
        // An empty line is sent again, and so are two lines, in one segment.
        packet(20, CLIENT, PSH | ACK, 14, 14).with_data(b"\n"),
        packet(230, CLIENT, PSH | ACK, 14, 14).with_data(b"\n"),
        packet(231, SERVER, PSH | ACK, 14, 15).with_data(b"\n"),
        packet(240, CLIENT, PSH | ACK, 15, 15).with_data(b"a\n"),
        packet(241, CLIENT, PSH | ACK, 17, 15).with_data(b"b\n"),
        packet(460, CLIENT, PSH | ACK, 15, 15).with_data(b"a\nb\n"),
        packet(461, SERVER, PSH | ACK, 15, 19).with_data(b"a\nb\n"),
    ]);
    let script = command("uniq -d").replace("docs/captures/packet-per-line.pcap", "\"$capture\"");
    let twice = ["0\t40000\t14", "0\t40000\t15"];
    assert_eq!(run(&packets, &script), twice);
    // Wireshark's mark is on the overtaken line, which passed once, and not on the empty
    // line, which passed twice.
    let marked = shown(&packets, "tcp.analysis.retransmission");
    assert_eq!(marked, ["6", "14"]);
}

#[test]
#[ignore = "needs tshark"]
fn the_command_for_stalls_prints_the_packets_that_have_waited() {
    let mut packets = handshake();
    packets.extend([
        packet(10, CLIENT, PSH | ACK, 1, 1).with_data(b"hel"),
        packet(51, SERVER, ACK, 1, 4),
        packet(51, CLIENT, PSH | ACK, 4, 1).with_data(b"lo\n"), // 6
        packet(52, SERVER, PSH | ACK, 1, 7).with_data(b"hello\n"),
        // Late ACKs for which nothing waits.
        packet(93, CLIENT, ACK, 7, 7),
        packet(593, CLIENT, PSH | ACK, 7, 7).with_data(b"x\n"),
        packet(594, SERVER, PSH | ACK, 7, 9).with_data(b"x\n"),
        packet(595, CLIENT, ACK, 9, 9),
        packet(596, CLIENT, ACK | FIN, 9, 9),
        packet(637, SERVER, ACK, 9, 10),
    ]);
    let commands = ["stalled() {", "times='"].map(command).join("\n");
    let script = format!("{commands}\ntshark -r \"$capture\" $times | stalled");
    assert_eq!(run(&packets, &script), ["6"]);
    let late = shown(&packets, "'tcp.analysis.ack_rtt > 0.03'");
    assert_eq!(late, ["5", "8", "13"]);
}
