//! The PROXY protocol header before the first line, versions 1 and 2. Pure: no I/O.
//!
//! A proxy names the client that it connects (haproxy, doc/proxy-protocol.txt).

#[cfg(test)]
mod oracle;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use memchr::{memchr, memmem};
use proxy_header::{ParseConfig, ProxyHeader};

/// The longest header in bytes, as nginx has it (`NGX_PROXY_PROTOCOL_MAX_HEADER`). With all
/// of its options, haproxy sends 568.
pub(crate) const MAX_HEADER_LEN: usize = 4096;

/// The longest header of version 1, line end included: "If the CRLF sequence is not found in
/// the first 107 characters, the receiver should declare the line invalid."
const MAX_V1_LEN: usize = 107;

/// How a header of version 1 begins. What else follows UNKNOWN is ignored.
const V1_TCP: [&[u8]; 2] = [b"PROXY TCP4 ", b"PROXY TCP6 "];
const V1_UNKNOWN: [&[u8]; 2] = [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN "];

/// How a header of version 2 begins. Version and command, address family, and the length
/// of what follows take four bytes more.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_LEN: usize = V2_SIGNATURE.len() + 4;

/// Version 2 and the command LOCAL.
const V2_LOCAL: u8 = 0x20;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client, if the header names one by an IP address.
    pub client: Option<SocketAddr>,
    /// Bytes of the header. Lines follow.
    pub len: usize,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The bytes are not a header.
    Malformed,
    /// The header is longer than it may be.
    TooLong,
    /// The stream ended before the header did.
    Incomplete,
    /// The header took longer than [`proxy_timeout`](crate::Config::proxy_timeout).
    Timeout,
}

/// Decodes the header at the beginning of `bytes`; `None` if it is not complete yet.
/// `MAX_HEADER_LEN` bytes are a complete header or an error.
///
/// # Errors
///
/// As soon as `bytes` cannot become a header that is short enough.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let may_begin_with = |start: &&[u8]| bytes.iter().zip(*start).all(|(a, b)| a == b);
    if may_begin_with(&V2_SIGNATURE) {
        decode_v2(bytes)
    } else if V1_TCP.iter().any(may_begin_with) {
        decode_v1_tcp(bytes)
    } else if V1_UNKNOWN.iter().any(may_begin_with) {
        Ok(v1_len(bytes)?.map(|len| Header { client: None, len }))
    } else {
        Err(HeaderError::Malformed)
    }
}

/// The length of a header of version 1, up to the first CRLF, if all of it is there.
fn v1_len(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    let line = &bytes[..bytes.len().min(MAX_V1_LEN)];
    match memmem::find(line, b"\r\n") {
        Some(crlf) => Ok(Some(crlf + 2)),
        None if line.len() < MAX_V1_LEN => Ok(None),
        None => Err(HeaderError::TooLong),
    }
}

/// Decodes a header of version 1 with addresses. No line end other than CRLF is in it.
fn decode_v1_tcp(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let lf = memchr(b'\n', &bytes[..bytes.len().min(MAX_V1_LEN)]);
    if lf.is_some_and(|lf| !bytes[..lf].ends_with(b"\r")) {
        return Err(HeaderError::Malformed);
    }
    let Some(len) = v1_len(bytes)? else {
        return Ok(None);
    };
    let client = Some(v1_client(&bytes[..len]).ok_or(HeaderError::Malformed)?);
    Ok(Some(Header { client, len }))
}

/// The client of a header of version 1 with addresses, if it is well-formed. The crate is
/// not used for it, as it takes `+80` and `00080` for ports.
fn v1_client(header: &[u8]) -> Option<SocketAddr> {
    let line = str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, family, client, server, client_port, server_port] = fields[..] else {
        return None;
    };
    let [client, server]: [IpAddr; 2] = [client.parse().ok()?, server.parse().ok()?];
    let [client_port, _] = [v1_port(client_port)?, v1_port(server_port)?];
    let is_of_family = |ip: IpAddr| ip.is_ipv4() == (family == "TCP4");
    (is_of_family(client) && is_of_family(server)).then(|| named(client, client_port))
}

/// A port without a sign or "heading zeroes".
fn v1_port(text: &str) -> Option<u16> {
    let port = text.parse::<u16>().ok();
    port.filter(|port| port.to_string() == text)
}

fn decode_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(len) = v2_len(bytes)? else {
        return Ok(None);
    };
    let client = v2_client(&bytes[..len])?;
    Ok(Some(Header { client, len }))
}

/// The length of a header of version 2, if all of it is there.
fn v2_len(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_LEN) else {
        return Ok(None);
    };
    let rest_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if V2_FIXED_LEN + rest_len > MAX_HEADER_LEN {
        return Err(HeaderError::TooLong);
    }
    Ok((rest.len() >= rest_len).then_some(V2_FIXED_LEN + rest_len))
}

/// The client of a header of version 2, if it names one by an IP address.
fn v2_client(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    // LOCAL: "discard the protocol block including the family which is ignored".
    if header[V2_SIGNATURE.len()] == V2_LOCAL {
        return Ok(None);
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, _) = ProxyHeader::parse(header, config).map_err(|_| HeaderError::Malformed)?;
    let source = header.proxied_address().map(|addresses| addresses.source);
    Ok(source.map(|source| named(source.ip(), source.port())))
}

/// The address of a client. An IPv4 address that IPv6 maps (`::ffff:192.0.2.1`) is that
/// IPv4 address.
fn named(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderError::Malformed => "malformed",
            HeaderError::TooLong => "too long",
            HeaderError::Incomplete => "incomplete",
            HeaderError::Timeout => "timeout",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::oracle::oracle;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::property;

    /// A header of version 2.
    fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_and_command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend_from_slice(rest);
        header
    }

    /// The addresses and ports of a header of version 2.
    fn v2_addresses(client: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
        let (family, [mut client_ip, mut server_ip]) = match client {
            SocketAddr::V4(v4) => (0x11, [v4.ip().octets().to_vec(), vec![10, 0, 0, 1]]),
            SocketAddr::V6(v6) => (0x21, [v6.ip().octets().to_vec(), vec![1; 16]]),
        };
        client_ip.append(&mut server_ip);
        client_ip.extend(client.port().to_be_bytes());
        client_ip.extend([11, 184]);
        client_ip.extend_from_slice(tlvs);
        v2(0x21, family, &client_ip)
    }

    fn v1(client: SocketAddr) -> Vec<u8> {
        let (family, server) = match client {
            SocketAddr::V4(_) => ("TCP4", "10.0.0.1"),
            SocketAddr::V6(_) => ("TCP6", "2001:db8::1"),
        };
        let (ip, port) = (client.ip(), client.port());
        format!("PROXY {family} {ip} {server} {port} 3000\r\n").into_bytes()
    }

    /// Decodes what is a header and nothing else.
    fn client_of(header: &[u8]) -> Option<SocketAddr> {
        let decoded = decode(header).unwrap().expect("complete");
        assert_eq!(decoded.len, header.len());
        decoded.client
    }

    #[test]
    fn version_1_names_the_client() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        assert_eq!(client_of(header), Some("192.0.2.1:56324".parse().unwrap()));
        let header = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        assert_eq!(client_of(header), Some("[2001:db8::1]:1".parse().unwrap()));
    }

    #[test]
    fn the_longest_header_of_version_1_is_accepted() {
        let words = "f".repeat(MAX_V1_LEN - "PROXY UNKNOWN \r\n".len());
        let header = format!("PROXY UNKNOWN {words}\r\n");
        assert_eq!(client_of(header.as_bytes()), None);
        let header = format!("PROXY UNKNOWN {words}f\r\n");
        assert_eq!(decode(header.as_bytes()), Err(HeaderError::TooLong));
    }

    #[test]
    fn a_mapped_address_is_that_of_ipv4() {
        let header = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 7 8\r\n";
        assert_eq!(client_of(header), Some("192.0.2.1:7".parse().unwrap()));
    }

    #[test]
    fn unknown_local_and_unix_name_no_client() {
        assert_eq!(client_of(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(client_of(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), None);
        assert_eq!(client_of(b"PROXY UNKNOWN any\nbytes\r\xff\r\r\n"), None);
        assert_eq!(client_of(&v2(0x20, 0x00, b"")), None);
        assert_eq!(client_of(&v2(0x20, 0x11, b"ignored")), None);
        assert_eq!(client_of(&v2(0x21, 0x00, b"")), None);
        assert_eq!(client_of(&v2(0x21, 0x31, &[b'/'; 216])), None);
    }

    #[test]
    fn what_is_no_header_is_malformed() {
        for bytes in [
            &b"hello\n"[..],
            b"\n",
            b"P\r\n",
            b"PROXY\r\n",
            b"PROXYxUNKNOWN\r\n",
            b"PROXY \r\n",
            b"PROXY HELLO! x\n",
            b"PROXY UNKNOWNx",
            b"PROXY UNKNOWN\rx",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1 2 3 4\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +80 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 00080\r\n",
            b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
            b"PROXY TCP6 ::1 ::2 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"\r\n\r\n\0\r\nQUIT\r",
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x51, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 12]),
        ] {
            let shown = bytes.escape_ascii();
            assert_eq!(decode(bytes), Err(HeaderError::Malformed), "{shown}");
        }
    }

    #[test]
    fn a_header_of_4096_bytes_is_accepted_and_a_longer_one_refused_by_its_length() {
        let longest = v2(0x20, 0, &[0; MAX_HEADER_LEN - V2_FIXED_LEN]);
        assert_eq!(client_of(&longest), None);
        let longer = v2(0x20, 0, &[0; MAX_HEADER_LEN - V2_FIXED_LEN + 1]);
        assert_eq!(decode(&longer[..V2_FIXED_LEN]), Err(HeaderError::TooLong));
    }

    #[test]
    fn every_version_command_family_and_protocol_is_read_as_the_specification_says() {
        let block: Vec<u8> = (0..217_u8).map(|i| 251 - i).collect();
        for [version_and_command, family] in (0..=u16::MAX).map(u16::to_be_bytes) {
            for len in [0, 11, 12, 35, 36, 215, 216, 217] {
                let header = v2(version_and_command, family, &block[..len]);
                let decoded = decode(&header);
                assert_eq!(decoded.ok().flatten(), oracle(&header), "{decoded:?}");
                assert_ne!(decoded, Ok(None), "it is complete");
            }
        }
    }

    /// One of the texts in `good`, or now and then one of those in `bad`.
    fn mostly(good: &'static str, bad: &'static str) -> impl Strategy<Value = &'static str> {
        let choose = |texts: &'static str| {
            let texts: Vec<&str> = texts.split('|').collect();
            proptest::sample::select(texts)
        };
        prop_oneof![20 => choose(good), 1 => choose(bad)]
    }

    fn space() -> impl Strategy<Value = &'static str> {
        mostly(" ", "|  |\t| \r\n |\n")
    }

    fn ipv4() -> impl Strategy<Value = &'static str> {
        let good = "192.0.2.1|0.0.0.0|255.255.255.255|10.20.30.40";
        mostly(good, "1.2.3|1.2.3.4.5|1.2.3.256|1.2.3.04|1.2.3.+4|1||::1")
    }

    fn ipv6() -> impl Strategy<Value = &'static str> {
        let good = "::|::1|2001:db8::1|1:2:3:4:5:6:7:8|1:2:3:4:5:6:7::|::2:3:4:5:6:7:8|\
            FFFF:ffff:0000:0001:0:00:1:f|::ffff:192.0.2.1|1:2:3:4:5:6:7.8.9.10|::1.2.3.4";
        let bad = "1::2::3|12345::|1:2:3:4:5:6:7|1:2:3:4:5:6:7:8:9|1:2:3:4:5:6:7::8|:::|:1|1:|\
            fe80::1%1|[::1]|1.2.3.4::|::1.2.3.4:5|1.2.3.4|::g|::+1";
        mostly(good, bad)
    }

    fn port() -> impl Strategy<Value = &'static str> {
        mostly("0|80|65535", "+80|00080|65536|-1||1x|99999999999")
    }

    /// The text of a header of version 1, or of something close to it.
    fn v1_text() -> impl Strategy<Value = String> {
        let family_and_ips = prop_oneof![
            (mostly("TCP4", "TCP6|UDP4|tcp4"), ipv4(), ipv4()).boxed(),
            (mostly("TCP6", "TCP4|UDP6|"), ipv6(), ipv6()).boxed(),
            (mostly("UNKNOWN", "UNKNOWNxyz|unknown"), ipv6(), ipv4()).boxed(),
        ];
        let start = mostly("PROXY", "proxy|PROXYX| PROXY|PROX");
        let end = mostly("\r\n", "\n|\r|\r\r\n| \r\n| 1\r\n|");
        let spaces = vec(space(), 5);
        (start, family_and_ips, port(), port(), end, spaces).prop_map(
            |(start, (family, client, server), from, to, end, spaces)| {
                let words = [start, family, client, server, from];
                let words = words
                    .iter()
                    .zip(spaces)
                    .map(|(word, space)| [*word, space].concat());
                format!("{}{to}{end}", words.collect::<String>())
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_text_is_a_header_of_version_1_if_the_specification_says_so(
            text in v1_text(),
            edit in proptest::option::weighted(0.2, (any::<proptest::sample::Index>(), any::<u8>())),
            rest in vec(any::<u8>(), 0..8),
        ) {
            let mut stream = text.into_bytes();
            if let Some((index, byte)) = edit {
                *index.get_mut(&mut stream) = byte;
            }
            stream.extend(rest);
            prop_assert_eq!(decode(&stream).ok().flatten(), oracle(&stream));
        }
    }

    fn tlvs() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..400)
    }

    proptest! {
        #![proptest_config(property::config(200))]

        /// Each header, cut anywhere, is incomplete; and what follows changes nothing.
        #[test]
        fn a_header_is_complete_with_its_last_byte(
            addr in any::<SocketAddr>(), tlvs in tlvs(), rest in vec(any::<u8>(), 0..200)
        ) {
            let named = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            for header in [v1(addr), v2_addresses(addr, &tlvs)] {
                for cut in 0..header.len() {
                    prop_assert_eq!(decode(&header[..cut]), Ok(None));
                }
                let complete = Header { client: Some(named), len: header.len() };
                let bytes = [header, rest.clone()].concat();
                prop_assert_eq!(decode(&bytes), Ok(Some(complete)));
            }
        }

        /// An error or a header that is found early is the same with more bytes.
        #[test]
        fn more_bytes_change_no_result(
            start in prop_oneof![
                Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 ".to_vec()),
                Just(b"PROXY UNKNOWN ".to_vec()), Just(V2_SIGNATURE.to_vec()), Just(vec![])
            ],
            rest in vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(0x21)], 0..300),
        ) {
            let bytes = [start, rest].concat();
            let mut decided = None;
            for len in 0..=bytes.len() {
                let result = decode(&bytes[..len]);
                if let Some(earlier) = decided {
                    prop_assert_eq!(result, earlier);
                } else if result != Ok(None) {
                    decided = Some(result);
                }
            }
        }
    }
}
