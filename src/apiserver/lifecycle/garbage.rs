//! Garbage collection by owner references, with kube-controller-manager's rules.
//!
//! An object whose owners are all gone is deleted. An owner that is deleted in the foreground waits for the dependents
//! that block it; one that is deleted with orphaning lets go of them first. Owners are looked up in the store when it
//! matters, so the index of dependents may be late but nothing is deleted on a guess.

use std::{sync::Arc, time::Duration};

use api::well_known::FINALIZER_DELETE_FROM_CLUSTERS;
use apimachinery::{Object, status::Status};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use storage::{Change, ListOptions, WatchItem};
use tokio_util::sync::CancellationToken;

use super::{
    Actor,
    owned::{Meta, Owned, Owner, Place},
    queue::Queue,
};
use crate::{
    errors,
    registry::{
        Registry, Resource, codec,
        delete::{Delete, DeleteOptions, Preconditions, Propagation},
        metadata, update,
    },
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Objects worked on at a time.
const WORKERS: usize = 16;
/// Wait before the store is followed again after a failure.
const RETRY: Duration = Duration::from_millis(500);

struct Collector {
    registry: Arc<Registry>,
    resources: Vec<Arc<Resource>>,
    owned: Mutex<Owned>,
    queue: Queue<Place>,
    actor: Actor,
}

/// Collects until `stop`.
pub(super) async fn run(registry: Arc<Registry>, stop: CancellationToken) {
    let resources: Vec<Arc<Resource>> = registry
        .stored_resources()
        .filter(|r| r.stored.kind != "Event" && r.is_stored())
        .cloned()
        .collect();
    let collector = Arc::new(Collector {
        registry,
        resources,
        owned: Mutex::default(),
        queue: Queue::new(),
        actor: Actor::new("generic-garbage-collector"),
    });
    let workers = (0..WORKERS)
        .map(|_| tokio::spawn(collector.clone().work()))
        .collect::<Vec<_>>();
    let following = async {
        loop {
            if let Err(error) = collector.follow().await {
                tracing::warn!(error = errors::chain(&error), "garbage collection starts over");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    stop.run_until_cancelled(following).await;
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

impl Collector {
    /// Looks at everything once, then at every change.
    async fn follow(&self) -> Result<(), storage::Error> {
        let prefix = self.registry.prefix().to_owned();
        *self.owned.lock() = Owned::default();
        let page = self.registry.storage.list(&prefix, ListOptions::default()).await?;
        for item in &page.items {
            self.changed(&item.key, &item.value);
        }
        let mut changes = self.registry.storage.watch(&prefix, page.revision).await?;
        drop(page);
        while let Some(item) = changes.next().await {
            match item? {
                WatchItem::Progress(_) => {}
                WatchItem::Change(Change::Put { current, .. }) => self.changed(&current.key, &current.value),
                WatchItem::Change(Change::Delete { previous, .. }) => self.gone(&previous.key, &previous.value),
            }
        }
        Ok(())
    }

    fn place(&self, key: &str, meta: &Meta) -> Option<Place> {
        let resource = self.resources.iter().position(|r| key.starts_with(&r.prefix))?;
        Some(Place {
            resource,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        })
    }

    fn changed(&self, key: &str, value: &[u8]) {
        let meta = Meta::read(value);
        let Some(place) = self.place(key, &meta) else { return };
        self.owned.lock().put(&place, &meta.owner_references);
        let waits = meta.is_deleting() && (meta.has(FOREGROUND) || meta.has(ORPHAN));
        if waits {
            // Dependents may go now: their owner waits for it.
            let dependents = self.owned.lock().dependents(&place.uid);
            dependents.into_iter().for_each(|dependent| self.queue.add(dependent));
        }
        if waits || !meta.owner_references.is_empty() {
            self.queue.add(place);
        }
    }

    fn gone(&self, key: &str, value: &[u8]) {
        let meta = Meta::read(value);
        let Some(place) = self.place(key, &meta) else { return };
        let mut owned = self.owned.lock();
        owned.remove(&place);
        let dependents = owned.dependents(&place.uid);
        drop(owned);
        dependents.into_iter().for_each(|dependent| self.queue.add(dependent));
        for owner in &meta.owner_references {
            if let Some(place) = self.owner_place(owner, &meta.namespace) {
                self.queue.add(place);
            }
        }
    }

    /// Where an owner must be, if its kind is served.
    fn owner_place(&self, owner: &Owner, namespace: &str) -> Option<Place> {
        let found = self.registry.by_kind(&owner.api_version, &owner.kind)?;
        let resource = self.resources.iter().position(|r| r.prefix == found.prefix)?;
        let namespace = if found.namespaced() { namespace } else { "" };
        Some(Place {
            resource,
            namespace: namespace.into(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        })
    }

    async fn work(self: Arc<Self>) {
        loop {
            let place = self.queue.next().await;
            let result = self.settle(&place).await;
            if let Err(status) = &result
                && ![404, 409].contains(&status.code)
            {
                tracing::warn!(name = &*place.name, namespace = &*place.namespace, error = %status, "cannot collect");
            }
            // Gone is settled; somebody faster is a reason to look again.
            let settled = result.map_or_else(|status| status.code == 404, |()| true);
            self.queue.done(place, settled);
        }
    }

    fn dependents(&self, place: &Place) -> Vec<Place> {
        self.owned.lock().dependents(&place.uid)
    }

    async fn read(&self, place: &Place) -> Result<Option<(Object, Meta)>, Status> {
        let resource = &self.resources[place.resource];
        match self.registry.get(resource, &place.namespace, &place.name).await {
            Ok(found) => {
                let meta = Meta::read(&found.value);
                let same = meta.uid == place.uid;
                Ok(if same {
                    Some((codec::decode(&found)?, meta))
                } else {
                    None
                })
            }
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Brings one object to where its owners and its own deletion want it.
    async fn settle(&self, place: &Place) -> Result<(), Status> {
        let Some((_, meta)) = self.read(place).await? else {
            return Ok(());
        };
        if meta.is_deleting() {
            if meta.has(ORPHAN) {
                return self.orphan(place, &meta).await;
            }
            if meta.has(FOREGROUND) {
                return self.foreground(place).await;
            }
            return Ok(());
        }
        if meta.owner_references.is_empty() {
            Ok(())
        } else {
            self.judge(place, &meta).await
        }
    }

    /// Lets every dependent go, then the object. While a federated object's copies are not seen to, the finalizer
    /// stays: it tells what is to become of them.
    async fn orphan(&self, place: &Place, meta: &Meta) -> Result<(), Status> {
        for dependent in self.dependents(place) {
            self.drop_owners(&dependent, std::slice::from_ref(&place.uid)).await?;
        }
        if meta.has(FINALIZER_DELETE_FROM_CLUSTERS) {
            return Ok(());
        }
        self.drop_finalizer(place, ORPHAN).await
    }

    /// Lets the object go when no dependent blocks it any more; asks the others to go.
    async fn foreground(&self, place: &Place) -> Result<(), Status> {
        let mut blocked = false;
        for dependent in self.dependents(place) {
            let Some((_, meta)) = self.read(&dependent).await? else {
                continue;
            };
            let mut references = meta.owner_references.iter().filter(|o| o.uid == place.uid);
            if references.any(|o| o.block_owner_deletion) {
                blocked = true;
                self.queue.add(dependent);
            }
        }
        if blocked {
            Ok(())
        } else {
            self.drop_finalizer(place, FOREGROUND).await
        }
    }

    /// Deletes an object without owners that live; forgets the others.
    async fn judge(&self, place: &Place, meta: &Meta) -> Result<(), Status> {
        let (mut solid, mut dangling, mut waiting) = (0, Vec::new(), Vec::new());
        for owner in &meta.owner_references {
            match self.find(owner, &meta.namespace).await? {
                Found::There => solid += 1,
                Found::Unknown => return Ok(()),
                Found::Gone => dangling.push(owner.uid.clone()),
                Found::Waiting => waiting.push(owner.uid.clone()),
            }
        }
        if dangling.is_empty() && waiting.is_empty() {
            return Ok(());
        }
        if solid > 0 {
            dangling.append(&mut waiting);
            return self.drop_owners(place, &dangling).await;
        }
        let has_dependents = !self.dependents(place).is_empty();
        let propagation = if !waiting.is_empty() && has_dependents {
            Propagation::Foreground
        } else if meta.has(ORPHAN) {
            Propagation::Orphan
        } else if meta.has(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        let options = DeleteOptions {
            propagation: Some(propagation),
            preconditions: Preconditions {
                uid: Some(place.uid.to_string()),
                resource_version: None,
            },
            ..DeleteOptions::default()
        };
        let delete = Delete {
            resource: &self.resources[place.resource],
            namespace: &place.namespace,
            name: &place.name,
            options: &options,
            user: &self.actor.user,
            now: jiff::Timestamp::now(),
        };
        self.registry.delete(&delete).await.map(|_| ())
    }

    async fn find(&self, owner: &Owner, namespace: &str) -> Result<Found, Status> {
        let Some(place) = self.owner_place(owner, namespace) else {
            return Ok(Found::Unknown);
        };
        if self.resources[place.resource].namespaced() && namespace.is_empty() {
            return Ok(Found::Unknown);
        }
        Ok(match self.read(&place).await? {
            None => Found::Gone,
            Some((_, meta)) if meta.is_deleting() && meta.has(FOREGROUND) => Found::Waiting,
            Some(_) => Found::There,
        })
    }

    async fn drop_owners(&self, place: &Place, uids: &[Box<str>]) -> Result<(), Status> {
        let change = Without {
            list: "ownerReferences",
            drops: &|item| {
                item.get("uid")
                    .and_then(Value::as_str)
                    .is_some_and(|uid| uids.iter().any(|u| **u == *uid))
            },
        };
        self.rewrite(place, &change).await
    }

    async fn drop_finalizer(&self, place: &Place, finalizer: &str) -> Result<(), Status> {
        let change = Without {
            list: "finalizers",
            drops: &|item| item.as_str() == Some(finalizer),
        };
        self.rewrite(place, &change).await
    }

    async fn rewrite(&self, place: &Place, change: &Without<'_>) -> Result<(), Status> {
        let write = self.actor.write(&self.resources[place.resource], &place.namespace, "");
        match self.registry.update(&write, &place.name, change).await {
            Err(status) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

enum Found {
    There,
    Gone,
    /// Deleted in the foreground: it waits for its dependents.
    Waiting,
    /// Of a kind that is not served: nothing can be said.
    Unknown,
}

/// Leaves entries out of a list of the metadata.
struct Without<'a> {
    list: &'static str,
    drops: &'a (dyn Fn(&Value) -> bool + Send + Sync),
}

impl update::Change for Without<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut object = current.cloned().unwrap_or_default();
        let metadata = metadata::of_mut(&mut object);
        if let Some(list) = metadata.get_mut(self.list).and_then(Value::as_array_mut) {
            list.retain(|item| !(self.drops)(item));
        }
        Ok(object)
    }

    fn is_trusted(&self) -> bool {
        true
    }
}
