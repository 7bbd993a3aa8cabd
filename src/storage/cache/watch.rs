//! Watches of a cache: cursors into its ring, and into the store's history when they have fallen out of it.

use std::sync::OnceLock;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures::StreamExt;
use tokio::sync::Notify;

use super::{Cache, Codec, Entry, Event, EventKind, Inner, in_scope, range, restamp};
use crate::{Change, Error, Revision, WatchItem, WatchStream};

/// What a cache knows of one watch. Changed under the cache's lock only.
pub(super) struct Slot {
    /// The first revision that concerns the watch and was not delivered; 0 if there is none.
    pending: AtomicU64,
    /// The store's revisions went backwards (it was restored from a backup): nothing can be resumed.
    broken: AtomicBool,
    wake: Notify,
}

impl Slot {
    pub(super) fn changed(&self, revision: u64) {
        let _ = self
            .pending
            .compare_exchange(0, revision, Ordering::AcqRel, Ordering::Acquire);
        self.wake.notify_one();
    }

    /// The ring was emptied: whatever came after the last delivery must be looked for in the store.
    pub(super) fn interrupted(&self, broken: bool) {
        self.broken.fetch_or(broken, Ordering::AcqRel);
        let _ = self.pending.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
        self.wake.notify_one();
    }
}

/// A watch of one scope. Dropping it ends it.
pub struct Watch<C: Codec> {
    cache: Arc<Cache<C>>,
    scope: Arc<str>,
    slot: Arc<Slot>,
    /// Everything up to here was delivered.
    reached: u64,
    initial: Vec<Arc<Entry<C::Payload>>>,
    /// The store's history, while this watch is behind the ring.
    history: Option<WatchStream>,
}

impl<C: Codec> Drop for Watch<C> {
    fn drop(&mut self) {
        let mut inner = self.cache.inner.write();
        if let Some(slots) = inner.watchers.get_mut(&*self.scope) {
            slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
            if slots.is_empty() {
                inner.watchers.remove(&*self.scope);
            }
        }
    }
}

/// Opens a watch after a revision, or with the present state.
pub(super) fn open<C: Codec>(cache: &Arc<Cache<C>>, scope: &str, after: Option<Revision>) -> Watch<C> {
    let mut inner = cache.inner.write();
    let (reached, initial) = match after {
        Some(revision) => (revision.0, Vec::new()),
        None => (
            inner.revision,
            range(&inner.entries, scope, None)
                .map(|(_, entry)| Arc::clone(entry))
                .collect(),
        ),
    };
    let pending = if reached < inner.revision { reached + 1 } else { 0 };
    let slot = Arc::new(Slot {
        pending: AtomicU64::new(pending),
        broken: AtomicBool::new(false),
        wake: Notify::new(),
    });
    let scope: Arc<str> = scope.into();
    inner
        .watchers
        .entry(Arc::clone(&scope))
        .or_default()
        .push(Arc::clone(&slot));
    Watch {
        cache: Arc::clone(cache),
        scope,
        slot,
        reached,
        initial,
        history: None,
    }
}

/// What the ring has for a watch.
enum Found<P> {
    Events(Vec<Arc<Event<P>>>),
    Nothing,
    /// The ring does not reach back far enough.
    Behind,
}

impl<C: Codec> Watch<C> {
    /// The state that the watch starts with; empty for one that starts after a revision. Taken once.
    pub fn initial(&mut self) -> Vec<Arc<Entry<C::Payload>>> {
        std::mem::take(&mut self.initial)
    }

    /// Everything up to this revision was delivered, and nothing after it.
    pub fn revision(&self) -> Revision {
        Revision(self.reached)
    }

    /// The cache it watches.
    pub fn cache(&self) -> &Arc<Cache<C>> {
        &self.cache
    }

    /// The next changes, oldest first, at least one and not many more than `most`; those of one revision
    /// come together.
    ///
    /// # Errors
    /// [`Error::Compacted`] if the watch is older than the store's history. The watch is over then.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self, most: usize) -> Result<Vec<Arc<Event<C::Payload>>>, Error> {
        loop {
            if let Some(history) = &mut self.history {
                let Some(item) = history.next().await else {
                    self.history = Some(self.reopen().await?);
                    continue;
                };
                if let Some(event) = self.take_history(item?) {
                    return Ok(vec![event]);
                }
                continue;
            }
            match self.take(most)? {
                Found::Events(events) => return Ok(events),
                Found::Nothing => self.slot.wake.notified().await,
                Found::Behind => self.history = Some(self.reopen().await?),
            }
        }
    }

    /// A revision for a bookmark: everything up to it was delivered, and it is as new as it can be without
    /// waiting for long. `None` while changes are pending.
    pub async fn bookmark(&mut self) -> Option<Revision> {
        if let Err(error) = self.cache.settle().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a bookmark is older than it could be"
            );
        }
        if self.history.is_some() {
            return None;
        }
        let inner = self.cache.inner.read();
        if self.slot.pending.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.reached = self.reached.max(inner.revision);
        Some(Revision(self.reached))
    }

    /// Borrows nothing, so that a watch can be sent to another thread while it waits: streams are not `Sync`.
    fn reopen(&self) -> impl Future<Output = Result<WatchStream, Error>> + Send + use<C> {
        let (storage, scope, after) = (
            Arc::clone(&self.cache.storage),
            Arc::clone(&self.scope),
            Revision(self.reached),
        );
        async move { storage.watch(&scope, after).await }
    }

    /// Takes what is pending out of the ring.
    fn take(&mut self, most: usize) -> Result<Found<C::Payload>, Error> {
        let cache = Arc::clone(&self.cache);
        let inner = cache.inner.read();
        if self.slot.broken.load(Ordering::Acquire) {
            return Err(Error::Compacted {
                wanted: Revision(self.reached),
                oldest: Revision(inner.revision),
            });
        }
        let pending = self.slot.pending.load(Ordering::Acquire);
        if pending == 0 {
            self.reached = self.reached.max(inner.revision);
            return Ok(Found::Nothing);
        }
        // Nothing in (reached, pending) concerns this watch.
        let from = self.reached.max(pending - 1);
        if !inner.ring.reaches_back_to(from) {
            return Ok(Found::Behind);
        }
        let events = self.matching(&inner, from, most);
        Ok(if events.is_empty() {
            Found::Nothing
        } else {
            Found::Events(events)
        })
    }

    fn matching(&mut self, inner: &Inner<C::Payload>, from: u64, most: usize) -> Vec<Arc<Event<C::Payload>>> {
        let mut events: Vec<Arc<Event<C::Payload>>> = Vec::new();
        for event in inner
            .ring
            .after(from)
            .filter(|event| in_scope(&self.scope, &event.entry.key))
        {
            let full = events.len() >= most && events.last().is_some_and(|last| last.revision < event.revision);
            if full {
                self.reached = event.revision.0 - 1;
                self.slot.pending.store(event.revision.0, Ordering::Release);
                return events;
            }
            events.push(Arc::clone(event));
        }
        self.reached = self.reached.max(inner.revision);
        self.slot.pending.store(0, Ordering::Release);
        events
    }

    /// Handles one item of the store's history, and leaves it when the ring can take over.
    fn take_history(&mut self, item: WatchItem) -> Option<Arc<Event<C::Payload>>> {
        let event = match item {
            WatchItem::Progress(revision) => {
                self.reached = self.reached.max(revision.0);
                None
            }
            WatchItem::Change(change) => {
                let event = self.event(change);
                self.reached = self.reached.max(event.revision.0);
                in_scope(&self.scope, &event.entry.key).then(|| Arc::new(event))
            }
        };
        let inner = self.cache.inner.read();
        if inner.ring.reaches_back_to(self.reached) {
            self.history = None;
            let pending = if self.reached < inner.revision {
                self.reached + 1
            } else {
                0
            };
            self.slot.pending.store(pending, Ordering::Release);
        }
        event
    }

    fn event(&self, change: Change) -> Event<C::Payload> {
        let cache = &self.cache;
        match change {
            Change::Put { current, previous } => {
                let kind = if previous.is_some() {
                    EventKind::Modified
                } else {
                    EventKind::Added
                };
                let previous = previous.map(|previous| Arc::new(cache.entry(&previous)));
                let entry = Arc::new(cache.entry(&current));
                Event {
                    revision: current.modified,
                    kind,
                    entry,
                    previous,
                    departed: OnceLock::new(),
                }
            }
            Change::Delete { revision, previous } => {
                let previous = Arc::new(cache.entry(&previous));
                let entry = Arc::new(restamp(&*cache.codec, &previous, revision));
                let kind = EventKind::Deleted;
                Event {
                    revision,
                    kind,
                    entry,
                    previous: Some(previous),
                    departed: OnceLock::new(),
                }
            }
        }
    }
}
