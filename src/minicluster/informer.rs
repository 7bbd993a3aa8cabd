//! One shared, event-driven cache per kind.
//!
//! Every part of the process reads objects here and nowhere else, so each kind costs one watch and
//! one copy in memory. A part that has just written an object puts the server's answer in with
//! [`Store::assume`]: the next reconcile sees its own write, and no controller needs to count
//! expected events. An answer that the watch has overtaken is ignored, so an object that is gone
//! already cannot come back.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// What an informer needs of a kind.
pub(crate) trait Kind:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}
impl<K> Kind for K where K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

/// Namespace and name of an object; the namespace of a cluster-scoped object is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Namespace, or empty.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
}

impl Key {
    /// The key of an object in a namespace.
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}", self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A change of one object in a store.
#[derive(Debug)]
pub(crate) struct Change<K> {
    /// What it was; `None` if it is new.
    pub(crate) old: Option<Arc<K>>,
    /// What it is; `None` if it is gone.
    pub(crate) new: Option<Arc<K>>,
}

impl<K: Resource> Change<K> {
    /// The object's key.
    pub(crate) fn key(&self) -> Key {
        self.latest().map(Key::of).unwrap_or_else(|| Key::new("", ""))
    }

    /// The newest version there is: the new one, or the last one of a deleted object.
    pub(crate) fn latest(&self) -> Option<&K> {
        self.new.as_deref().or(self.old.as_deref())
    }

    /// Both versions that exist.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &K> {
        self.old.as_deref().into_iter().chain(self.new.as_deref())
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Objects<K> {
    by_key: BTreeMap<Key, Arc<K>>,
    /// Everything up to this resourceVersion has been seen by the watch.
    seen: u64,
}

/// The objects of one kind.
pub(crate) struct Store<K> {
    objects: RwLock<Objects<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Resource> Default for Store<K> {
    fn default() -> Self {
        Self {
            objects: RwLock::new(Objects {
                by_key: BTreeMap::new(),
                seen: 0,
            }),
            handlers: RwLock::new(Vec::new()),
            synced: watch::Sender::new(false),
        }
    }
}

impl<K: Resource> Store<K> {
    /// One object.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.read().by_key.get(key).cloned()
    }

    /// Every object, ascending by key.
    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.objects.read().by_key.values().cloned().collect()
    }

    /// The objects of a namespace that a predicate picks, ascending by name.
    pub(crate) fn list_in(&self, namespace: &str, mut pick: impl FnMut(&K) -> bool) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        let objects = self.objects.read();
        objects
            .by_key
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == namespace)
            .filter(|(_, object)| pick(object))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.read().by_key.len()
    }

    /// Calls `handler` with every object there is, as new, and after every change from now on (perhaps twice with
    /// one that happens now). It must be quick and must not block.
    pub(crate) fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.write();
        for object in self.list() {
            handler(&Change {
                old: None,
                new: Some(object),
            });
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until the first list is complete.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Puts in what the server answered to a write, unless the watch is further already.
    pub(crate) fn assume(&self, object: &K)
    where
        K: Clone,
    {
        let version = version(object);
        let mut object = object.clone();
        object.meta_mut().managed_fields = None;
        let key = Key::of(&object);
        let object = Arc::new(object);
        let old = {
            let mut objects = self.objects.write();
            if version <= objects.seen
                || objects
                    .by_key
                    .get(&key)
                    .is_some_and(|held| self::version(&**held) >= version)
            {
                return;
            }
            objects.by_key.insert(key, object.clone())
        };
        self.notify(&Change { old, new: Some(object) });
    }

    fn put(&self, mut object: K) {
        object.meta_mut().managed_fields = None;
        let version = version(&object);
        let key = Key::of(&object);
        let object = Arc::new(object);
        let old = {
            let mut objects = self.objects.write();
            objects.seen = objects.seen.max(version);
            match objects.by_key.get(&key) {
                Some(held) if self::version(&**held) >= version => return,
                _ => objects.by_key.insert(key, object.clone()),
            }
        };
        self.notify(&Change { old, new: Some(object) });
    }

    fn remove(&self, object: &K) {
        let version = version(object);
        let old = {
            let mut objects = self.objects.write();
            objects.seen = objects.seen.max(version);
            let key = Key::of(object);
            // A namesake that was created since stays: the watch will report it too.
            if objects
                .by_key
                .get(&key)
                .is_some_and(|held| held.meta().uid != object.meta().uid)
            {
                return;
            }
            objects.by_key.remove(&key)
        };
        if old.is_some() {
            self.notify(&Change { old, new: None });
        }
    }

    fn replace(&self, items: Vec<K>, at: u64) {
        let mut changes = Vec::new();
        {
            let mut objects = self.objects.write();
            let mut before = std::mem::take(&mut objects.by_key);
            objects.seen = objects.seen.max(at);
            for mut item in items {
                item.meta_mut().managed_fields = None;
                let key = Key::of(&item);
                let old = before.remove(&key);
                let item = match old.clone() {
                    Some(held) if version(&*held) >= version(&item) => held,
                    _ => {
                        let item = Arc::new(item);
                        changes.push(Change {
                            old,
                            new: Some(item.clone()),
                        });
                        item
                    }
                };
                objects.by_key.insert(key, item);
            }
            for (key, held) in before {
                if version(&*held) > at {
                    objects.by_key.insert(key, held);
                } else {
                    changes.push(Change {
                        old: Some(held),
                        new: None,
                    });
                }
            }
        }
        for change in &changes {
            self.notify(change);
        }
        self.synced.send_replace(true);
    }

    fn bookmark(&self, version: &str) {
        if let Ok(version) = version.parse() {
            let mut objects = self.objects.write();
            objects.seen = objects.seen.max(version);
        }
    }

    fn notify(&self, change: &Change<K>) {
        for handler in self.handlers.read().iter() {
            handler(change);
        }
    }
}

impl<K: Resource> Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("len", &self.len()).finish()
    }
}

fn version<K: Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

/// Starts an informer of every object of a kind, of those that `fields` (a field selector) picks.
/// It lists, then watches; it starts over with backoff after an error, until `shutdown`.
pub(crate) fn start<K: Kind>(client: &Client, fields: Option<&str>, shutdown: CancellationToken) -> Arc<Store<K>> {
    let store = Arc::new(Store::default());
    let api: Api<K> = Api::all(client.clone());
    let fields = fields.map(str::to_owned);
    let task = store.clone();
    tokio::spawn(async move {
        shutdown.run_until_cancelled(keep(api, fields, task)).await;
    });
    store
}

async fn keep<K: Kind>(api: Api<K>, fields: Option<String>, store: Arc<Store<K>>) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        match list_and_watch(&api, fields.as_deref(), &store, &mut backoff).await {
            Ok(()) => tracing::debug!(kind = %K::kind(&()), "watch expired, listing again"),
            Err(error) => {
                let delay = backoff.next();
                tracing::debug!(kind = %K::kind(&()), %error, ?delay, "watch failed");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Lists and watches until the watch cannot be resumed.
async fn list_and_watch<K: Kind>(
    api: &Api<K>,
    fields: Option<&str>,
    store: &Store<K>,
    backoff: &mut Backoff,
) -> Result<(), kube::Error> {
    let mut list = ListParams::default().match_any();
    let mut watch = WatchParams::default();
    if let Some(fields) = fields {
        list = list.fields(fields);
        watch = watch.fields(fields);
    }
    let objects = api.list(&list).await?;
    let mut version = objects.metadata.resource_version.unwrap_or_default();
    store.replace(objects.items, version.parse().unwrap_or(0));
    backoff.reset();
    loop {
        let mut events = std::pin::pin!(api.watch(&watch, &version).await?.boxed());
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.resource_version().unwrap_or(version);
                    store.put(object);
                }
                WatchEvent::Deleted(object) => {
                    version = object.resource_version().unwrap_or(version);
                    store.remove(&object);
                }
                WatchEvent::Bookmark(bookmark) => {
                    store.bookmark(&bookmark.metadata.resource_version);
                    version = bookmark.metadata.resource_version;
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn config_map(name: &str, uid: &str, version: u64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some("default".into());
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.to_string());
        object
    }

    #[test]
    fn an_assumed_write_is_seen_until_the_watch_reports_it() {
        let store = Store::<ConfigMap>::default();
        store.replace(vec![], 5);
        store.assume(&config_map("a", "u1", 7));
        assert_eq!(store.len(), 1);
        store.put(config_map("a", "u1", 7));
        store.put(config_map("a", "u1", 9));
        assert_eq!(version(&*store.get(&Key::new("default", "a")).unwrap()), 9);
    }

    #[test]
    fn an_answer_that_the_watch_has_overtaken_does_not_bring_an_object_back() {
        let store = Store::<ConfigMap>::default();
        store.replace(vec![], 5);
        store.put(config_map("a", "u1", 7));
        store.remove(&config_map("a", "u1", 8));
        store.assume(&config_map("a", "u1", 7));
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn deleting_an_old_object_leaves_its_assumed_namesake() {
        let store = Store::<ConfigMap>::default();
        store.put(config_map("a", "u1", 7));
        store.assume(&config_map("a", "u2", 9));
        store.remove(&config_map("a", "u1", 8));
        assert_eq!(
            store.get(&Key::new("default", "a")).unwrap().metadata.uid.as_deref(),
            Some("u2")
        );
    }

    #[test]
    fn a_new_list_reports_what_vanished_meanwhile() {
        let store = Store::<ConfigMap>::default();
        store.replace(vec![config_map("a", "u1", 1), config_map("b", "u2", 2)], 5);
        let gone = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let seen = gone.clone();
        store.on_change(move |change| {
            if change.new.is_none() {
                seen.lock().push(change.key().name);
            }
        });
        store.replace(vec![config_map("b", "u2", 2)], 9);
        assert_eq!(*gone.lock(), ["a"]);
    }

    #[test]
    fn a_namespace_is_listed_without_its_neighbours() {
        let store = Store::<ConfigMap>::default();
        let mut other = config_map("c", "u3", 3);
        other.metadata.namespace = Some("default-2".into());
        store.replace(vec![config_map("a", "u1", 1), other], 5);
        assert_eq!(store.list_in("default", |_| true).len(), 1);
    }
}
