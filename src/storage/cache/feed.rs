//! Keeps a cache in step with the store: lists once, then follows one watch, and starts over where it must.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{Cache, Codec, Entry, Event, EventKind, Inner, Reached, restamp, ring::Ring};
use crate::{Change, Error, ListOptions, Revision, WatchItem, WatchStream};

/// Changes applied under one lock at most.
const BATCH: usize = 256;
/// First wait after a failure of the store; doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// A store that is back is noticed within this time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Runs until the cache is dropped.
pub(super) async fn run<C: Codec>(cache: Weak<Cache<C>>, stop: CancellationToken) {
    stop.run_until_cancelled(follow(cache)).await;
}

async fn follow<C: Codec>(cache: Weak<Cache<C>>) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        match follow_once(&cache, &mut backoff).await {
            Ok(()) => {}
            Err(Error::Compacted { .. }) => {
                if let Some(cache) = cache.upgrade() {
                    tracing::warn!(
                        prefix = &*cache.prefix,
                        "the cache fell behind the compaction horizon: lists again"
                    );
                    cache.reached.send_modify(|reached| reached.ready = false);
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the cache cannot follow the store: tries again");
            }
        }
        if cache.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// Lists if that was not done yet, and follows a watch until it ends.
async fn follow_once<C: Codec>(cache: &Weak<Cache<C>>, backoff: &mut Duration) -> Result<(), Error> {
    let mut changes = {
        let Some(cache) = cache.upgrade() else { return Ok(()) };
        if !cache.is_ready() {
            fill(&cache).await?;
        }
        open(&cache).await?.ready_chunks(BATCH)
    };
    while let Some(batch) = changes.next().await {
        let Some(cache) = cache.upgrade() else { return Ok(()) };
        apply(&cache, batch)?;
        *backoff = FIRST_BACKOFF;
    }
    Ok(())
}

async fn open<C: Codec>(cache: &Cache<C>) -> Result<WatchStream, Error> {
    cache.storage.watch(&cache.prefix, cache.revision()).await
}

/// Replaces everything by the store's present state. Watchers then go on from the store's history, or learn
/// that it is compacted.
async fn fill<C: Codec>(cache: &Cache<C>) -> Result<(), Error> {
    let page = cache.storage.list(&cache.prefix, ListOptions::default()).await?;
    let revision = page.revision.0;
    let entries = page
        .items
        .into_iter()
        .map(|item| (Arc::clone(&item.key), Arc::new(cache.entry(&item))))
        .collect();
    let mut inner = cache.inner.write();
    let went_back = revision < inner.revision;
    inner.entries = entries;
    inner.ring = Ring::new(revision);
    inner.revision = revision;
    inner
        .watchers
        .values()
        .flatten()
        .for_each(|slot| slot.interrupted(went_back));
    cache.reached.send_replace(Reached { ready: true, revision });
    Ok(())
}

/// A change, decoded before the lock is taken.
enum Decoded<P> {
    Put(Entry<P>),
    Delete(Arc<str>, Revision),
    Progress(Revision),
}

fn apply<C: Codec>(cache: &Cache<C>, batch: Vec<Result<WatchItem, Error>>) -> Result<(), Error> {
    let mut failure = Ok(());
    let mut decoded = Vec::with_capacity(batch.len());
    for item in batch {
        match item {
            Ok(WatchItem::Change(Change::Put { current, .. })) => decoded.push(Decoded::Put(cache.entry(&current))),
            Ok(WatchItem::Change(Change::Delete { revision, previous })) => {
                decoded.push(Decoded::Delete(previous.key, revision));
            }
            Ok(WatchItem::Progress(revision)) => decoded.push(Decoded::Progress(revision)),
            Err(error) => failure = Err(error),
        }
    }
    let mut inner = cache.inner.write();
    for change in decoded {
        match change {
            Decoded::Put(entry) => put(&mut inner, &*cache.codec, entry),
            Decoded::Delete(key, revision) => delete(&mut inner, &*cache.codec, &key, revision),
            Decoded::Progress(revision) => inner.revision = inner.revision.max(revision.0),
        }
    }
    let revision = inner.revision;
    drop(inner);
    cache.reached.send_replace(Reached { ready: true, revision });
    failure
}

fn put<C: Codec>(inner: &mut Inner<C::Payload>, codec: &C, entry: Entry<C::Payload>) {
    let entry = Arc::new(entry);
    let previous = inner.entries.insert(Arc::clone(&entry.key), Arc::clone(&entry));
    let kind = if previous.is_some() {
        EventKind::Modified
    } else {
        EventKind::Added
    };
    let weight = codec.weight(&entry.payload);
    tell(
        inner,
        weight,
        Event {
            revision: entry.modified,
            kind,
            entry,
            previous,
            departed: OnceLock::new(),
        },
    );
}

fn delete<C: Codec>(inner: &mut Inner<C::Payload>, codec: &C, key: &str, revision: Revision) {
    let Some(previous) = inner.entries.remove(key) else {
        return;
    };
    let entry = Arc::new(restamp(codec, &previous, revision));
    let weight = 2 * codec.weight(&entry.payload);
    let event = Event {
        revision,
        kind: EventKind::Deleted,
        entry,
        previous: Some(previous),
        departed: OnceLock::new(),
    };
    tell(inner, weight, event);
}

/// Records a change and wakes the watchers of every scope its key is in.
fn tell<P>(inner: &mut Inner<P>, weight: usize, event: Event<P>) {
    let key = Arc::clone(&event.entry.key);
    let revision = event.revision.0;
    inner.revision = inner.revision.max(revision);
    inner.ring.push(weight, Arc::new(event));
    if inner.watchers.is_empty() {
        return;
    }
    let scopes = key.match_indices('/').map(|(at, _)| &key[..=at]).chain([&*key]);
    for slot in scopes.filter_map(|scope| inner.watchers.get(scope)).flatten() {
        slot.changed(revision);
    }
}
