//! What is kept of a federated object between two looks at it.
//!
//! The object itself is not kept: its copy-independent part is hashed, the newest few bodies are in a bounded
//! cache, and an older one is fetched again when it has to be written.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use api::{cluster_selector::ClusterSelector, overrides::Overrides, well_known};
use apimachinery::{Object, meta};
use client::Key;
use parking_lot::Mutex;
use planner::{Resources, Share};

use super::{
    SyncKey, configs,
    kinds::{Kind, KindIndex, Scaling},
    payload,
};
use crate::hash::Hash;

/// How a federated object is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Copies stay behind.
    pub orphan: bool,
    /// Copies' dependents go before them.
    pub foreground: bool,
}

/// A federated object, reduced.
#[derive(Debug, Clone)]
pub struct Federated {
    /// Uid.
    pub uid: Box<str>,
    /// `resourceVersion`, for conditional writes.
    pub version: Box<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it stays out of members, whatever it says.
    pub excluded: bool,
    /// Set once it was deleted.
    pub deletion: Option<Deletion>,
    /// Its finalizers.
    pub finalizers: Box<[Box<str>]>,
    /// Where it may go; the error if that cannot be read.
    pub selector: Result<Option<Arc<ClusterSelector>>, String>,
    /// How it is split: the annotation as it is.
    pub preferences: Option<Box<str>>,
    /// Whether copies that are not ours are taken over.
    pub adopt: bool,
    /// Differences between clusters; the error if they cannot be read.
    pub overrides: Result<Option<Arc<Overrides>>, String>,
    /// Hash of what all copies have in common.
    pub payload: Hash,
    /// What it asks for.
    pub demand: Share,
    /// What one of its pods requests, if its replicas are split.
    pub requests: Resources,
    /// The workload whose replicas it changes, if it is an autoscaler.
    pub scales: Option<SyncKey>,
    /// ConfigMaps and Secrets whose changes roll it.
    pub configs: Box<[SyncKey]>,
    /// Its status, for kinds whose status is merged; empty if it has none.
    pub status: Box<str>,
    /// Its per-cluster detail, as it is.
    pub detail: Option<Box<str>>,
}

impl Federated {
    /// Whether our finalizer is on it.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.finalizers
            .iter()
            .any(|f| **f == *well_known::FINALIZER_DELETE_FROM_CLUSTERS)
    }

    /// Whether it may go to a cluster with these labels; nothing does while the selector cannot be read.
    #[must_use]
    pub fn selects(&self, labels: &Object) -> bool {
        match &self.selector {
            Ok(None) => true,
            Ok(Some(selector)) => selector.matches(labels),
            Err(_) => false,
        }
    }
}

/// What the overrides do in a cluster, as a text that differs when they differ; empty if nothing.
#[must_use]
pub fn overrides_for(federated: &Federated, cluster: &str, labels: &Object) -> String {
    let Ok(Some(overrides)) = &federated.overrides else {
        return String::new();
    };
    let meant = overrides.0.iter().filter(|one| one.is_for(cluster, labels));
    meant
        .map(|one| Object::from(one.patch.clone()).to_string())
        .collect::<Vec<_>>()
        .join(";")
}

/// Reduces a federated object and remembers its payload for the writes that are about to come.
#[must_use]
pub fn reduce(index: KindIndex, kind: &dyn Kind, object: Object, bodies: &Bodies) -> Federated {
    let annotation = |key: &str| meta::annotation(&object, key).map(Box::from);
    let finalizers: Box<[Box<str>]> = meta::finalizers(&object).map(Box::from).collect();
    let has = |name: &str| finalizers.iter().any(|f| **f == *name);
    let deletion = meta::is_being_deleted(&object).then(|| Deletion {
        orphan: has(well_known::FINALIZER_ORPHAN),
        foreground: has(well_known::FINALIZER_FOREGROUND),
    });
    let selector = match meta::annotation(&object, well_known::CLUSTER_SELECTOR) {
        None => Ok(None),
        Some(text) => ClusterSelector::parse(text)
            .map(|s| (!s.requirements.is_empty()).then(|| Arc::new(s)))
            .map_err(|error| client::error::chain(&error)),
    };
    let namespace = meta::namespace(&object);
    let excluded = kind.excluded(&object) || super::kinds::is_system_namespace(namespace);
    let status = &object["status"];
    let mut federated = Federated {
        uid: meta::uid(&object).into(),
        version: meta::resource_version(&object).into(),
        generation: meta::generation(&object),
        excluded,
        deletion,
        selector,
        preferences: kind.scaling().preferences().and_then(annotation),
        adopt: meta::annotation(&object, well_known::ADOPT) == Some("true"),
        overrides: match meta::annotation(&object, well_known::OVERRIDES) {
            None => Ok(None),
            Some(text) => Overrides::parse(text)
                .map(|all| (!all.0.is_empty()).then(|| Arc::new(all)))
                .map_err(|error| client::error::chain(&error)),
        },
        payload: Hash::default(),
        demand: kind.demand(&object),
        requests: match kind.scaling() {
            Scaling::Replicas { .. } | Scaling::Job { .. } => Resources::of_pod(&object["spec"]["template"]["spec"]),
            Scaling::Copy | Scaling::Autoscaler { .. } => Resources::default(),
        },
        scales: kind.scales(&object),
        status: if status.is_null() {
            Box::default()
        } else {
            status.to_string().into()
        },
        configs: configs::references(kind, &object),
        detail: annotation(well_known::CLUSTER_STATUS),
        finalizers,
    };
    if !excluded {
        let key = Key::of(&object);
        let payload = payload::payload(kind, object);
        federated.payload = Hash::of(&payload);
        bodies.put((index, key), federated.payload, payload.to_string().into_bytes());
    }
    federated
}

/// The newest payloads, up to a number of bytes.
pub struct Bodies {
    limit: usize,
    inner: Mutex<BodiesInner>,
}

type BodyKey = (KindIndex, Key);

#[derive(Default)]
struct BodiesInner {
    bytes: usize,
    entries: HashMap<BodyKey, (Hash, Arc<[u8]>)>,
    order: VecDeque<BodyKey>,
}

impl Bodies {
    /// An empty cache that holds at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            inner: Mutex::default(),
        }
    }

    /// Remembers a payload.
    pub fn put(&self, key: BodyKey, hash: Hash, bytes: Vec<u8>) {
        if bytes.len() > self.limit {
            return;
        }
        let inner = &mut *self.inner.lock();
        if let Some((known, _)) = inner.entries.get(&key)
            && *known == hash
        {
            return;
        }
        inner.bytes += bytes.len();
        if let Some((_, old)) = inner.entries.insert(key.clone(), (hash, bytes.into())) {
            inner.bytes -= old.len();
        } else {
            inner.order.push_back(key);
        }
        while inner.bytes > self.limit {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some((_, old)) = inner.entries.remove(&oldest) {
                inner.bytes -= old.len();
            }
        }
    }

    /// The payload of an object, if it is there with this hash.
    #[must_use]
    pub fn get(&self, key: &BodyKey, hash: Hash) -> Option<Object> {
        let inner = self.inner.lock();
        let (known, bytes) = inner.entries.get(key)?;
        if *known != hash {
            return None;
        }
        let bytes = Arc::clone(bytes);
        drop(inner);
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::kinds;

    fn config_map(annotations: &Object, extra: &Object) -> Federated {
        let mut object = json!({"metadata": {"name": "c", "namespace": "a", "uid": "u", "annotations": annotations}, "data": {"k": "v"}});
        for (key, value) in extra.as_object().expect("map") {
            object["metadata"][key] = value.clone();
        }
        let index = kinds::index_of("ConfigMap").expect("known");
        reduce(index, kinds::all()[usize::from(index)], object, &Bodies::new(1000))
    }

    #[test]
    fn a_selector_that_cannot_be_read_selects_nothing() {
        let broken = config_map(
            &json!({"federation.alpha.kubernetes.io/cluster-selector": "nonsense"}),
            &json!({}),
        );
        assert!(broken.selector.is_err() && !broken.selects(&json!({})));
        let none = config_map(&json!({}), &json!({}));
        assert!(none.selects(&json!({})));
        let empty = config_map(
            &json!({"federation.alpha.kubernetes.io/cluster-selector": "[]"}),
            &json!({}),
        );
        assert!(empty.selects(&json!({})));
    }

    #[test]
    fn the_way_of_deletion_is_read_from_the_finalizers() {
        let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan"]});
        let deletion = config_map(&json!({}), &gone).deletion.expect("deleted");
        assert!(deletion.orphan && !deletion.foreground);
        assert!(
            config_map(&json!({}), &json!({"finalizers": ["orphan"]}))
                .deletion
                .is_none()
        );
    }

    #[test]
    fn the_oldest_bodies_make_room_and_a_changed_body_is_not_served() {
        let bodies = Bodies::new(20);
        let key = |name: &str| (0, Key::from(name));
        let hash = Hash::of(&json!(1));
        bodies.put(key("a"), hash, b"\"aaaaaaa\"".to_vec());
        bodies.put(key("b"), hash, b"\"bbbbbbb\"".to_vec());
        bodies.put(key("c"), hash, b"\"ccccccc\"".to_vec());
        assert_eq!(bodies.get(&key("a"), hash), None);
        assert_eq!(bodies.get(&key("c"), hash), Some(json!("ccccccc")));
        assert_eq!(bodies.get(&key("c"), Hash::default()), None);
    }
}
