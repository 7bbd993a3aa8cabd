//! The in-process engine: an index of versions, and a journal that makes them durable.
//!
//! A write is staged in the index under its lock and queued for the journal in the same order. The
//! journal's thread writes and syncs everything queued at once (group commit), commits it in the
//! index, wakes the watches concerned and only then answers. Reads see committed versions only.
//! Without a journal a write commits at once: that is the store for tests.
//!
//! Watches have no queues: each is a cursor into the history, so a slow one costs nobody else
//! anything and fails only when the horizon overtakes it.

mod upkeep;
mod watch;

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{Notify, oneshot, watch as signal};

use crate::{
    Error, KeyValue, ListOptions, MAX_VALUE_BYTES, Page, Revision, Settled, Storage, WatchStream,
    index::{Condition, Effect, Index, Location, Refused, Staged, Version},
};

pub(crate) use upkeep::Retention;

/// The cause of a failed write, shared by every write of its group.
pub(crate) type Cause = Arc<dyn std::error::Error + Send + Sync>;
pub(crate) type Acknowledge = oneshot::Sender<Result<(), Cause>>;

/// What makes staged writes durable. Called with the index locked, so it must only queue.
pub(crate) trait Journal: Send + Sync {
    /// Queues a staged write; `acknowledge` is answered when it is durable, after it was committed in the index.
    fn queue(&self, staged: &Staged, acknowledge: Acknowledge);
    /// Whether the journal can take writes now.
    fn check(&self) -> Result<(), Error>;
}

/// The index, the files its values lie in, and the watches.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) files: BTreeMap<u32, Arc<File>>,
    watches: Vec<Arc<watch::Slot>>,
}

/// What the engine, its journal and its watches share.
pub(crate) struct Shared {
    state: RwLock<State>,
    /// Grows with every commit and every roll-back.
    settles: signal::Sender<u64>,
    /// Wakes the task that removes expired keys.
    expiry: Notify,
}

/// An in-process store.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    journal: Option<Box<dyn Journal>>,
}

/// A value that may have to be read from a file after the lock is released.
struct Unread {
    key: Arc<str>,
    version: Version,
    file: Option<Arc<File>>,
}

impl State {
    fn unread(&self, key: Arc<str>, version: Version) -> Unread {
        let file = if version.value.is_some() {
            None
        } else {
            self.files.get(&version.location.file).cloned()
        };
        Unread { key, version, file }
    }

    /// Wakes the watches of what was committed after `before`.
    fn wake(&self, before: u64) {
        for (revision, key) in self.index.changed_keys(before) {
            for slot in &self.watches {
                slot.changed(key, revision);
            }
        }
    }
}

impl Unread {
    fn read(self) -> Result<KeyValue, Error> {
        let value = match (self.version.value, self.file) {
            (Some(value), _) => value,
            (None, Some(file)) => {
                let mut buffer = vec![0; self.version.location.len as usize];
                file.read_exact_at(&mut buffer, self.version.location.offset)
                    .map_err(|source| Error::backend(format!("read the value of {}", self.key), source))?;
                Bytes::from(buffer)
            }
            (None, None) => {
                let lost = std::io::Error::other("the file that held it is not open");
                return Err(Error::backend(format!("read the value of {}", self.key), lost));
            }
        };
        Ok(KeyValue {
            key: self.key,
            value,
            created: Revision(self.version.created),
            modified: Revision(self.version.revision),
        })
    }
}

/// How a write goes on after the index was asked.
enum Next {
    Acknowledged(Staged, Option<Arc<File>>, oneshot::Receiver<Result<(), Cause>>),
    Committed(Staged),
    Refused(Box<Option<Unread>>),
    /// The condition was decided by a write that is not durable yet.
    Unsettled(signal::Receiver<u64>),
}

impl Shared {
    pub(crate) fn new(index: Index, files: BTreeMap<u32, Arc<File>>) -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(State {
                index,
                files,
                watches: Vec::new(),
            }),
            settles: signal::Sender::new(0),
            expiry: Notify::new(),
        })
    }

    /// Reads under the lock.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read())
    }

    /// Changes under the lock, without committing anything.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write())
    }

    /// Commits what is staged up to `revision`; `place` runs first, under the same lock.
    pub(crate) fn commit(
        &self,
        revision: u64,
        placed: impl FnMut(u64) -> Option<Location>,
        place: impl FnOnce(&mut State),
    ) {
        let mut state = self.state.write();
        place(&mut state);
        self.commit_locked(&mut state, revision, placed);
    }

    fn commit_locked(&self, state: &mut State, revision: u64, placed: impl FnMut(u64) -> Option<Location>) {
        let before = state.index.committed();
        state.index.commit(revision, placed);
        state.wake(before);
        if state.index.next_expiry().is_some() {
            self.expiry.notify_one();
        }
        self.settles.send_modify(|settles| *settles += 1);
    }

    /// Forgets what is staged; `queued` runs under the same lock.
    pub(crate) fn roll_back<T>(&self, queued: impl FnOnce() -> T) -> T {
        let mut state = self.state.write();
        let result = queued();
        state.index.roll_back();
        self.settles.send_modify(|settles| *settles += 1);
        result
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared
            .read(|state| state.watches.iter().for_each(|slot| slot.close()));
    }
}

impl Engine {
    pub(crate) fn in_memory() -> Arc<Self> {
        Self::start(
            Shared::new(Index::default(), BTreeMap::new()),
            None,
            Retention::default(),
        )
    }

    /// Starts the tasks that remove expired keys and old versions.
    pub(crate) fn start(shared: Arc<Shared>, journal: Option<Box<dyn Journal>>, retention: Retention) -> Arc<Self> {
        let engine = Arc::new(Self { shared, journal });
        upkeep::spawn(&engine, retention);
        engine
    }

    fn stage(&self, key: &str, condition: Condition, effect: Effect) -> Next {
        let mut state = self.shared.state.write();
        match state.index.stage(key, condition, effect) {
            Ok(staged) => {
                let Some(journal) = &self.journal else {
                    self.shared.commit_locked(&mut state, staged.version.revision, |_| None);
                    return Next::Committed(staged);
                };
                let (acknowledge, acknowledged) = oneshot::channel();
                journal.queue(&staged, acknowledge);
                let file = staged
                    .previous
                    .as_ref()
                    .and_then(|p| state.files.get(&p.location.file).cloned());
                Next::Acknowledged(staged, file, acknowledged)
            }
            Err(Refused { current, decided_at }) => {
                if decided_at > state.index.committed() {
                    Next::Unsettled(self.shared.settles.subscribe())
                } else {
                    Next::Refused(Box::new(current.map(|version| state.unread(Arc::from(key), version))))
                }
            }
        }
    }

    /// Writes and waits for durability. Returns the new version and, for a deletion, the last one before it.
    async fn write(&self, key: &str, condition: Condition, effect: Effect) -> Result<(Staged, Option<Unread>), Error> {
        loop {
            match self.stage(key, condition, effect.clone()) {
                Next::Committed(mut staged) => {
                    let previous = staged.previous.take();
                    let key = Arc::clone(&staged.key);
                    return Ok((
                        staged,
                        previous.map(|version| Unread {
                            key,
                            version,
                            file: None,
                        }),
                    ));
                }
                Next::Acknowledged(mut staged, file, acknowledged) => {
                    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
                        Error::backend(format!("make the write of {key} durable"), cause)
                    };
                    match acknowledged.await {
                        Ok(Ok(())) => {}
                        Ok(Err(cause)) => return Err(failed(Box::new(SharedCause(cause)))),
                        Err(closed) => return Err(failed(Box::new(closed))),
                    }
                    let previous = staged.previous.take();
                    let key = Arc::clone(&staged.key);
                    return Ok((staged, previous.map(|version| Unread { key, version, file })));
                }
                Next::Refused(current) => {
                    let key = key.to_owned();
                    return Err(match (condition, *current) {
                        (Condition::Absent, _) => Error::AlreadyExists { key },
                        (Condition::At(_), None) => Error::NotFound { key },
                        (Condition::At(_), Some(unread)) => Error::Conflict {
                            key,
                            current: Box::new(unread.read()?),
                        },
                    });
                }
                Next::Unsettled(mut settles) => {
                    // The sender lives as long as self; an error is impossible here and would only loop once more.
                    let _ = settles.changed().await;
                }
            }
        }
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        condition: Condition,
        ttl: Option<Duration>,
    ) -> Result<KeyValue, Error> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(Error::TooLarge {
                key: key.to_owned(),
                size: value.len(),
                limit: MAX_VALUE_BYTES,
            });
        }
        let expires = ttl.map_or(0, |ttl| now_millis().saturating_add(millis(ttl)).max(1));
        let (staged, _) = self
            .write(
                key,
                condition,
                Effect::Put {
                    value: value.clone(),
                    expires,
                },
            )
            .await?;
        let (created, modified) = (Revision(staged.version.created), Revision(staged.version.revision));
        Ok(KeyValue {
            key: staged.key,
            value,
            created,
            modified,
        })
    }
}

/// Lets one cause be the source of many errors.
#[derive(Debug)]
struct SharedCause(Cause);

impl std::fmt::Display for SharedCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Milliseconds since the epoch.
fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Storage for Engine {
    async fn revision(&self) -> Result<Revision, Error> {
        Ok(Revision(self.shared.read(|state| state.index.committed())))
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, Error> {
        let found = self.shared.read(|state| {
            let (key, version) = state.index.get(key, state.index.committed())?;
            Some(state.unread(key, version))
        });
        found.map(Unread::read).transpose()
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, Error> {
        let (revision, unread, remaining) = self.shared.read(|state| {
            let (current, oldest) = (Revision(state.index.committed()), Revision(state.index.compacted()));
            let wanted = options.at.unwrap_or(current);
            if wanted > current {
                return Err(Error::Future { wanted, current });
            }
            if wanted < oldest {
                return Err(Error::Compacted { wanted, oldest });
            }
            let slice = state
                .index
                .list(prefix, options.after.as_deref(), options.limit, wanted.0);
            let unread: Vec<_> = slice
                .items
                .into_iter()
                .map(|(key, version)| state.unread(key, version))
                .collect();
            Ok((wanted, unread, slice.remaining))
        })?;
        let items = unread.into_iter().map(Unread::read).collect::<Result<_, _>>()?;
        Ok(Page {
            revision,
            items,
            remaining,
        })
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<KeyValue, Error> {
        self.put(key, value, Condition::Absent, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        ttl: Option<Duration>,
    ) -> Result<KeyValue, Error> {
        self.put(key, value, Condition::At(expected.0), ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(KeyValue, Revision), Error> {
        let (staged, previous) = self.write(key, Condition::At(expected.0), Effect::Delete).await?;
        let previous = previous.ok_or_else(|| Error::NotFound { key: key.to_owned() })?;
        Ok((previous.read()?, Revision(staged.version.revision)))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
        watch::open(Arc::clone(&self.shared), prefix, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.shared.change(|state| state.index.compact(revision.0));
        Ok(())
    }

    async fn settled(&self, prefix: &str) -> Result<Settled, Error> {
        Ok(self.shared.read(|state| {
            let revision = Revision(state.index.committed());
            let slot = state.watches.iter().find(|slot| slot.prefix() == prefix);
            Settled {
                revision,
                last_change: slot.map_or(revision, |slot| slot.last_change()),
            }
        }))
    }

    async fn request_progress(&self, prefix: &str) -> Result<(), Error> {
        self.shared.read(|state| {
            state
                .watches
                .iter()
                .filter(|slot| slot.prefix() == prefix)
                .for_each(|slot| slot.request_progress())
        });
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.check())
    }
}
