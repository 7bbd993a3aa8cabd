//! The index of versions that the in-process engines share: which versions of which keys exist, in
//! what order they came, and when they expire. Pure bookkeeping: no I/O, no clock, no locks.
//!
//! A version is *staged* first and *committed* once it is durable. Only committed versions are seen
//! by reads, while the conditions of writes are judged on the newest staged ones; whatever is
//! staged can be rolled back as a whole.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

/// Where a value lies in the files of the embedded engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Location {
    pub(crate) file: u32,
    pub(crate) len: u32,
    pub(crate) offset: u64,
}

/// One version of a key.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) revision: u64,
    pub(crate) created: u64,
    /// Milliseconds since the epoch; 0 is never.
    pub(crate) expires: u64,
    /// Whether the key is gone as of this version.
    pub(crate) deleted: bool,
    /// The value, if it is held in memory.
    pub(crate) value: Option<Bytes>,
    /// The value on disk; meaningless for versions that were never written there.
    pub(crate) location: Location,
}

/// What must hold of a key for a write to happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    Absent,
    At(u64),
}

/// What a write does.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Put { value: Bytes, expires: u64 },
    Delete,
}

/// A write that has its revision.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) key: Arc<str>,
    pub(crate) version: Version,
    pub(crate) previous: Option<Version>,
}

/// A write whose condition does not hold: the key's newest version, if it exists.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) current: Option<Version>,
    /// The revision that decided; the answer is final only once that is committed.
    pub(crate) decided_at: u64,
}

/// One change as the history tells it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) key: Arc<str>,
    pub(crate) version: Version,
    pub(crate) previous: Option<Version>,
}

/// A page of versions.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) items: Vec<(Arc<str>, Version)>,
    pub(crate) remaining: u64,
}

/// All versions since the compaction horizon.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Arc<str>, Vec<Version>>,
    history: VecDeque<(u64, Arc<str>)>,
    expiring: BTreeSet<(u64, Arc<str>)>,
    newest: u64,
    committed: u64,
    compacted: u64,
    retained_bytes: u64,
}

/// What a version costs in the log besides key and value; only the order of magnitude matters.
const RECORD_OVERHEAD: u64 = 40;

fn cost(key: &str, version: &Version) -> u64 {
    key.len() as u64 + u64::from(version.location.len) + RECORD_OVERHEAD
}

impl Index {
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Roughly the bytes a log holding only the retained versions would have.
    pub(crate) fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    /// The revision to compact to so that the history holds at most `changes`; 0 if it does already.
    pub(crate) fn oldest_within(&self, changes: usize) -> u64 {
        let surplus = self.history.len().saturating_sub(changes);
        surplus
            .checked_sub(1)
            .and_then(|last| self.history.get(last))
            .map_or(0, |(revision, _)| *revision)
    }

    /// The newest version of a key, staged ones included.
    fn newest_of(&self, key: &str) -> Option<(&Arc<str>, &Version)> {
        self.keys
            .get_key_value(key)
            .and_then(|(key, versions)| Some((key, versions.last()?)))
    }

    /// Gives a write its revision, or says why it may not happen.
    pub(crate) fn stage(&mut self, key: &str, condition: Condition, effect: Effect) -> Result<Staged, Refused> {
        let newest = self.newest_of(key);
        let decided_at = newest.map_or(0, |(_, version)| version.revision);
        let current = newest
            .filter(|(_, version)| !version.deleted)
            .map(|(_, version)| version);
        let holds = match condition {
            Condition::Absent => current.is_none(),
            Condition::At(revision) => current.is_some_and(|version| version.revision == revision),
        };
        if !holds {
            return Err(Refused {
                current: current.cloned(),
                decided_at,
            });
        }
        let previous = current.cloned();
        let revision = self.newest + 1;
        let created = previous.as_ref().map_or(revision, |version| version.created);
        let version = match effect {
            Effect::Put { value, expires } => {
                let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
                let location = Location {
                    len,
                    ..Location::default()
                };
                Version {
                    revision,
                    created,
                    expires,
                    deleted: false,
                    value: Some(value),
                    location,
                }
            }
            Effect::Delete => Version {
                revision,
                created,
                expires: 0,
                deleted: true,
                value: None,
                location: Location::default(),
            },
        };
        let key = newest.map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key));
        self.push(&key, version.clone());
        Ok(Staged { key, version, previous })
    }

    /// Adds a version that is newer than all others of the index.
    fn push(&mut self, key: &Arc<str>, version: Version) {
        self.newest = version.revision;
        self.retained_bytes += cost(key, &version);
        self.history.push_back((version.revision, Arc::clone(key)));
        self.keys.entry(Arc::clone(key)).or_default().push(version);
    }

    /// Adds a version read from disk. Versions of one key must come in ascending order; [`Self::restored`] ends it.
    pub(crate) fn restore(&mut self, key: &str, version: Version) {
        let key = self
            .keys
            .get_key_value(key)
            .map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key));
        let revision = version.revision.max(self.newest);
        self.push(&key, version);
        self.newest = revision;
    }

    /// Ends restoring: everything is committed, the history is in order, nothing below `compacted` is told.
    pub(crate) fn restored(&mut self, compacted: u64, newest: u64) {
        self.newest = self.newest.max(newest);
        self.committed = self.newest;
        self.history
            .make_contiguous()
            .sort_unstable_by_key(|(revision, _)| *revision);
        self.compacted = 0;
        self.compact(compacted);
        self.expiring = self
            .keys
            .iter()
            .filter_map(|(key, versions)| Some((versions.last()?.expires, Arc::clone(key))))
            .filter(|(expires, _)| *expires > 0)
            .collect();
    }

    /// Makes everything staged up to `revision` visible. `placed` tells where each value now lies.
    pub(crate) fn commit(&mut self, revision: u64, mut placed: impl FnMut(u64) -> Option<Location>) {
        let from = self.history.partition_point(|(r, _)| *r <= self.committed);
        for (r, key) in self.history.range(from..) {
            if *r > revision {
                break;
            }
            let Some(versions) = self.keys.get_mut(key) else {
                continue;
            };
            let Some(at) = versions.iter().rposition(|v| v.revision == *r) else {
                continue;
            };
            if let Some(location) = placed(*r) {
                versions[at].location = location;
            }
            let expires = versions[at].expires;
            if at > 0 && versions[at - 1].expires > 0 {
                self.expiring.remove(&(versions[at - 1].expires, Arc::clone(key)));
            }
            if expires > 0 {
                self.expiring.insert((expires, Arc::clone(key)));
            }
        }
        self.committed = revision;
    }

    /// Forgets everything staged and not committed; its revisions are given out again.
    pub(crate) fn roll_back(&mut self) {
        while let Some((revision, key)) = self.history.back() {
            if *revision <= self.committed {
                break;
            }
            if let Some(versions) = self.keys.get_mut(key) {
                if let Some(version) = versions.pop() {
                    self.retained_bytes = self.retained_bytes.saturating_sub(cost(key, &version));
                }
                if versions.is_empty() {
                    self.keys.remove(key);
                }
            }
            self.history.pop_back();
        }
        self.newest = self.committed;
    }

    /// The version of a key at a revision, if the key existed then.
    pub(crate) fn get(&self, key: &str, at: u64) -> Option<(Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        visible(versions, at).map(|version| (Arc::clone(key), version.clone()))
    }

    /// The keys with a prefix as of a revision.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: usize, at: u64) -> Slice {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut shown = self
            .keys
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| Some((Arc::clone(key), visible(versions, at)?.clone())));
        let limit = if limit == 0 { usize::MAX } else { limit };
        let items = shown.by_ref().take(limit).collect();
        Slice {
            items,
            remaining: shown.count() as u64,
        }
    }

    /// Committed changes of keys with a prefix after a revision, oldest first, at most `limit`.
    pub(crate) fn events(&self, prefix: &str, after: u64, limit: usize) -> Vec<Event> {
        let from = self.history.partition_point(|(revision, _)| *revision <= after);
        self.history
            .range(from..)
            .take_while(|(revision, _)| *revision <= self.committed)
            .filter(|(_, key)| key.starts_with(prefix))
            .filter_map(|(revision, key)| self.event(*revision, key))
            .take(limit)
            .collect()
    }

    /// The keys that changed in `(after, committed]`.
    pub(crate) fn changed_keys(&self, after: u64) -> impl Iterator<Item = (u64, &str)> {
        let from = self.history.partition_point(|(revision, _)| *revision <= after);
        self.history
            .range(from..)
            .take_while(|(r, _)| *r <= self.committed)
            .map(|(r, key)| (*r, &**key))
    }

    fn event(&self, revision: u64, key: &Arc<str>) -> Option<Event> {
        let versions = self.keys.get(key)?;
        let at = versions
            .binary_search_by_key(&revision, |version| version.revision)
            .ok()?;
        let previous = at
            .checked_sub(1)
            .map(|before| &versions[before])
            .filter(|v| !v.deleted)
            .cloned();
        Some(Event {
            key: Arc::clone(key),
            version: versions[at].clone(),
            previous,
        })
    }

    /// Forgets versions older than `revision`; what is current then, or later, stays.
    pub(crate) fn compact(&mut self, revision: u64) {
        let revision = revision.min(self.committed);
        while let Some((changed, key)) = self.history.front() {
            if *changed > revision {
                break;
            }
            if let Some(versions) = self.keys.get_mut(key) {
                let newest_kept = versions.iter().rposition(|v| v.revision <= revision).unwrap_or(0);
                let drop = if versions[newest_kept].deleted {
                    newest_kept + 1
                } else {
                    newest_kept
                };
                for version in versions.drain(..drop) {
                    self.retained_bytes = self.retained_bytes.saturating_sub(cost(key, &version));
                }
                if versions.is_empty() {
                    self.keys.remove(key);
                }
            }
            self.history.pop_front();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Keys that are due, with the revision they have, at most `limit`.
    pub(crate) fn expired(&self, now: u64, limit: usize) -> Vec<(Arc<str>, u64)> {
        let due = self
            .expiring
            .iter()
            .take_while(|(expires, _)| *expires <= now)
            .take(limit);
        due.filter_map(|(_, key)| Some((Arc::clone(key), self.newest_of(key)?.1.revision)))
            .collect()
    }

    /// When the next key is due, in milliseconds since the epoch.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// Every retained version up to a revision, for a checkpoint. Values are not included.
    pub(crate) fn retained(&self, up_to: u64) -> Vec<(Arc<str>, Version)> {
        let all = self
            .keys
            .iter()
            .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)));
        all.filter(|(_, version)| version.revision <= up_to)
            .map(|(key, version)| (Arc::clone(key), version.clone()))
            .collect()
    }

    /// Moves a version to another place on disk, if it is still there.
    pub(crate) fn relocate(&mut self, key: &str, revision: u64, location: Location) {
        if let Some(version) = self.version_mut(key, revision) {
            version.location = location;
        }
    }

    /// Lets go of the value held in memory; the one on disk stays.
    pub(crate) fn evict(&mut self, key: &str, revision: u64) {
        if let Some(version) = self.version_mut(key, revision) {
            version.value = None;
        }
    }

    fn version_mut(&mut self, key: &str, revision: u64) -> Option<&mut Version> {
        let versions = self.keys.get_mut(key)?;
        let at = versions
            .binary_search_by_key(&revision, |version| version.revision)
            .ok()?;
        Some(&mut versions[at])
    }
}

fn visible(versions: &[Version], at: u64) -> Option<&Version> {
    versions
        .iter()
        .rev()
        .find(|version| version.revision <= at)
        .filter(|version| !version.deleted)
}
