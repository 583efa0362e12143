//! An independent reading of the specification (haproxy, doc/proxy-protocol.txt), with its
//! words, for the tests: section 2.1 for version 1, 2.2 for version 2.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Header;

/// The header at the beginning of a stream that has ended.
pub(super) fn oracle(stream: &[u8]) -> Option<Header> {
    match stream.strip_prefix(b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A") {
        Some(rest) => v2(rest),
        None => v1(stream),
    }
}

/// "One line of US-ASCII text matching exactly the following block".
fn v1(stream: &[u8]) -> Option<Header> {
    let first_107 = stream.iter().take(107).copied().collect::<Vec<_>>();
    let crlf = first_107.windows(2).position(|pair| pair == b"\r\n")?;
    let len = crlf + 2;
    let words: Vec<&[u8]> = stream[..crlf].split(|&byte| byte == b' ').collect();
    let address: fn(&[u8]) -> Option<IpAddr> = match *words.get(1)? {
        // "The receiver must ignore anything presented before the CRLF".
        b"UNKNOWN" => return (words[0] == b"PROXY").then_some(Header { client: None, len }),
        b"TCP4" => |word| Some(IpAddr::from(ipv4(word)?)),
        b"TCP6" => |word| Some(ipv6(word)?.to_canonical()),
        _ => return None,
    };
    if words.len() != 6 || words[0] != b"PROXY" {
        return None;
    }
    address(words[3])?;
    decimal(words[5], 65535)?;
    let port = u16::try_from(decimal(words[4], 65535)?).unwrap();
    let client = Some(SocketAddr::new(address(words[2])?, port));
    Some(Header { client, len })
}

/// "A decimal integer in the range", "heading zeroes are not permitted".
fn decimal(digits: &[u8], max: u32) -> Option<u32> {
    let has_heading_zero = digits.len() > 1 && digits[0] == b'0';
    if digits.is_empty() || digits.len() > 5 || has_heading_zero {
        return None;
    }
    let value = digits.iter().try_fold(0, |value, digit| {
        let is_digit = digit.is_ascii_digit();
        is_digit.then(|| 10 * value + u32::from(digit - b'0'))
    })?;
    (value <= max).then_some(value)
}

/// "Exactly 4 integers in the range [0..255]", "exactly one dot between each other".
fn ipv4(word: &[u8]) -> Option<[u8; 4]> {
    let integers = word.split(|&byte| byte == b'.');
    let bytes: Option<Vec<u8>> = integers
        .map(|digits| decimal(digits, 255).map(|value| u8::try_from(value).unwrap()))
        .collect();
    bytes?.try_into().ok()
}

/// "Sets of 4 hexadecimal digits", "one double colon sequence to replace" zeroes, "exactly
/// 128" bits. The last two may be an IPv4 address, as `inet_ntop` writes mapped ones.
fn ipv6(word: &[u8]) -> Option<Ipv6Addr> {
    let double_colon = word.windows(2).position(|pair| pair == b"::");
    let (left, right) = match double_colon {
        Some(at) => (sets(&word[..at], false)?, sets(&word[at + 2..], true)?),
        None => (vec![], sets(word, true)?),
    };
    let sets = left.len() + right.len();
    if (double_colon.is_some() && sets > 7) || (double_colon.is_none() && sets != 8) {
        return None;
    }
    let all: [u16; 8] = [left, vec![0; 8 - sets], right].concat().try_into().ok()?;
    Some(Ipv6Addr::from(all))
}

/// The sets in a part of an address; the last part may end with an IPv4 address.
fn sets(part: &[u8], is_last: bool) -> Option<Vec<u16>> {
    if part.is_empty() {
        return Some(vec![]);
    }
    let words: Vec<&[u8]> = part.split(|&byte| byte == b':').collect();
    let mut sets = Vec::new();
    for (words_left, word) in (0..words.len()).rev().zip(words) {
        match ipv4(word) {
            Some([a, b, c, d]) if is_last && words_left == 0 => {
                sets.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            }
            _ => sets.push(set(word)?),
        }
    }
    Some(sets)
}

fn set(word: &[u8]) -> Option<u16> {
    let is_set = (1..=4).contains(&word.len()) && word.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(word).ok().filter(|_| is_set)?;
    u16::from_str_radix(digits, 16).ok()
}

/// What follows the signature. "The length of the protocol header in bytes is always
/// exactly 16 + this value." Combinations of family and protocol that the specification
/// does not list may be rejected, and are.
fn v2(rest: &[u8]) -> Option<Header> {
    let (&[version_command, family_protocol, high, low], rest) = rest.split_first_chunk()?;
    let address_len = 256 * usize::from(high) + usize::from(low);
    let len = 16 + address_len;
    let block = rest.get(..address_len).filter(|_| len <= 4096)?;
    let (version, command) = (version_command / 16, version_command % 16);
    let client = match (version, command, family_protocol) {
        (2, 0, _) | (2, 1, 0x00) => None,
        (2, 1, 0x11 | 0x12) => {
            let (ip, ports) = block.get(..12)?.split_first_chunk::<4>()?;
            Some((IpAddr::from(*ip), &ports[4..]))
        }
        (2, 1, 0x21 | 0x22) => {
            let (ip, ports) = block.get(..36)?.split_first_chunk::<16>()?;
            Some((Ipv6Addr::from(*ip).to_canonical(), &ports[16..]))
        }
        (2, 1, 0x31 | 0x32) => block.get(..216).map(|_| None)?,
        _ => return None,
    };
    let client =
        client.map(|(ip, ports)| (ip, 256 * u16::from(ports[0]) + u16::from(ports[1])).into());
    Some(Header { client, len })
}
