//! Revisioned key-value storage behind one trait.
//!
//! One global revision counts every change. Keys are paths such as
//! `/registry/apps/deployments/default/web`; values are opaque bytes (an object as JSON, without its
//! `resourceVersion`, which is the revision of its last change). Old versions are kept to a
//! compaction horizon, so that lists can be exact and watches can resume.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// The global counter of changes. The first change of an empty store makes it 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Arc<str>,
    /// The bytes as they were written.
    pub value: Bytes,
    /// Revision at which the key was created (again).
    pub created: Revision,
    /// Revision of this version.
    pub modified: Revision,
}

/// One page of a list, all of it as of one revision.
#[derive(Debug, Clone)]
pub struct Page {
    /// The revision the page shows.
    pub revision: Revision,
    /// Ascending by key.
    pub items: Vec<KeyValue>,
    /// How many keys follow this page; 0 at the end.
    pub remaining: u64,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// As of this revision; `None` is the newest.
    pub at: Option<Revision>,
    /// At most this many items; 0 is all.
    pub limit: usize,
    /// Only keys strictly after this one.
    pub after: Option<String>,
}

/// A change that a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has a new version. `previous` is what it replaced.
    Put {
        /// The new version.
        current: KeyValue,
        /// What it replaced; `None` if the key is new.
        previous: Option<KeyValue>,
    },
    /// The key is gone as of `revision`.
    Delete {
        /// The revision of the deletion.
        revision: Revision,
        /// The last version.
        previous: KeyValue,
    },
}

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// A change; revisions ascend.
    Change(Change),
    /// Everything up to this revision has been reported.
    Progress(Revision),
}

/// A stream of changes. It ends after an error.
pub type WatchStream = std::pin::Pin<Box<dyn futures::Stream<Item = Result<WatchItem, Error>> + Send>>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key exists already.
    #[error("key {key} exists already")]
    AlreadyExists {
        /// The key.
        key: String,
    },
    /// The key does not exist.
    #[error("key {key} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The key is not at the expected revision any more.
    #[error("key {key} was changed at revision {}", current.modified.0)]
    Conflict {
        /// The key.
        key: String,
        /// What it is now.
        current: Box<KeyValue>,
    },
    /// The revision has been compacted away.
    #[error("revision {} is compacted, the oldest is {}", wanted.0, oldest.0)]
    Compacted {
        /// What was asked for.
        wanted: Revision,
        /// The oldest that is still there.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {} is in the future, the newest is {}", wanted.0, current.0)]
    Future {
        /// What was asked for.
        wanted: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// The value is larger than the store takes.
    #[error("value of {size} bytes for {key} is larger than {limit} bytes")]
    TooLarge {
        /// The key.
        key: String,
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The store itself failed: disk full, connection lost.
    #[error("cannot {operation}")]
    Backend {
        /// What was being done.
        operation: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A revisioned key-value store. An acknowledged write survives the death of the process.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The newest revision.
    async fn revision(&self) -> Result<Revision, Error>;
    /// One key, now.
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, Error>;
    /// The keys with a prefix.
    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, Error>;
    /// Writes a key that must not exist. `ttl`: the key deletes itself after it (reported as a deletion).
    async fn create(&self, key: &str, value: Bytes, ttl: Option<std::time::Duration>) -> Result<KeyValue, Error>;
    /// Replaces a key that must still be at revision `expected`.
    async fn update(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<std::time::Duration>) -> Result<KeyValue, Error>;
    /// Removes a key that must still be at revision `expected`; returns the last version and the revision of the deletion.
    async fn delete(&self, key: &str, expected: Revision) -> Result<(KeyValue, Revision), Error>;
    /// Every change of keys with a prefix after revision `after`, and progress marks now and then.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error>;
    /// Forgets versions older than `revision` (those still current stay).
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
    /// Whether the store can serve now; an error says why not. For `/readyz`.
    async fn check(&self) -> Result<(), Error>;
}
