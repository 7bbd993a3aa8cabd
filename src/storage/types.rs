//! What goes into a store and comes out of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

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

/// How far a watch must have come to have seen everything that a read would show now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The newest revision of the whole store.
    pub revision: Revision,
    /// No key with the prefix has changed in `(last_change, revision]`.
    pub last_change: Revision,
}
