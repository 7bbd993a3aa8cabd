//! Revisioned key-value storage behind one trait.
//!
//! One global revision counts every change. Keys are paths such as
//! `/registry/apps/deployments/default/web`; values are opaque bytes (an object as JSON, without its
//! `resourceVersion`, which is the revision of its last change). Old versions are kept to a
//! compaction horizon, so that lists can be exact and watches can resume.
//!
//! Two engines share one in-memory index of versions ([`memory()`] for tests, [`embedded`] with a log
//! on disk). [`cache`] keeps decoded objects of one prefix in step with any engine.

pub mod cache;
pub mod embedded;
mod engine;
mod error;
pub mod etcd;
mod index;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::Error;
pub use types::{Change, KeyValue, ListOptions, Page, Revision, Settled, WatchItem, WatchStream};

/// Largest value in bytes that a store takes: the limit of etcd, so that an object fits everywhere or nowhere.
pub const MAX_VALUE_BYTES: usize = 1536 * 1024;

/// A store that keeps everything in memory and forgets it when dropped. For tests.
///
/// Must be called within a tokio runtime: keys with a time to live are removed by a task.
#[must_use]
pub fn memory() -> Arc<dyn Storage> {
    engine::Engine::in_memory()
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
    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        ttl: Option<std::time::Duration>,
    ) -> Result<KeyValue, Error>;
    /// Removes a key that must still be at revision `expected`; returns the last version and the revision of the deletion.
    async fn delete(&self, key: &str, expected: Revision) -> Result<(KeyValue, Revision), Error>;
    /// Every change of keys with a prefix after revision `after`, and progress marks now and then.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error>;
    /// Forgets versions older than `revision` (those still current stay).
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
    /// How far a watch of `prefix` must have come to have seen all that a read would show now.
    ///
    /// Engines that know the last change of a prefix spare the cache a wait for progress marks.
    async fn settled(&self, _prefix: &str) -> Result<Settled, Error> {
        let revision = self.revision().await?;
        Ok(Settled {
            revision,
            last_change: revision,
        })
    }
    /// Asks the watches of exactly this prefix to report their progress soon.
    async fn request_progress(&self, _prefix: &str) -> Result<(), Error> {
        Ok(())
    }
    /// Whether the store can serve now; an error says why not. For `/readyz`.
    async fn check(&self) -> Result<(), Error>;
}
