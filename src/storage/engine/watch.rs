//! Watches of the in-process engines: cursors into the history.
//!
//! A slot remembers the first change its watch has not seen (`pending`), so a watch of a quiet prefix is
//! never overtaken by the horizon, however much happens elsewhere.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{Shared, State, Unread};
use crate::{Change, Error, Revision, WatchItem, WatchStream, index::Event};

/// How often a quiet watch reports progress unasked, so that bookmarks move.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How many changes a watch takes out of the history at a time.
const BATCH: usize = 256;

/// What the engine knows of one watch. Changed under the state's lock only.
pub(crate) struct Slot {
    prefix: Box<str>,
    /// The first revision that concerns this watch and was not delivered; 0 if there is none.
    pending: AtomicU64,
    last_change: AtomicU64,
    progress: AtomicBool,
    closed: AtomicBool,
    wake: Notify,
}

impl Slot {
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn last_change(&self) -> Revision {
        Revision(self.last_change.load(Ordering::Acquire))
    }

    pub(crate) fn changed(&self, key: &str, revision: u64) {
        if !key.starts_with(&*self.prefix) {
            return;
        }
        self.last_change.store(revision, Ordering::Release);
        let _ = self
            .pending
            .compare_exchange(0, revision, Ordering::AcqRel, Ordering::Acquire);
        self.wake.notify_one();
    }

    pub(crate) fn request_progress(&self) {
        self.progress.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

struct Cursor {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// Everything up to here is delivered or in `ready`.
    reached: u64,
    ready: VecDeque<WatchItem>,
    failed: bool,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.shared
            .change(|state| state.watches.retain(|slot| !Arc::ptr_eq(slot, &self.slot)));
    }
}

/// Opens a watch of a prefix after a revision.
pub(crate) fn open(shared: Arc<Shared>, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
    let slot = shared.change(|state| {
        let (committed, oldest) = (state.index.committed(), Revision(state.index.compacted()));
        if after < oldest {
            return Err(Error::Compacted { wanted: after, oldest });
        }
        let slot = Arc::new(Slot {
            prefix: prefix.into(),
            pending: AtomicU64::new(if after.0 < committed { after.0 + 1 } else { 0 }),
            last_change: AtomicU64::new(committed),
            progress: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        state.watches.push(Arc::clone(&slot));
        Ok(slot)
    })?;
    let cursor = Cursor {
        shared,
        slot,
        reached: after.0,
        ready: VecDeque::new(),
        failed: false,
    };
    Ok(Box::pin(futures::stream::unfold(cursor, |mut cursor| async move {
        let item = cursor.next().await?;
        cursor.failed = item.is_err();
        Some((item, cursor))
    })))
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<WatchItem, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.failed || self.slot.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Err(error) = self.fill() {
                return Some(Err(error));
            }
            if self.ready.is_empty()
                && tokio::time::timeout(PROGRESS_INTERVAL, self.slot.wake.notified())
                    .await
                    .is_err()
            {
                self.slot.progress.store(true, Ordering::Release);
            }
        }
    }

    /// Takes what is pending out of the history, with a progress mark once nothing is left.
    fn fill(&mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let changes = shared.read(|state| self.take(state))?;
        for change in changes {
            self.ready.push_back(WatchItem::Change(change()?));
        }
        if self.slot.pending.load(Ordering::Acquire) == 0 && self.slot.progress.swap(false, Ordering::AcqRel) {
            self.ready.push_back(WatchItem::Progress(Revision(self.reached)));
        }
        Ok(())
    }

    fn take(&mut self, state: &State) -> Result<Vec<impl FnOnce() -> Result<Change, Error> + use<>>, Error> {
        let committed = state.index.committed();
        let pending = self.slot.pending.load(Ordering::Acquire);
        if pending == 0 {
            self.reached = self.reached.max(committed);
            return Ok(Vec::new());
        }
        let oldest = Revision(state.index.compacted());
        if pending <= oldest.0 {
            return Err(Error::Compacted {
                wanted: Revision(pending - 1),
                oldest,
            });
        }
        let events = state
            .index
            .events(&self.slot.prefix, self.reached.max(pending - 1), BATCH);
        if events.len() < BATCH {
            self.slot.pending.store(0, Ordering::Release);
            self.slot.progress.store(true, Ordering::Release);
            self.reached = self.reached.max(committed);
        } else if let Some(last) = events.last() {
            self.slot.pending.store(last.version.revision + 1, Ordering::Release);
            self.reached = last.version.revision;
        }
        Ok(events.into_iter().map(|event| change(event, state)).collect())
    }
}

fn change(event: Event, state: &State) -> impl FnOnce() -> Result<Change, Error> + use<> {
    let Event { key, version, previous } = event;
    let previous = previous.map(|version| state.unread(Arc::clone(&key), version));
    let (deleted, revision) = (version.deleted, Revision(version.revision));
    let current = state.unread(key, version);
    move || {
        let previous = previous.map(Unread::read).transpose()?;
        match (deleted, previous) {
            (false, previous) => Ok(Change::Put {
                current: current.read()?,
                previous,
            }),
            (true, Some(previous)) => Ok(Change::Delete { revision, previous }),
            (true, None) => {
                let lost = std::io::Error::other("the history has no version before a deletion");
                Err(Error::backend("read the history", lost))
            }
        }
    }
}
