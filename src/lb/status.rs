//! Where Ingresses are served, written into their status.
//!
//! Several load balancers serve every Ingress, each at addresses of its own. Each keeps a Lease that names its
//! addresses; an Ingress' status is the union of what living Leases name. All load balancers compute the same union, so
//! they never overwrite one another, and the addresses of one that is gone are removed by those that are left.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use apimachinery::Object;
use client::{
    Error, Informer, Key, Rest,
    informer::Scope,
    resources::{INGRESSES, LEASES},
    rest::Propagation,
};
use serde_json::json;

use crate::{
    model::{self, Objects, OwnIngress},
    proxy::headers::hex,
};

/// How long a Lease that is not renewed still counts.
const LEASE_DURATION: Duration = Duration::from_secs(40);
/// How often our own is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// The namespace of the Leases.
const NAMESPACE: &str = "kube-system";
/// Marks the Leases of load balancers.
const LABEL: &str = "federation.kubernetes.io/load-balancer";
/// On a Lease: entries for `status.loadBalancer.ingress`, as JSON.
const ADDRESSES: &str = "federation.kubernetes.io/load-balancer-addresses";

/// Writes addresses into Ingresses.
pub(crate) struct Publisher {
    rest: Rest,
    /// Our own, as entries of `status.loadBalancer.ingress`.
    addresses: Vec<Object>,
    lease: Key,
    leases: Informer<Object>,
    sightings: Sightings,
    renewed: Option<Instant>,
}

impl Publisher {
    /// Publishes `addresses`; without any, nothing is ever written.
    pub(crate) fn start(rest: Rest, addresses: Vec<Object>) -> Option<Self> {
        if addresses.is_empty() {
            return None;
        }
        let scope = Scope {
            namespace: Some(NAMESPACE.to_owned()),
            ..Scope::labelled(LEASES, &format!("{LABEL}=true"))
        };
        Some(Self {
            leases: Informer::start(rest.clone(), scope, Some, |_| {}),
            lease: Key::new(Some(NAMESPACE), &lease_name(&addresses)),
            rest,
            addresses,
            sightings: Sightings::default(),
            renewed: None,
        })
    }

    /// Renews our Lease if it is time, and corrects every status that is not as it should be.
    pub(crate) async fn publish(&mut self, objects: &Objects, ingresses: &[OwnIngress]) {
        if let Err(error) = self.renew().await {
            tracing::debug!(error = %crate::chain(&error), "cannot renew the Lease of the published addresses");
        }
        // Before the others are known their addresses would be removed.
        if !self.leases.store.is_synced() {
            return;
        }
        let (published, gone) = self.published(Instant::now());
        let desired = Object::Array(published.clone());
        for ingress in ingresses.iter().filter(|ingress| ingress.status != desired) {
            self.write(&ingress.key, &desired).await;
        }
        for (key, ingress) in &objects.ingresses {
            if !model::is_ours(ingress, objects)
                && let Some(rest) = without(ingress, &published)
            {
                self.write(key, &rest).await;
            }
        }
        for lease in gone {
            if let Err(error) = self.rest.delete(&LEASES, &lease, None, Propagation::Background).await {
                tracing::debug!(lease = lease.as_str(), error = %crate::chain(&error), "cannot delete the Lease of a load balancer that is gone");
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Error> {
        if self.renewed.is_some_and(|at| at.elapsed() < RENEWAL) {
            return Ok(());
        }
        let lease = lease(&self.lease, &self.addresses, jiff::Timestamp::now());
        self.rest.apply(&LEASES, &self.lease, &lease, true).await?;
        self.renewed = Some(Instant::now());
        Ok(())
    }

    /// The addresses of all that live, and the Leases of those that do not.
    fn published(&mut self, now: Instant) -> (Vec<Object>, Vec<Key>) {
        let mut lists = vec![self.addresses.clone()];
        let mut gone = Vec::new();
        for (key, lease) in self.leases.store.all() {
            if self.sightings.is_live(&key, &lease, now) {
                lists.push(named(&lease));
            } else if key != self.lease {
                gone.push(key);
            }
        }
        (union(lists), gone)
    }

    async fn write(&self, ingress: &str, addresses: &Object) {
        let patch = json!({"status": {"loadBalancer": {"ingress": addresses}}});
        let written = self
            .rest
            .merge(&INGRESSES, &Key::from(ingress), "/status", &patch)
            .await;
        if let Err(error) = written {
            tracing::debug!(ingress, error = %crate::chain(&error), "cannot write the Ingress' status");
        }
    }
}

/// When each Lease was last seen to change, by our own clock: those of other machines need not agree.
#[derive(Debug, Default)]
struct Sightings(HashMap<Key, (Object, Instant)>);

impl Sightings {
    fn is_live(&mut self, key: &Key, lease: &Object, now: Instant) -> bool {
        let renewed = &lease["spec"]["renewTime"];
        let seen = self.0.entry(key.clone()).or_insert_with(|| (renewed.clone(), now));
        if seen.0 != *renewed {
            *seen = (renewed.clone(), now);
        }
        now.duration_since(seen.1) < LEASE_DURATION
    }
}

/// The same after a restart, and for load balancers that share their addresses.
fn lease_name(addresses: &[Object]) -> String {
    let text = Object::Array(addresses.to_vec()).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("federation-lb-{}", hex(&digest.as_ref()[..5]))
}

fn lease(key: &Key, addresses: &[Object], now: jiff::Timestamp) -> Object {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "namespace": NAMESPACE,
            "name": key.name(),
            "labels": {LABEL: "true"},
            "annotations": {ADDRESSES: Object::Array(addresses.to_vec()).to_string()},
        },
        "spec": {
            "holderIdentity": key.name(),
            "leaseDurationSeconds": LEASE_DURATION.as_secs(),
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        },
    })
}

/// The addresses a Lease names.
fn named(lease: &Object) -> Vec<Object> {
    lease["metadata"]["annotations"][ADDRESSES]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Every address once, in an order that does not depend on who asks.
fn union(lists: Vec<Vec<Object>>) -> Vec<Object> {
    let by_text: BTreeMap<String, Object> = lists
        .into_iter()
        .flatten()
        .map(|address| (address.to_string(), address))
        .collect();
    by_text.into_values().collect()
}

/// What is left of an Ingress' addresses without the published ones, if any of those is there.
fn without(ingress: &Object, published: &[Object]) -> Option<Object> {
    let present = ingress.pointer("/status/loadBalancer/ingress")?.as_array()?;
    let rest: Vec<Object> = present
        .iter()
        .filter(|address| !published.contains(address))
        .cloned()
        .collect();
    if rest.len() == present.len() {
        return None;
    }
    // A merge patch removes what is null.
    Some(if rest.is_empty() {
        Object::Null
    } else {
        Object::Array(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str) -> Object {
        json!({"ip": ip})
    }

    #[test]
    fn all_load_balancers_write_the_same_list_whoever_asks() {
        let (ours, theirs) = (
            vec![address("203.0.113.9")],
            vec![address("203.0.113.1"), address("203.0.113.9")],
        );
        let ours_first = union(vec![ours.clone(), theirs.clone()]);
        assert_eq!(ours_first, [address("203.0.113.1"), address("203.0.113.9")]);
        assert_eq!(ours_first, union(vec![theirs, ours]));
    }

    #[test]
    fn a_lease_names_the_addresses_it_was_made_of() {
        let addresses = vec![json!({"ip": "203.0.113.9", "ports": [{"port": 8080, "protocol": "TCP"}]})];
        let key = Key::new(Some(NAMESPACE), &lease_name(&addresses));
        assert_eq!(named(&lease(&key, &addresses, jiff::Timestamp::UNIX_EPOCH)), addresses);
        assert!(named(&json!({"metadata": {"annotations": {ADDRESSES: "damaged"}}})).is_empty());
        assert_ne!(lease_name(&addresses), lease_name(&[address("203.0.113.1")]));
    }

    #[test]
    fn a_lease_lives_as_long_as_it_is_renewed_whatever_its_clock_says() {
        let key = Key::new(Some(NAMESPACE), "federation-lb-1");
        let renewed = |at: &str| json!({"spec": {"renewTime": at}});
        let (mut sightings, start) = (Sightings::default(), Instant::now());
        assert!(sightings.is_live(&key, &renewed("1970-01-01T00:00:00.000000Z"), start));
        let later = start + LEASE_DURATION - Duration::from_secs(1);
        assert!(sightings.is_live(&key, &renewed("1970-01-01T00:00:10.000000Z"), later));
        assert!(sightings.is_live(&key, &renewed("1970-01-01T00:00:10.000000Z"), start + LEASE_DURATION));
        let end = later + LEASE_DURATION;
        assert!(!sightings.is_live(&key, &renewed("1970-01-01T00:00:10.000000Z"), end));
    }

    #[test]
    fn an_ingress_that_left_loses_our_addresses_and_keeps_those_of_others() {
        let ingress = |addresses: &[&str]| {
            let entries: Vec<Object> = addresses.iter().map(|ip| address(ip)).collect();
            json!({"status": {"loadBalancer": {"ingress": entries}}})
        };
        let published = [address("203.0.113.9")];
        assert_eq!(without(&ingress(&["203.0.113.9"]), &published), Some(Object::Null));
        assert_eq!(
            without(&ingress(&["203.0.113.9", "198.51.100.1"]), &published),
            Some(json!([{"ip": "198.51.100.1"}]))
        );
        assert_eq!(without(&ingress(&["198.51.100.1"]), &published), None);
        assert_eq!(without(&json!({}), &published), None);
    }
}
