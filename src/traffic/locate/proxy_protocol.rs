//! The PROXY protocol, versions 1 and 2: what a trusted peer says of the connection it forwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 header.
const LONGEST_V1: usize = 107;
/// First bytes of a version 2 header.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// Longest version 2 header accepted: addresses and a page of TLVs.
const LONGEST_V2: usize = 4096;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Incomplete,
    /// A whole header of `length` bytes; `source` is `None` when the peer speaks for itself (LOCAL, UNKNOWN).
    Header {
        /// Bytes of the header; what follows belongs to the connection.
        length: usize,
        /// The client's address and port.
        source: Option<SocketAddr>,
    },
    /// No PROXY header.
    Invalid,
}

/// Parses the beginning of a connection.
pub fn parse(bytes: &[u8]) -> Parsed {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..shared] == V2_SIGNATURE[..shared] {
        return if bytes.len() < V2_FIXED {
            Parsed::Incomplete
        } else {
            parse_v2(bytes)
        };
    }
    let prefix = b"PROXY ";
    let shared = bytes.len().min(prefix.len());
    if bytes[..shared] == prefix[..shared] {
        return parse_v1(bytes);
    }
    Parsed::Invalid
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 {
            Parsed::Incomplete
        } else {
            Parsed::Invalid
        };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else {
        return Parsed::Invalid;
    };
    if end + 2 > LONGEST_V1 {
        return Parsed::Invalid;
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let source = match fields[1..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", source, destination, port, destination_port] => {
            match v1_source::<Ipv4Addr>(source, destination, port, destination_port) {
                Some(source) => Some(source),
                None => return Parsed::Invalid,
            }
        }
        ["TCP6", source, destination, port, destination_port] => {
            match v1_source::<Ipv6Addr>(source, destination, port, destination_port) {
                Some(source) => Some(source),
                None => return Parsed::Invalid,
            }
        }
        _ => return Parsed::Invalid,
    };
    Parsed::Header {
        length: end + 2,
        source,
    }
}

fn v1_source<A: std::str::FromStr + Into<IpAddr>>(
    source: &str,
    destination: &str,
    port: &str,
    destination_port: &str,
) -> Option<SocketAddr> {
    destination.parse::<A>().ok()?;
    destination_port.parse::<u16>().ok()?;
    Some(SocketAddr::new(source.parse::<A>().ok()?.into(), port.parse().ok()?))
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0x0f);
    let length = V2_FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if version != 2 || command > 1 || length > LONGEST_V2 {
        return Parsed::Invalid;
    }
    let Some(payload) = bytes.get(V2_FIXED..length) else {
        return Parsed::Incomplete;
    };
    if command == 0 {
        return Parsed::Header { length, source: None };
    }
    let source = match bytes[13] {
        0x11 => v2_source::<4, 12>(payload),
        0x21 => v2_source::<16, 36>(payload),
        // UDP, UNIX sockets, unspecified: nothing we can locate.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Parsed::Header { length, source: None },
        _ => return Parsed::Invalid,
    };
    match source {
        Some(source) => Parsed::Header {
            length,
            source: Some(source),
        },
        None => Parsed::Invalid,
    }
}

/// Source address and port out of a payload of two `N`-byte addresses and two ports, `ALL` bytes together.
fn v2_source<const N: usize, const ALL: usize>(payload: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let payload: &[u8; ALL] = payload.get(..ALL)?.try_into().ok()?;
    let address: [u8; N] = payload.get(..N)?.try_into().ok()?;
    let port = u16::from_be_bytes([payload[2 * N], payload[2 * N + 1]]);
    Some(SocketAddr::new(IpAddr::from(address), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn version_1_tells_the_source() {
        let line = b"PROXY TCP4 81.2.69.142 10.0.0.1 4711 80\r\nGET /";
        assert_eq!(
            parse(line),
            Parsed::Header {
                length: 41,
                source: Some("81.2.69.142:4711".parse().expect("an address"))
            }
        );
        let line = b"PROXY TCP6 2a02::1 ::1 4711 80\r\n";
        assert_eq!(
            parse(line),
            Parsed::Header {
                length: 32,
                source: Some("[2a02::1]:4711".parse().expect("an address"))
            }
        );
        assert_eq!(
            parse(b"PROXY UNKNOWN\r\n"),
            Parsed::Header {
                length: 15,
                source: None
            }
        );
    }

    #[test]
    fn version_2_tells_the_source_and_skips_extensions() {
        let mut payload = vec![81, 2, 69, 142, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        payload.extend([0x04, 0, 1, 0]);
        let bytes = v2(1, 0x11, &payload);
        assert_eq!(
            parse(&bytes),
            Parsed::Header {
                length: bytes.len(),
                source: Some("81.2.69.142:4711".parse().expect("an address"))
            }
        );
    }

    #[test]
    fn a_local_header_keeps_the_peer() {
        assert_eq!(
            parse(&v2(0, 0, &[])),
            Parsed::Header {
                length: 16,
                source: None
            }
        );
    }

    #[test]
    fn what_is_no_header_is_invalid() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 81.2.69.142 10.0.0.1 4711\r\n",
            b"PROXY TCP4 2a02::1 ::1 1 2\r\n",
            b"PROXY TCP4 81.2.69.142 10.0.0.1 99999 80\r\n",
            b"PROXY  TCP4 81.2.69.142 10.0.0.1 1 80\r\n",
        ] {
            assert_eq!(parse(bytes), Parsed::Invalid);
        }
        assert_eq!(parse(&[b'P', b'R', b'O', b'X', b'Y', b' '].repeat(20)), Parsed::Invalid);
        assert_eq!(
            parse(&v2(1, 0x11, &[1, 2, 3, 4])),
            Parsed::Invalid,
            "an address cut short"
        );
        assert_eq!(parse(&v2(3, 0x11, &[0; 12])), Parsed::Invalid, "an unknown command");
    }

    proptest! {
        #[test]
        fn every_prefix_of_a_header_is_incomplete(cut in 0usize..28) {
            let bytes = v2(1, 0x11, &[81, 2, 69, 142, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
            prop_assert_eq!(parse(&bytes[..cut]), Parsed::Incomplete);
            let line = b"PROXY TCP4 81.2.69.142 10.0.0.1 4711 80\r\n";
            prop_assert_eq!(parse(&line[..cut]), Parsed::Incomplete);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Parsed::Header { length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            let mut signed = V2_SIGNATURE.to_vec();
            signed.extend(bytes);
            parse(&signed);
        }
    }
}
