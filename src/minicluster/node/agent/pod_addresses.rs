//! Which pod has which address, from its first start until it is gone.
//!
//! A pod keeps its address while it is tried again and again, and over restarts of this process:
//! what has its address written down somewhere must still find it there.

use std::{collections::HashMap, net::Ipv4Addr};

use k8s_openapi::api::core::v1::Pod;

use crate::{addresses::Pool, informer::Key, pods};

/// The addresses of the pods of this process.
pub(super) struct PodAddresses {
    pool: Pool,
    /// The pods (by uid) that hold one.
    holders: HashMap<Key, String>,
}

impl PodAddresses {
    /// Nobody has an address yet.
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            holders: HashMap::new(),
        }
    }

    /// The address of a pod: the one it holds, else the one of its status, else a free one; `None` if all are taken.
    pub(super) fn take(&mut self, key: &Key, pod: &Pod) -> Option<Ipv4Addr> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.holders.get(key).is_some_and(|holder| *holder != uid) {
            self.release(key);
        }
        let wish = pods::pod_ip(pod).and_then(|ip| ip.parse().ok());
        let address = self.pool.take(&uid, wish)?;
        self.holders.insert(key.clone(), uid);
        Some(address)
    }

    /// Frees the address of a pod that is gone or has ended.
    pub(super) fn release(&mut self, key: &Key) {
        if let Some(uid) = self.holders.remove(key) {
            self.pool.release(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::addresses::Layout;

    fn pod(uid: &str, ip: Option<&str>) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": uid}, "status": {"podIP": ip}})).unwrap()
    }

    #[test]
    fn a_pod_keeps_its_address_until_a_namesake_replaces_it() {
        let layout = Layout::new("127.20.0.0/24".parse().unwrap()).unwrap();
        let mut addresses = PodAddresses::new(Pool::new(layout.pods()));
        let (one, two) = (Key::from("default/web-0"), Key::from("default/web-1"));
        let held = Ipv4Addr::new(127, 20, 0, 70);
        assert_eq!(addresses.take(&one, &pod("u1", Some("127.20.0.70"))), Some(held));
        assert_eq!(
            addresses.take(&one, &pod("u1", None)),
            Some(held),
            "also while its status has none"
        );
        assert_ne!(addresses.take(&two, &pod("u2", Some("127.20.0.70"))), Some(held));
        assert_ne!(addresses.take(&one, &pod("u3", None)), Some(held));
        addresses.release(&two);
        assert_eq!(addresses.take(&two, &pod("u4", Some("127.20.0.70"))), Some(held));
    }
}
