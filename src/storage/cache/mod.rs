//! The watch cache: decoded objects of one prefix, kept in step with the store by a single watch.
//!
//! Every reader and watcher of a prefix is served from here. A [`Codec`] turns stored bytes into a
//! payload once per version; lists, gets and all watchers share it. Recent changes stay in a ring:
//! watchers are cursors into it, so they need no queues of their own, and one that falls out of the
//! ring reads the store's history until it has caught up. It is closed only when the compaction
//! horizon overtakes it. Writers are never held up.
//!
//! Consistent reads ask the store how far the cache must have come ([`Storage::settled`]) and wait
//! for that. The cache never writes.

mod feed;
mod ring;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{
    sync::watch as signal,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Error, KeyValue, ListOptions, Revision, Storage};
use ring::Ring;
pub use watch::Watch;

/// How long a read waits for a revision that has not happened yet, as kube-apiserver.
pub const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// How often progress is asked for again while a read waits.
const PROGRESS_RETRY: Duration = Duration::from_millis(100);

/// Turns stored values into what readers share. Pure and quick: it runs once per version.
pub trait Codec: Send + Sync + 'static {
    /// What an entry carries, for example labels, fields and the final JSON.
    type Payload: Send + Sync + 'static;
    /// Decodes one version.
    fn decode(&self, stored: &KeyValue) -> Self::Payload;
    /// The same object as of another revision: a deletion, or a departure from a selection.
    fn restamp(&self, payload: &Self::Payload, revision: Revision) -> Self::Payload;
    /// Roughly the bytes a payload holds; bounds the ring of recent changes.
    fn weight(&self, payload: &Self::Payload) -> usize;
}

/// One version of one object.
#[derive(Debug)]
pub struct Entry<P> {
    /// Its key in the store.
    pub key: Arc<str>,
    /// Revision at which the key was created.
    pub created: Revision,
    /// Revision of this version.
    pub modified: Revision,
    /// What the codec made of it.
    pub payload: P,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It came into being.
    Added,
    /// It was replaced.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, shared by all watchers.
#[derive(Debug)]
pub struct Event<P> {
    /// The revision of the change.
    pub revision: Revision,
    /// What happened.
    pub kind: EventKind,
    /// The new version; for a deletion the last version, stamped with the revision of the deletion.
    pub entry: Arc<Entry<P>>,
    /// The version before.
    pub previous: Option<Arc<Entry<P>>>,
    departed: OnceLock<Arc<Entry<P>>>,
}

impl<P> Event<P> {
    /// The version before, stamped with the revision of this change: what a watcher is told whose selection
    /// the object leaves. Made once, on first use. `None` if there was no version before.
    pub fn departed<C: Codec<Payload = P>>(&self, codec: &C) -> Option<&Arc<Entry<P>>> {
        if self.kind == EventKind::Deleted {
            return Some(&self.entry);
        }
        let previous = self.previous.as_ref()?;
        Some(
            self.departed
                .get_or_init(|| Arc::new(restamp(codec, previous, self.revision))),
        )
    }
}

fn restamp<C: Codec>(codec: &C, entry: &Entry<C::Payload>, revision: Revision) -> Entry<C::Payload> {
    Entry {
        key: Arc::clone(&entry.key),
        created: entry.created,
        modified: revision,
        payload: codec.restamp(&entry.payload, revision),
    }
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Shows every write acknowledged before the call.
    Newest,
    /// Whatever the cache has.
    Any,
    /// At least as new as this; waits up to [`FUTURE_WAIT`] for it.
    AtLeast(Revision),
    /// Exactly as of this revision.
    Exactly(Revision),
}

/// What to list.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// Key prefix ending in `/`, at or below the cache's own.
    pub scope: &'a str,
    /// Of when.
    pub freshness: Freshness,
    /// At most this many matching items; 0 is all.
    pub limit: usize,
    /// Only keys strictly after this one.
    pub after: Option<&'a str>,
}

/// A list, or a page of one.
#[derive(Debug)]
pub struct List<P> {
    /// The revision it shows.
    pub revision: Revision,
    /// Ascending by key.
    pub items: Vec<Arc<Entry<P>>>,
    /// How many keys follow the last item, whether or not they match; 0 at the end.
    pub remaining: u64,
}

struct Inner<P> {
    entries: BTreeMap<Arc<str>, Arc<Entry<P>>>,
    ring: Ring<P>,
    revision: u64,
    watchers: HashMap<Arc<str>, Vec<Arc<watch::Slot>>>,
}

/// How far the cache is.
#[derive(Debug, Clone, Copy)]
struct Reached {
    ready: bool,
    revision: u64,
}

/// Objects of one prefix. Dropping it ends its feed.
pub struct Cache<C: Codec> {
    storage: Arc<dyn Storage>,
    prefix: Arc<str>,
    codec: Arc<C>,
    inner: RwLock<Inner<C::Payload>>,
    reached: signal::Sender<Reached>,
    _feed: DropGuard,
}

/// Whether a key is in a scope: below it if the scope ends in `/`, else the very key.
fn in_scope(scope: &str, key: &str) -> bool {
    if scope.ends_with('/') {
        key.starts_with(scope)
    } else {
        key == scope
    }
}

impl<C: Codec> Cache<C> {
    /// Starts to fill a cache of `prefix` (ending in `/`). Reads wait until it is filled.
    /// Must be called within a tokio runtime.
    pub fn start(storage: Arc<dyn Storage>, prefix: &str, codec: C) -> Arc<Self> {
        let stop = CancellationToken::new();
        let cache = Arc::new(Self {
            storage,
            prefix: prefix.into(),
            codec: Arc::new(codec),
            inner: RwLock::new(Inner {
                entries: BTreeMap::new(),
                ring: Ring::new(0),
                revision: 0,
                watchers: HashMap::new(),
            }),
            reached: signal::Sender::new(Reached {
                ready: false,
                revision: 0,
            }),
            _feed: stop.clone().drop_guard(),
        });
        tokio::spawn(feed::run(Arc::downgrade(&cache), stop));
        cache
    }

    /// The codec it decodes with.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// The prefix it holds.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it is filled.
    pub fn is_ready(&self) -> bool {
        self.reached.borrow().ready
    }

    /// Waits until it is filled.
    pub async fn ready(&self) {
        // The sender lives in self, so the wait cannot fail.
        let _ = self.reached.subscribe().wait_for(|reached| reached.ready).await;
    }

    /// How far it is. Never waits.
    pub fn revision(&self) -> Revision {
        Revision(self.inner.read().revision)
    }

    /// How many objects it holds. Never waits.
    pub fn len(&self) -> usize {
        self.inner.read().entries.len()
    }

    /// Whether it holds nothing. Never waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object as the cache has it now. Never waits.
    pub fn peek(&self, key: &str) -> Option<Arc<Entry<C::Payload>>> {
        self.inner.read().entries.get(key).cloned()
    }

    /// The objects of a scope as the cache has them now. Never waits.
    pub fn snapshot(&self, scope: &str) -> Vec<Arc<Entry<C::Payload>>> {
        let inner = self.inner.read();
        range(&inner.entries, scope, None)
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// One object.
    ///
    /// # Errors
    /// [`Error::Future`] if `AtLeast` or `Exactly` does not come in time; whatever the store says.
    pub async fn get(&self, key: &str, freshness: Freshness) -> Result<Option<Arc<Entry<C::Payload>>>, Error> {
        self.wait(freshness).await?;
        Ok(self.peek(key))
    }

    /// A list or a page of one; `matches` selects what counts.
    ///
    /// # Errors
    /// [`Error::Future`] and [`Error::Compacted`] for revisions out of reach; whatever the store says.
    pub async fn list(
        &self,
        query: Query<'_>,
        matches: impl Fn(&Entry<C::Payload>) -> bool + Send + Sync,
    ) -> Result<List<C::Payload>, Error> {
        self.wait(query.freshness).await?;
        if let Freshness::Exactly(at) = query.freshness {
            if let Some(list) = self.list_past(&query, at, &matches) {
                return Ok(list);
            }
            return self.list_stored(&query, at, matches).await;
        }
        let inner = self.inner.read();
        let entries = range(&inner.entries, query.scope, query.after).map(|(_, entry)| entry);
        Ok(page(entries, query.limit, Revision(inner.revision), matches))
    }

    /// A list as of a revision that the ring reaches back to.
    fn list_past(
        &self,
        query: &Query<'_>,
        at: Revision,
        matches: impl Fn(&Entry<C::Payload>) -> bool,
    ) -> Option<List<C::Payload>> {
        let inner = self.inner.read();
        if at.0 > inner.revision || !inner.ring.reaches_back_to(at.0) {
            return None;
        }
        // What each key changed since then was before its first change: `None` where it did not exist.
        let mut before: BTreeMap<&str, Option<&Arc<Entry<C::Payload>>>> = BTreeMap::new();
        for event in inner.ring.after(at.0) {
            let key = &*event.entry.key;
            if in_scope(query.scope, key) && query.after.is_none_or(|after| key > after) {
                before.entry(key).or_insert(event.previous.as_ref());
            }
        }
        let now = range(&inner.entries, query.scope, query.after);
        let unchanged = now
            .filter(|(key, _)| !before.contains_key(&***key))
            .map(|(key, entry)| (&**key, entry));
        let mut shown: Vec<_> = before
            .iter()
            .filter_map(|(key, entry)| Some((*key, (*entry)?)))
            .collect();
        if shown.is_empty() {
            return Some(page(unchanged.map(|(_, entry)| entry), query.limit, at, matches));
        }
        shown.extend(unchanged);
        shown.sort_unstable_by_key(|(key, _)| *key);
        Some(page(
            shown.into_iter().map(|(_, entry)| entry),
            query.limit,
            at,
            matches,
        ))
    }

    /// A list as of a revision that only the store knows.
    async fn list_stored(
        &self,
        query: &Query<'_>,
        at: Revision,
        matches: impl Fn(&Entry<C::Payload>) -> bool,
    ) -> Result<List<C::Payload>, Error> {
        let mut list = List {
            revision: at,
            items: Vec::new(),
            remaining: 0,
        };
        let mut after = query.after.map(str::to_owned);
        loop {
            let missing = query.limit.saturating_sub(list.items.len());
            let options = ListOptions {
                at: Some(at),
                limit: missing,
                after: after.take(),
            };
            let stored = self.storage.list(query.scope, options).await?;
            after = stored.items.last().map(|last| last.key.to_string());
            list.remaining = stored.remaining;
            let entries = stored.items.into_iter().map(|item| Arc::new(self.entry(&item)));
            list.items.extend(entries.filter(|entry| matches(entry)));
            if stored.remaining == 0 || list.items.len() >= query.limit {
                return Ok(list);
            }
        }
    }

    /// Watches a scope: a prefix ending in `/`, or one key.
    ///
    /// # Errors
    /// Those of [`Self::list`] for the initial state; [`Error::Compacted`] may also come later, from the watch.
    pub async fn watch(self: &Arc<Self>, scope: &str, start: Start) -> Result<Watch<C>, Error> {
        match start {
            Start::After(revision) => {
                self.ready().await;
                Ok(watch::open(self, scope, Some(revision)))
            }
            Start::Now(freshness) => {
                self.wait(freshness).await?;
                Ok(watch::open(self, scope, None))
            }
        }
    }

    /// Brings the cache's revision up to the store's, as far as nothing is missing.
    ///
    /// # Errors
    /// Whatever the store says, and [`Error::Future`] if the cache does not get there in [`FUTURE_WAIT`].
    pub async fn settle(&self) -> Result<Revision, Error> {
        self.ready().await;
        let settled = self.storage.settled(&self.prefix).await?;
        self.wait_for(settled.last_change).await?;
        let current = self.inner.read().revision;
        if current >= settled.revision.0 {
            return Ok(Revision(current));
        }
        let mut inner = self.inner.write();
        inner.revision = inner.revision.max(settled.revision.0);
        Ok(Revision(inner.revision))
    }

    async fn wait(&self, freshness: Freshness) -> Result<(), Error> {
        self.ready().await;
        match freshness {
            Freshness::Any => Ok(()),
            Freshness::Newest => self.settle().await.map(|_| ()),
            Freshness::AtLeast(wanted) | Freshness::Exactly(wanted) => {
                if self.inner.read().revision >= wanted.0 {
                    return Ok(());
                }
                let deadline = Instant::now() + FUTURE_WAIT;
                while self.settle().await? < wanted {
                    let current = self.revision();
                    if Instant::now() >= deadline {
                        return Err(Error::Future { wanted, current });
                    }
                    let next = deadline.min(Instant::now() + PROGRESS_RETRY);
                    let _ = timeout_at(next, self.reached.subscribe().wait_for(|r| r.revision >= wanted.0)).await;
                }
                Ok(())
            }
        }
    }

    /// Waits until the feed has applied `revision`.
    async fn wait_for(&self, wanted: Revision) -> Result<(), Error> {
        if self.inner.read().revision >= wanted.0 {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        let deadline = Instant::now() + FUTURE_WAIT;
        loop {
            self.storage.request_progress(&self.prefix).await?;
            if timeout(PROGRESS_RETRY, reached.wait_for(|r| r.revision >= wanted.0))
                .await
                .is_ok()
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Future {
                    wanted,
                    current: self.revision(),
                });
            }
        }
    }

    fn entry(&self, stored: &KeyValue) -> Entry<C::Payload> {
        Entry {
            key: Arc::clone(&stored.key),
            created: stored.created,
            modified: stored.modified,
            payload: self.codec.decode(stored),
        }
    }
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the changes after a revision; the present state is not told.
    After(Revision),
    /// With the state of now ([`Watch::initial`]), as fresh as this, and the changes after it.
    Now(Freshness),
}

fn range<'a, P>(
    entries: &'a BTreeMap<Arc<str>, Arc<Entry<P>>>,
    scope: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Entry<P>>)> {
    let start = match after {
        Some(after) if after >= scope => Bound::Excluded(after),
        _ => Bound::Included(scope),
    };
    entries
        .range::<str, _>((start, Bound::Unbounded))
        .take_while(move |(key, _)| in_scope(scope, key))
}

fn page<'a, P: 'a>(
    entries: impl Iterator<Item = &'a Arc<Entry<P>>>,
    limit: usize,
    revision: Revision,
    matches: impl Fn(&Entry<P>) -> bool,
) -> List<P> {
    let mut entries = entries;
    let mut items = Vec::new();
    for entry in entries.by_ref() {
        if matches(entry) {
            items.push(Arc::clone(entry));
            if items.len() == limit {
                break;
            }
        }
    }
    List {
        revision,
        items,
        remaining: entries.count() as u64,
    }
}
