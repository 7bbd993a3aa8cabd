//! Addresses and node ports that Services hold.
//!
//! What is taken is known from the Services themselves: read once, kept up with every write of this server. Two servers
//! on one store do not see each other's allocations; a member cluster has one server.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use apimachinery::{Object, status::Status};
use parking_lot::Mutex;
use rand::Rng as _;
use serde_json::Value;
use storage::ListOptions;
use tokio::sync::OnceCell;

use crate::{
    PortRange, errors,
    registry::{Registry, Resource, codec},
};

/// Largest part of a range that is used: ranges of IPv6 are endless.
const MAX_ADDRESSES: u128 = 1 << 20;

#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<IpAddr>,
    ports: HashSet<u16>,
}

/// Hands out cluster IPs and node ports.
#[derive(Debug)]
pub struct Allocator {
    range: ipnet::IpNet,
    ports: PortRange,
    taken: Mutex<Taken>,
    loaded: OnceCell<()>,
}

/// Why something cannot be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not in the range.
    OutOfRange,
    /// Somebody else has it.
    Taken,
    /// Nothing is left.
    Full,
}

impl Allocator {
    /// For these ranges.
    #[must_use]
    pub fn new(range: ipnet::IpNet, ports: PortRange) -> Self {
        Self {
            range,
            ports,
            taken: Mutex::default(),
            loaded: OnceCell::new(),
        }
    }

    /// The range of cluster IPs.
    #[must_use]
    pub fn range(&self) -> ipnet::IpNet {
        self.range
    }

    /// The range of node ports.
    #[must_use]
    pub fn ports(&self) -> PortRange {
        self.ports
    }

    /// The first address of the range: the `kubernetes` Service's.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        nth(self.range, 1)
    }

    /// Learns what stored Services hold.
    ///
    /// # Errors
    /// What storage failures are.
    pub async fn load(&self, registry: &Registry, services: &Resource) -> Result<(), Status> {
        let read = async {
            let page = registry.storage.list(&services.prefix, ListOptions::default()).await;
            let page = page.map_err(|e| errors::of_storage(services, "", &e))?;
            for item in &page.items {
                let held = Held::of(&codec::decode(item)?);
                let mut taken = self.taken.lock();
                taken.addresses.extend(held.addresses);
                taken.ports.extend(held.ports);
            }
            Ok(())
        };
        self.loaded.get_or_try_init(|| read).await.copied()
    }

    /// Takes this address.
    ///
    /// # Errors
    /// If it is out of range or taken.
    pub fn take_address(&self, address: IpAddr) -> Result<(), Refusal> {
        if !self.range.contains(&address) || address == self.range.network() {
            return Err(Refusal::OutOfRange);
        }
        if self.taken.lock().addresses.insert(address) {
            Ok(())
        } else {
            Err(Refusal::Taken)
        }
    }

    /// Takes any address but the first.
    ///
    /// # Errors
    /// If none is left.
    pub fn any_address(&self) -> Result<IpAddr, Refusal> {
        let bits = if self.range.addr().is_ipv4() { 32 } else { 128 };
        let spare = u32::from(bits - self.range.prefix_len());
        // Neither the network's address, nor the first, nor the broadcast address.
        let size = 1u128
            .checked_shl(spare)
            .unwrap_or(u128::MAX)
            .min(MAX_ADDRESSES)
            .saturating_sub(3);
        if size == 0 {
            return Err(Refusal::Full);
        }
        let start = rand::rng().random_range(0..size);
        let mut taken = self.taken.lock();
        let free = (0..size)
            .map(|i| nth(self.range, 2 + (start + i) % size))
            .find(|a| !taken.addresses.contains(a));
        let free = free.ok_or(Refusal::Full)?;
        taken.addresses.insert(free);
        Ok(free)
    }

    /// Takes this port.
    ///
    /// # Errors
    /// If it is out of range or taken.
    pub fn take_port(&self, port: u16) -> Result<(), Refusal> {
        if port < self.ports.first || port > self.ports.last {
            return Err(Refusal::OutOfRange);
        }
        if self.taken.lock().ports.insert(port) {
            Ok(())
        } else {
            Err(Refusal::Taken)
        }
    }

    /// Takes any port.
    ///
    /// # Errors
    /// If none is left.
    pub fn any_port(&self) -> Result<u16, Refusal> {
        let size = u32::from(self.ports.last - self.ports.first) + 1;
        let start = rand::rng().random_range(0..size);
        let at = |i: u32| self.ports.first + u16::try_from((start + i) % size).unwrap_or(0);
        let mut taken = self.taken.lock();
        let free = (0..size)
            .map(at)
            .find(|port| !taken.ports.contains(port))
            .ok_or(Refusal::Full)?;
        taken.ports.insert(free);
        Ok(free)
    }

    /// Gives back.
    pub fn release(&self, held: &Held) {
        let mut taken = self.taken.lock();
        for address in &held.addresses {
            taken.addresses.remove(address);
        }
        for port in &held.ports {
            taken.ports.remove(port);
        }
    }
}

/// What a Service holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Cluster IPs.
    pub addresses: HashSet<IpAddr>,
    /// Node ports, with that of health checks.
    pub ports: HashSet<u16>,
}

impl Held {
    /// Reads a Service.
    #[must_use]
    pub fn of(service: &Object) -> Self {
        let spec = &service["spec"];
        let list = spec["clusterIPs"].as_array().map_or(&[][..], Vec::as_slice);
        let addresses = list.iter().chain([&spec["clusterIP"]]).filter_map(Value::as_str);
        let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
        let ports = ports
            .iter()
            .map(|p| &p["nodePort"])
            .chain([&spec["healthCheckNodePort"]]);
        Self {
            addresses: addresses.filter_map(|a| a.parse().ok()).collect(),
            ports: ports
                .filter_map(Value::as_u64)
                .filter_map(|p| u16::try_from(p).ok())
                .filter(|p| *p > 0)
                .collect(),
        }
    }

    /// What is held here and not there.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            addresses: self.addresses.difference(&other.addresses).copied().collect(),
            ports: self.ports.difference(&other.ports).copied().collect(),
        }
    }
}

fn nth(range: ipnet::IpNet, n: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(u32::try_from(n).unwrap_or(0))).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(n)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator(range: &str) -> Allocator {
        Allocator::new(
            range.parse().unwrap(),
            PortRange {
                first: 30000,
                last: 30001,
            },
        )
    }

    #[test]
    fn a_range_is_used_up_and_refilled() {
        let all = allocator("10.0.0.0/29");
        assert_eq!(all.first().to_string(), "10.0.0.1");
        let mut got: Vec<IpAddr> = (0..5).map(|_| all.any_address().unwrap()).collect();
        got.sort();
        assert_eq!(
            got.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"
        );
        assert_eq!(all.any_address(), Err(Refusal::Full));
        all.release(&Held {
            addresses: [got[0]].into(),
            ports: HashSet::new(),
        });
        assert_eq!(all.any_address(), Ok(got[0]));
        assert_eq!(all.take_address("10.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(all.take_address("10.0.0.1".parse().unwrap()), Err(Refusal::Taken));
        assert_eq!(all.take_address("10.0.1.1".parse().unwrap()), Err(Refusal::OutOfRange));
    }

    #[test]
    fn ports_are_handed_out_once() {
        let all = allocator("10.0.0.0/24");
        assert_eq!(all.take_port(29999), Err(Refusal::OutOfRange));
        assert_eq!(all.take_port(30000), Ok(()));
        assert_eq!(all.any_port(), Ok(30001));
        assert_eq!(all.any_port(), Err(Refusal::Full));
    }
}
