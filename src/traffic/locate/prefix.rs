//! Longest-prefix match over IP networks.
//!
//! One hash table per prefix length that occurs, tried from long to short: operators' maps have few lengths and are small.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

/// Values by network.
#[derive(Debug, Clone)]
pub struct PrefixMap<T> {
    by_length: BTreeMap<u8, HashMap<IpNet, T>>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self {
            by_length: BTreeMap::new(),
        }
    }
}

impl<T> PrefixMap<T> {
    /// Adds a network; host bits are ignored. A network added again gets the new value.
    pub fn insert(&mut self, network: IpNet, value: T) {
        self.by_length
            .entry(network.prefix_len())
            .or_default()
            .insert(network.trunc(), value);
    }

    /// The value of the longest network that has the address.
    pub fn longest(&self, address: IpAddr) -> Option<&T> {
        self.by_length
            .iter()
            .rev()
            .find_map(|(length, networks)| networks.get(&IpNet::new(address, *length).ok()?.trunc()))
    }
}

impl<T> FromIterator<(IpNet, T)> for PrefixMap<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(networks: I) -> Self {
        let mut map = Self::default();
        for (network, value) in networks {
            map.insert(network, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_prefix_wins_in_either_family() {
        let map: PrefixMap<u8> = [
            ("10.0.0.0/8", 1),
            ("10.1.2.3/16", 2),
            ("0.0.0.0/0", 0),
            ("2a02::/16", 6),
        ]
        .into_iter()
        .map(|(net, value)| (net.parse().expect("a network"), value))
        .collect();
        let find = |address: &str| map.longest(address.parse().expect("an address")).copied();
        assert_eq!(find("10.1.9.9"), Some(2));
        assert_eq!(find("10.2.9.9"), Some(1));
        assert_eq!(find("11.0.0.1"), Some(0));
        assert_eq!(find("2a02::1"), Some(6));
        assert_eq!(find("2a03::1"), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(networks in prop::collection::vec((any::<u32>(), 0u8..=32), 0..30), address: u32) {
            let networks: Vec<IpNet> = networks.into_iter().filter_map(|(bits, length)| IpNet::new(IpAddr::V4(bits.into()), length).ok()).map(|net| net.trunc()).collect();
            let address = IpAddr::V4(address.into());
            let map: PrefixMap<u8> = networks.iter().map(|net| (*net, net.prefix_len())).collect();
            let scanned = networks.iter().filter(|net| net.contains(&address)).map(IpNet::prefix_len).max();
            prop_assert_eq!(map.longest(address).copied(), scanned);
        }
    }
}
