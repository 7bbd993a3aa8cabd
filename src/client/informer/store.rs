//! What an informer knows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use apimachinery::Object;
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
}

type Handler<T> = Box<dyn Fn(Change<'_, T>) + Send + Sync>;

struct Entry<T> {
    version: u64,
    value: Arc<T>,
}

/// The reduced objects of a collection.
pub struct Store<T> {
    entries: RwLock<HashMap<Key, Entry<T>>>,
    /// Newest version that the watch has reported, of any object.
    seen: Mutex<u64>,
    synced: watch::Sender<bool>,
    problem: RwLock<Option<String>>,
    handler: Handler<T>,
}

/// The resourceVersion of an object as a number; 0 if it is none.
pub(super) fn version_of(object: &Object) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

impl<T> Store<T> {
    pub(super) fn new(handler: Handler<T>) -> Self {
        Self {
            entries: RwLock::default(),
            seen: Mutex::new(0),
            synced: watch::Sender::new(false),
            problem: RwLock::default(),
            handler,
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

    /// The keys of all objects, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.entries.read().keys().cloned().collect()
    }

    /// All objects, in no order.
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
        (self.handler)(Change {
            key,
            old: old.as_ref(),
            new: Some(&value),
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
            (self.handler)(Change {
                key,
                old: Some(&old.value),
                new: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<Mutex<Vec<(String, Option<u32>, Option<u32>)>>>;

    fn store() -> (Store<u32>, Log) {
        let log = Log::default();
        let copy = Arc::clone(&log);
        let store = Store::new(Box::new(move |change: Change<'_, u32>| {
            copy.lock()
                .push((change.key.to_string(), change.old.map(|v| **v), change.new.map(|v| **v)));
        }));
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
    fn a_relist_reports_what_has_gone() {
        let (store, log) = store();
        store.put(&Key::from("a/b"), 1, 1);
        store.put(&Key::from("a/c"), 2, 2);
        store.retain(&HashSet::from([Key::from("a/c")]), 3);
        assert_eq!(log.lock().last(), Some(&("a/b".to_owned(), Some(1), None)));
        assert_eq!(store.keys(), vec![Key::from("a/c")]);
    }
}
