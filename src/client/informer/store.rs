//! What an informer knows.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use apimachinery::Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

/// Name of an object within its collection: `namespace/name`, or `name` where there are no namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// A key from its parts.
    #[must_use]
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        match namespace {
            Some(namespace) if !namespace.is_empty() => Self(format!("{namespace}/{name}").into()),
            Some(_) | None => Self(name.into()),
        }
    }

    /// The key of an object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        let meta = &object["metadata"];
        Self::new(meta["namespace"].as_str(), meta["name"].as_str().unwrap_or_default())
    }

    /// The key of the object that has this metadata.
    #[must_use]
    pub fn from_meta(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
    }

    /// Namespace, where there is one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once('/').map(|(namespace, _)| namespace)
    }

    /// Name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// `namespace/name`, or `name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A difference between two states of a store.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// The object.
    pub key: &'a Key,
    /// What was known before.
    pub old: Option<&'a Arc<T>>,
    /// What is known now; `None` if it is gone.
    pub new: Option<&'a Arc<T>>,
    /// Whether the collection had been listed completely before ([`Store::is_synced`]).
    pub listed: bool,
}

impl<T> Clone for Change<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Change<'_, T> {}

impl<'a, T> Change<'a, T> {
    /// The newest version there is: what is known now, or was known last of an object that is gone.
    #[must_use]
    pub fn latest(&self) -> Option<&'a T> {
        self.new.or(self.old).map(|value| &**value)
    }

    /// Both versions, as far as they exist, the old one first.
    pub fn versions(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.old.into_iter().chain(self.new).map(|value| &**value)
    }
}

type Handler<T> = Box<dyn Fn(Change<'_, T>) + Send + Sync>;

struct Entry<T> {
    version: u64,
    value: Arc<T>,
}

/// The reduced objects of a collection.
pub struct Store<T> {
    entries: RwLock<BTreeMap<Key, Entry<T>>>,
    /// Newest version that the watch has reported, of any object.
    seen: Mutex<u64>,
    synced: watch::Sender<bool>,
    problem: RwLock<Option<String>>,
    handlers: RwLock<Vec<Handler<T>>>,
}

impl<T> std::fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The resourceVersion of an object as a number; 0 if it is none.
pub(super) fn version_of(object: &Object) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

impl<T> Store<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: RwLock::default(),
            seen: Mutex::new(0),
            synced: watch::Sender::new(false),
            problem: RwLock::default(),
            handlers: RwLock::default(),
        }
    }

    /// Calls `handler` with every object there is, as new, and after every change from now on (perhaps twice with
    /// one that happens now). It must be quick, must not block, and must not call this.
    pub fn on_change(&self, handler: impl Fn(Change<'_, T>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.write();
        for (key, value) in self.all() {
            handler(Change {
                key: &key,
                old: None,
                new: Some(&value),
                listed: self.is_synced(),
            });
        }
        handlers.push(Box::new(handler));
    }

    fn notify(&self, change: Change<'_, T>) {
        for handler in self.handlers.read().iter() {
            handler(change);
        }
    }

    /// What is known of an object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.entries.read().get(key).map(|e| Arc::clone(&e.value))
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.read().is_empty()
    }

    /// The keys of all objects, in ascending order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.entries.read().keys().cloned().collect()
    }

    /// All objects, ascending by key.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        self.entries.read().values().map(|e| Arc::clone(&e.value)).collect()
    }

    /// The objects of a namespace (`None`: those that have none) that `pick` picks, ascending by name.
    #[must_use]
    pub fn list_in(&self, namespace: Option<&str>, mut pick: impl FnMut(&T) -> bool) -> Vec<Arc<T>> {
        in_namespace(&self.entries.read(), namespace)
            .filter(|(_, entry)| pick(&entry.value))
            .map(|(_, entry)| Arc::clone(&entry.value))
            .collect()
    }

    /// The first object of a namespace (`None`: of those that have none) that `pick` picks.
    #[must_use]
    pub fn find_in(&self, namespace: Option<&str>, mut pick: impl FnMut(&T) -> bool) -> Option<(Key, Arc<T>)> {
        in_namespace(&self.entries.read(), namespace)
            .find(|(_, entry)| pick(&entry.value))
            .map(|(key, entry)| (key.clone(), Arc::clone(&entry.value)))
    }

    /// All objects with their keys, in ascending order.
    #[must_use]
    pub fn all(&self) -> Vec<(Key, Arc<T>)> {
        self.entries
            .read()
            .iter()
            .map(|(k, e)| (k.clone(), Arc::clone(&e.value)))
            .collect()
    }

    /// Whether the collection has been listed completely at least once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until [`Store::is_synced`].
    pub async fn synced(&self) {
        // The sender lives as long as self: waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Why the collection cannot be watched just now; `None` while it can.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.read().clone()
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.write() = problem;
    }

    pub(super) fn set_synced(&self) {
        self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    /// Takes the answer to a write of ours without waiting for the watch. Older versions than what is known are
    /// ignored, also when the watch has seen the object go in the meantime.
    pub fn observe(&self, key: &Key, version: u64, value: T) {
        if version != 0 && !self.entries.read().contains_key(key) && version <= *self.seen.lock() {
            return;
        }
        self.put(key, version, value);
    }

    pub(super) fn advance(&self, version: u64) {
        let mut seen = self.seen.lock();
        *seen = version.max(*seen);
    }

    /// The newest version that has been reported.
    pub(super) fn seen(&self) -> u64 {
        *self.seen.lock()
    }

    /// The server has begun to count versions anew: whatever it says now is newer than what is known.
    pub(super) fn restart(&self) {
        for entry in self.entries.write().values_mut() {
            entry.version = 0;
        }
        *self.seen.lock() = 0;
    }

    pub(super) fn put(&self, key: &Key, version: u64, value: T) {
        let value = Arc::new(value);
        let old = {
            let mut entries = self.entries.write();
            if let Some(known) = entries.get_mut(key) {
                if version != 0 && known.version >= version {
                    return;
                }
                known.version = version;
                Some(std::mem::replace(&mut known.value, Arc::clone(&value)))
            } else {
                entries.insert(
                    key.clone(),
                    Entry {
                        version,
                        value: Arc::clone(&value),
                    },
                );
                None
            }
        };
        self.notify(Change {
            key,
            old: old.as_ref(),
            new: Some(&value),
            listed: self.is_synced(),
        });
    }

    pub(super) fn remove(&self, key: &Key, version: u64) {
        let old = {
            let mut entries = self.entries.write();
            match entries.get(key) {
                // The deletion of a predecessor: the object has been created again since.
                Some(known) if version != 0 && known.version > version => return,
                Some(_) => entries.remove(key),
                None => return,
            }
        };
        if let Some(old) = old {
            self.notify(Change {
                key,
                old: Some(&old.value),
                new: None,
                listed: self.is_synced(),
            });
        }
    }

    /// Removes what a complete list at `version` did not contain.
    pub(super) fn retain(&self, listed: &HashSet<Key>, version: u64) {
        let gone: Vec<Key> = self
            .entries
            .read()
            .keys()
            .filter(|key| !listed.contains(key))
            .cloned()
            .collect();
        for key in gone {
            self.remove(&key, version);
        }
    }
}

fn in_namespace<'a, T>(
    entries: &'a BTreeMap<Key, Entry<T>>,
    namespace: Option<&'a str>,
) -> impl Iterator<Item = (&'a Key, &'a Entry<T>)> {
    let first = namespace.map_or_else(|| Key::from(""), |namespace| Key::new(Some(namespace), ""));
    entries
        .range(first..)
        .take_while(move |(key, _)| namespace.is_none() || key.namespace() == namespace)
        .filter(move |(key, _)| key.namespace() == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<Mutex<Vec<(String, Option<u32>, Option<u32>)>>>;

    fn store() -> (Store<u32>, Log) {
        let log = Log::default();
        let copy = Arc::clone(&log);
        let store = Store::new();
        store.on_change(move |change: Change<'_, u32>| {
            copy.lock()
                .push((change.key.to_string(), change.old.map(|v| **v), change.new.map(|v| **v)));
        });
        (store, log)
    }

    #[test]
    fn keys_know_their_parts() {
        assert_eq!(Key::new(Some("a"), "b").namespace(), Some("a"));
        assert_eq!(Key::new(Some("a"), "b").name(), "b");
        assert_eq!(Key::new(None, "b").namespace(), None);
        assert_eq!(Key::new(Some(""), "b").as_str(), "b");
    }

    #[test]
    fn an_older_version_does_not_replace_a_newer_one() {
        let (store, log) = store();
        let key = Key::from("a/b");
        store.put(&key, 5, 50);
        store.put(&key, 4, 40);
        store.put(&key, 5, 51);
        assert_eq!(store.get(&key).as_deref(), Some(&50));
        assert_eq!(log.lock().len(), 1);
    }

    #[test]
    fn the_answer_to_a_write_does_not_resurrect_an_object_the_watch_saw_go() {
        let (store, _) = store();
        let key = Key::from("a/b");
        store.put(&key, 5, 50);
        store.advance(7);
        store.remove(&key, 7);
        store.observe(&key, 6, 60);
        assert_eq!(store.get(&key), None);
        store.observe(&key, 8, 80);
        assert_eq!(store.get(&key).as_deref(), Some(&80));
    }

    #[test]
    fn the_deletion_of_a_predecessor_does_not_remove_a_new_object() {
        let (store, _) = store();
        let key = Key::from("a/b");
        store.observe(&key, 9, 90);
        store.remove(&key, 8);
        assert!(store.get(&key).is_some());
    }

    #[test]
    fn after_a_restart_of_the_server_older_versions_count() {
        let (store, _) = store();
        let (kept, lost) = (Key::from("a/kept"), Key::from("a/lost"));
        store.put(&kept, 50, 1);
        store.put(&lost, 51, 1);
        store.advance(51);
        store.restart();
        store.put(&kept, 3, 2);
        store.retain(&HashSet::from([kept.clone()]), 4);
        assert_eq!((store.get(&kept).as_deref(), store.get(&lost)), (Some(&2), None));
    }

    #[test]
    fn a_relist_reports_what_has_gone() {
        let (store, log) = store();
        store.put(&Key::from("a/b"), 1, 1);
        store.put(&Key::from("a/c"), 2, 2);
        store.retain(&HashSet::from([Key::from("a/c")]), 3);
        assert_eq!(log.lock().last(), Some(&("a/b".to_owned(), Some(1), None)));
        assert_eq!(store.keys(), vec![Key::from("a/c")]);
    }

    #[test]
    fn a_namespace_is_listed_without_its_neighbours() {
        let (store, _) = store();
        for (index, key) in ["default-2/c", "default/b", "default/a", "defaults/d", "node"]
            .iter()
            .enumerate()
        {
            store.put(&Key::from(*key), 1, u32::try_from(index).unwrap());
        }
        let listed = |namespace| {
            store
                .list_in(namespace, |_| true)
                .iter()
                .map(|v| **v)
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(Some("default")), [2, 1]);
        assert_eq!(listed(None), [4]);
        let found = store.find_in(Some("default"), |_| true);
        assert_eq!(
            found.map(|(key, value)| (key.to_string(), *value)),
            Some(("default/a".to_owned(), 2))
        );
        assert!(store.list_in(Some("default"), |_| false).is_empty());
    }

    #[test]
    fn a_late_handler_hears_of_what_is_there_and_of_what_follows() {
        let (store, _) = store();
        store.put(&Key::from("a"), 1, 1);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        store.on_change(move |change| log.lock().extend(change.versions().copied()));
        store.put(&Key::from("a"), 2, 2);
        assert_eq!(*heard.lock(), [1, 1, 2]);
    }
}
