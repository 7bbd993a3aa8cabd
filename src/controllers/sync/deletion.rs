//! The deletion of a federated object: its copies go first, or are set free, then our finalizer.
//!
//! A member that cannot be reached does not hold the deletion up: what is left to do there is written down
//! ([`super::tombstones`]) and done when it is back.

use std::{collections::BTreeSet, time::Duration};

use client::{Key, queue::Outcome};

use super::{
    SyncKey,
    engine::Engine,
    federated::Federated,
    kinds,
    tombstones::{self, Tombstone},
};
use crate::history;

/// Looked at again after this, should a wake-up get lost.
const RECHECK: Duration = Duration::from_secs(15);

impl Engine {
    /// Whether copies stay: the object was orphaned, or its namespace was.
    pub(super) fn is_orphaning(&self, key: &SyncKey, federated: &Federated) -> bool {
        let namespace_orphaned = || {
            let (namespace, kind) = (key.1.namespace()?, kinds::index_of("Namespace")?);
            let namespace = self.store(kind).get(&Key::from(namespace))?;
            namespace.deletion.map(|d| d.orphan)
        };
        federated.deletion.is_some_and(|d| d.orphan) || namespace_orphaned().unwrap_or(false)
    }

    /// Notes that nothing of ours is left of an object in a cluster.
    pub(super) fn removed_from(&self, key: &SyncKey, federated: &Federated, cluster: &str) {
        let mut removed = self.removed.lock();
        let entry = removed
            .entry(key.clone())
            .or_insert_with(|| (federated.uid.clone(), BTreeSet::new()));
        if entry.0 != federated.uid {
            *entry = (federated.uid.clone(), BTreeSet::new());
        }
        entry.1.insert(cluster.to_owned());
        drop(removed);
        self.wake.plan.add(key.clone());
    }

    fn is_removed_from(&self, key: &SyncKey, federated: &Federated, cluster: &str) -> bool {
        self.removed
            .lock()
            .get(key)
            .is_some_and(|(uid, clusters)| *uid == federated.uid && clusters.contains(cluster))
    }

    /// Drives a deletion on.
    pub(super) async fn remove(&self, key: &SyncKey, federated: &Federated) -> Result<Outcome, client::Error> {
        if !federated.has_finalizer() {
            return Ok(Outcome::Done);
        }
        let mut waiting = false;
        let mut absent = Vec::new();
        for (cluster, object) in self.clusters.all() {
            let cluster = cluster.name().to_owned();
            if self.is_removed_from(key, federated, &cluster) {
                continue;
            }
            if let Some(member) = self.members.reachable(&cluster) {
                member.queue.add(key.clone());
                waiting = true;
                continue;
            }
            let member = self.members.get(&cluster);
            let listed = member.as_ref().filter(|m| m.store(key.0).is_synced());
            let copy = listed.and_then(|m| m.store(key.0).get(&key.1));
            let concerned = match listed {
                Some(_) => copy.as_ref().is_some_and(|c| c.ours),
                None => federated.selects(&object["metadata"]["labels"]),
            };
            if concerned {
                absent.push((cluster, copy.map(|c| c.uid.to_string())));
            }
        }
        let orphan = self.is_orphaning(key, federated);
        for (cluster, uid) in absent {
            let tombstone = Tombstone {
                kind: Self::kind(key).resource().kind.to_owned(),
                key: key.1.to_string(),
                uid,
                orphan,
            };
            tombstones::write(&self.federation, &cluster, &tombstone).await?;
            let text = format!(
                "cluster {cluster} is not reachable: its copy will be {} when it is back",
                if orphan { "released" } else { "deleted" }
            );
            self.event(
                key,
                federated,
                client::events::Severity::Warning,
                "DeletionPostponed",
                text,
            );
            self.removed_from(key, federated, &cluster);
        }
        if waiting {
            return Ok(Outcome::After(RECHECK));
        }
        if orphan && Self::kind(key).resource().kind == "Deployment" {
            history::discard(&self.federation, &key.1).await?;
        }
        self.set_finalizer(key, federated, false).await?;
        Ok(Outcome::Done)
    }
}
