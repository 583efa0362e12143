//! The PROXY protocol header before the first line, versions 1 and 2. Pure: no I/O.
//!
//! A proxy names the client that it connects (haproxy, doc/proxy-protocol.txt).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memchr;
use proxy_header::{ParseConfig, ProxyHeader};

/// How long a header may take, from the accept to its last byte.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest header in bytes. It fits the smallest MSS, and has the longest addresses
/// and more than 300 bytes of TLVs.
pub(crate) const MAX_HEADER_LEN: usize = 536;

/// The longest header of version 1, line end included.
const MAX_V1_LEN: usize = 107;

/// How a header of version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";

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
    /// The header took longer than [`HEADER_TIMEOUT`].
    Timeout,
}

/// Decodes the header at the beginning of `bytes`; `None` if it is not complete yet.
/// `MAX_HEADER_LEN` bytes are a complete header or an error.
///
/// # Errors
///
/// As soon as `bytes` cannot become a header that is short enough.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(len) = header_len(bytes)? else {
        return Ok(None);
    };
    let client = parse(&bytes[..len])?;
    Ok(Some(Header { client, len }))
}

/// The length of the header at the beginning of `bytes`, if all of it is there.
fn header_len(bytes: &[u8]) -> Result<Option<usize>, HeaderError> {
    if may_begin_with(V1_PREFIX, bytes) {
        let shortened = &bytes[..bytes.len().min(MAX_V1_LEN)];
        return match memchr(b'\n', shortened) {
            Some(lf) => Ok(Some(lf + 1)),
            None if bytes.len() < MAX_V1_LEN => Ok(None),
            None => Err(HeaderError::TooLong),
        };
    }
    if !may_begin_with(V2_SIGNATURE, bytes) {
        return Err(HeaderError::Malformed);
    }
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_LEN) else {
        return Ok(None);
    };
    let rest_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if V2_FIXED_LEN + rest_len > MAX_HEADER_LEN {
        return Err(HeaderError::TooLong);
    }
    Ok((rest.len() >= rest_len).then_some(V2_FIXED_LEN + rest_len))
}

/// Whether `bytes`, or what they may become, begin with `prefix`.
fn may_begin_with(prefix: &[u8], bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(prefix)
        .all(|(byte, wanted)| byte == wanted)
}

/// The client that a complete header names. An IPv4 address that IPv6 maps
/// (`::ffff:192.0.2.1`) is that IPv4 address.
fn parse(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    // LOCAL: "discard the protocol block including the family which is ignored".
    if header.get(V2_SIGNATURE.len()) == Some(&V2_LOCAL) {
        return Ok(None);
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, _) = ProxyHeader::parse(header, config).map_err(|_| HeaderError::Malformed)?;
    Ok(header.proxied_address().map(|addresses| {
        let (ip, port) = (addresses.source.ip(), addresses.source.port());
        SocketAddr::new(ip.to_canonical(), port)
    }))
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
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            b"PROXY UNKNOWN\n",
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
    fn a_header_of_536_bytes_is_accepted_and_a_longer_one_refused_by_its_length() {
        let longest = v2(0x20, 0, &[0; MAX_HEADER_LEN - V2_FIXED_LEN]);
        assert_eq!(client_of(&longest), None);
        let longer = v2(0x20, 0, &[0; MAX_HEADER_LEN - V2_FIXED_LEN + 1]);
        assert_eq!(decode(&longer[..V2_FIXED_LEN]), Err(HeaderError::TooLong));
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
                Just(V2_SIGNATURE.to_vec()), Just(vec![])
            ],
            rest in vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(0x21)], 0..MAX_HEADER_LEN),
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
            prop_assert!(decided.is_some() || bytes.len() < MAX_HEADER_LEN);
        }
    }
}
