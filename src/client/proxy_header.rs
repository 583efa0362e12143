//! The PROXY protocol header that a client sends first (haproxy, doc/proxy-protocol.txt).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The first bytes of a header of version 2 (section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A PROXY protocol header, written `v1`, `v2`, `v1=CLIENT:PORT` or `v2=CLIENT:PORT`.
///
/// It names a client, and as the destination the server's address. Without a client it says
/// that the connection is the sender's own: UNKNOWN in version 1, LOCAL in version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyHeader {
    /// Its form.
    pub version: ProxyVersion,
    /// The client that it names, of the family of the server's address.
    pub client: Option<SocketAddr>,
}

impl FromStr for ProxyHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ProxyHeader, &'static str> {
        let (version, client) = match text.split_once('=') {
            Some((version, client)) => (version, Some(client)),
            None => (text, None),
        };
        let version = match version {
            "v1" => ProxyVersion::V1,
            "v2" => ProxyVersion::V2,
            _ => return Err("not v1 or v2, with =CLIENT:PORT if it names a client"),
        };
        let client = client.map(str::parse).transpose();
        let client = client.map_err(|_| "the client is not an IP address and a port")?;
        Ok(ProxyHeader { version, client })
    }
}

impl ProxyHeader {
    /// Whether a connection to `server` can be of its client: the header has one family for
    /// both.
    #[must_use]
    pub fn fits(&self, server: SocketAddr) -> bool {
        self.client
            .is_none_or(|client| client.is_ipv4() == server.is_ipv4())
    }

    /// The header of a connection to `server`, which [fits](Self::fits).
    pub(crate) fn bytes(&self, server: SocketAddr) -> Vec<u8> {
        match self.version {
            ProxyVersion::V1 => self.v1(server),
            ProxyVersion::V2 => self.v2(server),
        }
    }

    fn v1(&self, server: SocketAddr) -> Vec<u8> {
        let Some(client) = self.client else {
            return b"PROXY UNKNOWN\r\n".to_vec();
        };
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (client.ip(), server.ip());
        let (from_port, to_port) = (client.port(), server.port());
        format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
    }

    fn v2(&self, server: SocketAddr) -> Vec<u8> {
        let Some(client) = self.client else {
            // Version 2 and LOCAL, no family, no addresses.
            return [V2_SIGNATURE, &[0x20, 0x00, 0, 0]].concat();
        };
        // Version 2 and PROXY, TCP over the family, bytes of the addresses.
        let start: &[u8] = if client.is_ipv4() {
            &[0x21, 0x11, 0, 12]
        } else {
            &[0x21, 0x21, 0, 36]
        };
        let ports = [client.port().to_be_bytes(), server.port().to_be_bytes()];
        let (from, to) = (octets(client.ip()), octets(server.ip()));
        [V2_SIGNATURE, start, &from, &to, &ports.concat()].concat()
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, server: &str) -> Vec<u8> {
        let header: ProxyHeader = text.parse().unwrap();
        let server = server.parse().unwrap();
        assert!(header.fits(server));
        header.bytes(server)
    }

    #[test]
    fn headers_are_those_of_the_specification() {
        let (v4, v6) = ("198.51.100.1:443", "[2001:db8::2]:443");
        let unknown = b"PROXY UNKNOWN\r\n";
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        for server in [v4, v6] {
            assert_eq!(bytes("v1", server), unknown);
            assert_eq!(bytes("v2", server), local);
        }
        let named = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
        assert_eq!(bytes("v1=192.0.2.1:56324", v4), named);
        let named = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n";
        assert_eq!(bytes("v1=[2001:db8::1]:56324", v6), named);
        let named =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb";
        assert_eq!(bytes("v2=192.0.2.1:56324", v4), named);
        let named = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
            \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
            \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xdc\x04\x01\xbb";
        assert_eq!(bytes("v2=[2001:db8::1]:56324", v6), named);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [
            "",
            "v3",
            "V1",
            "v1=",
            "v1=192.0.2.1",
            "v2=name:1",
            "v2=:1",
            "v1 ",
        ] {
            assert!(text.parse::<ProxyHeader>().is_err(), "{text:?}");
        }
    }
}
