//! The client's address, out of the connection and X-Forwarded-For.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Hops of X-Forwarded-For that are looked at.
pub const MOST_HOPS: usize = 32;

/// The address with IPv4 unwrapped out of IPv4-mapped (`::ffff/96`), 6to4 (`2002::/16`) and NAT64 (`64:ff9b::/96`) forms.
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let v4 = |at: usize| {
        IpAddr::V4(Ipv4Addr::new(
            octets[at],
            octets[at + 1],
            octets[at + 2],
            octets[at + 3],
        ))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(12),
        [0x2002, ..] => v4(2),
        _ => address,
    }
}

/// Whether the address tells nothing of a place: private, carrier-grade NAT, loopback, link-local, unspecified.
pub fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether one of `networks` has the address.
pub fn is_trusted(address: IpAddr, networks: &[IpNet]) -> bool {
    !networks.is_empty() && networks.iter().any(|network| network.contains(&address))
}

/// The client behind `peer`.
///
/// As long as the current address is trusted, one step is made to the left through `forwarded_for` (the lines of
/// X-Forwarded-For in order of arrival). The walk ends at the first address that is not trusted, at one that cannot be
/// parsed (the last good one counts), or after [`MOST_HOPS`].
pub fn client<'a>(peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let mut current = canonical(peer);
    let hops = forwarded_for.rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(MOST_HOPS) {
        if !is_trusted(current, trusted) {
            break;
        }
        match parse_hop(hop) {
            Some(address) => current = canonical(address),
            None => break,
        }
    }
    current
}

/// An element of X-Forwarded-For: an address, with or without a port, IPv6 with or without brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address);
    }
    if let Some(rest) = hop.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return port_is_valid
            .then(|| address.parse::<Ipv6Addr>().ok())
            .flatten()
            .map(IpAddr::V6);
    }
    let (address, port) = hop.split_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"]
            .iter()
            .map(|net| net.parse().expect("a network"))
            .collect()
    }

    #[test]
    fn x1_an_untrusted_peer_is_the_client_whatever_it_claims() {
        assert_eq!(
            client(ip("198.51.100.7"), ["1.1.1.1"].into_iter(), &trusted()),
            ip("198.51.100.7")
        );
        assert_eq!(client(ip("10.0.0.1"), ["1.1.1.1"].into_iter(), &[]), ip("10.0.0.1"));
    }

    #[test]
    fn x2_trusted_hops_are_stepped_over() {
        let lines = ["1.2.3.4, 81.2.69.142, 203.0.113.9"];
        assert_eq!(client(ip("10.0.0.1"), lines.into_iter(), &trusted()), ip("81.2.69.142"));
    }

    #[test]
    fn lines_are_joined_in_order() {
        let lines = ["1.2.3.4", "81.2.69.142", "203.0.113.9"];
        assert_eq!(client(ip("10.0.0.1"), lines.into_iter(), &trusted()), ip("81.2.69.142"));
    }

    #[test]
    fn a_hop_that_is_no_address_stops_the_walk() {
        for line in [
            "81.2.69.142, unknown",
            "81.2.69.142, ",
            "81.2.69.142, 10.0.0.300",
            "81.2.69.142, _hidden",
        ] {
            assert_eq!(
                client(ip("10.0.0.1"), [line].into_iter(), &trusted()),
                ip("10.0.0.1"),
                "{line}"
            );
        }
        assert_eq!(
            client(ip("10.0.0.1"), ["x, 203.0.113.9"].into_iter(), &trusted()),
            ip("203.0.113.9")
        );
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        assert_eq!(
            client(ip("10.0.0.1"), ["81.2.69.142:4711"].into_iter(), &trusted()),
            ip("81.2.69.142")
        );
        assert_eq!(
            client(ip("10.0.0.1"), ["[2a02::1]:443"].into_iter(), &trusted()),
            ip("2a02::1")
        );
        assert_eq!(
            client(ip("10.0.0.1"), ["[2a02::1]"].into_iter(), &trusted()),
            ip("2a02::1")
        );
        assert_eq!(
            client(ip("10.0.0.1"), ["2a02::1"].into_iter(), &trusted()),
            ip("2a02::1")
        );
        assert_eq!(
            client(ip("10.0.0.1"), ["[2a02::1]x"].into_iter(), &trusted()),
            ip("10.0.0.1")
        );
        assert_eq!(
            client(ip("10.0.0.1"), ["81.2.69.142:x"].into_iter(), &trusted()),
            ip("10.0.0.1")
        );
    }

    #[test]
    fn wrapped_ipv4_is_unwrapped() {
        assert_eq!(canonical(ip("::ffff:81.2.69.142")), ip("81.2.69.142"));
        assert_eq!(canonical(ip("2002:5102:458e::1")), ip("81.2.69.142"));
        assert_eq!(canonical(ip("64:ff9b::5102:458e")), ip("81.2.69.142"));
        assert_eq!(canonical(ip("2a02::1")), ip("2a02::1"));
        assert_eq!(
            client(ip("::ffff:10.0.0.1"), ["81.2.69.142"].into_iter(), &trusted()),
            ip("81.2.69.142")
        );
    }

    #[test]
    fn at_most_32_hops_are_walked() {
        let line = vec!["10.0.0.9"; 40].join(",");
        let line = format!("81.2.69.142,{line}");
        assert_eq!(
            client(ip("10.0.0.1"), [line.as_str()].into_iter(), &trusted()),
            ip("10.0.0.9")
        );
    }

    #[test]
    fn addresses_without_a_place_are_recognised() {
        for local in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_local(ip(local)), "{local}");
        }
        for global in ["100.128.0.1", "172.32.0.1", "81.2.69.142", "2a02::1"] {
            assert!(!is_local(ip(global)), "{global}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived_and_an_untrusted_peer_stays(line in ".{0,200}") {
            prop_assert_eq!(client(ip("198.51.100.7"), [line.as_str()].into_iter(), &trusted()), ip("198.51.100.7"));
            client(ip("10.0.0.1"), [line.as_str()].into_iter(), &trusted());
        }
    }
}
