//! Concurrent histories: clients write, read and watch at once, everything is recorded, and the record is checked
//! against a model that applies the writes one after the other.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt as _;
use storage::{Change, Error, KeyValue, ListOptions, Page, Revision, Storage, WatchItem};

use crate::engines;

const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 120;
const KEYS: u64 = 6;

/// A write that was acknowledged.
#[derive(Debug, Clone)]
struct Write {
    started: Instant,
    ended: Instant,
    revision: Revision,
    key: String,
    /// The revision it was conditional on; `None` for a create.
    expected: Option<Revision>,
    /// `None` for a deletion.
    value: Option<Bytes>,
}

/// Pseudo-random, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

struct Record {
    writes: Vec<Write>,
    pages: Vec<Page>,
}

async fn client(store: Arc<dyn Storage>, number: u64) -> Record {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (number + 1));
    let mut record = Record {
        writes: Vec::new(),
        pages: Vec::new(),
    };
    for step in 0..OPERATIONS {
        let key = format!("/r/{}", dice.roll(KEYS));
        let value = Bytes::from(format!("{number}-{step}"));
        let started = Instant::now();
        if dice.roll(10) == 0 {
            record
                .pages
                .push(store.list("/r/", ListOptions::default()).await.unwrap());
            continue;
        }
        let current = store.get(&key).await.unwrap().map(|found| found.modified);
        let (result, value) = match current {
            None => (
                store.create(&key, value.clone(), None).await.map(|kv| kv.modified),
                Some(value),
            ),
            Some(at) if dice.roll(4) == 0 => (store.delete(&key, at).await.map(|(_, revision)| revision), None),
            Some(at) => (
                store.update(&key, value.clone(), at, None).await.map(|kv| kv.modified),
                Some(value),
            ),
        };
        match result {
            Ok(revision) => {
                let ended = Instant::now();
                record.writes.push(Write {
                    started,
                    ended,
                    revision,
                    key,
                    expected: current,
                    value,
                });
            }
            // Somebody else was quicker; that is the point.
            Err(Error::AlreadyExists { .. } | Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    record
}

async fn watch(store: Arc<dyn Storage>, after: Revision, until: Revision) -> Vec<Change> {
    let mut stream = store.watch("/r/", after).await.unwrap();
    let mut changes = Vec::new();
    let collect = async {
        loop {
            match stream.next().await.unwrap().unwrap() {
                WatchItem::Change(change) => {
                    let revision = revision(&change);
                    changes.push(change);
                    if revision >= until {
                        break;
                    }
                }
                WatchItem::Progress(reached) => {
                    let last = changes.last().map_or(after, revision);
                    assert!(reached >= last, "progress {reached:?} behind the last change {last:?}");
                    if reached >= until {
                        break;
                    }
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), collect)
        .await
        .expect("the watch reaches the end");
    changes
}

fn revision(change: &Change) -> Revision {
    match change {
        Change::Put { current, .. } => current.modified,
        Change::Delete { revision, .. } => *revision,
    }
}

type State = BTreeMap<String, KeyValue>;

/// Applies the writes in the order of their revisions: what the store was after each, and what a watch must tell.
fn replay(writes: &[Write]) -> (BTreeMap<Revision, State>, Vec<Change>) {
    let (mut states, mut changes) = (BTreeMap::from([(Revision(0), State::new())]), Vec::new());
    let mut state = State::new();
    for write in writes {
        let previous = state.get(&write.key).cloned();
        assert_eq!(
            write.expected,
            previous.as_ref().map(|kv| kv.modified),
            "{write:?} happened on another version"
        );
        if let Some(value) = &write.value {
            let created = previous.as_ref().map_or(write.revision, |kv| kv.created);
            let key = write.key.as_str().into();
            let current = KeyValue {
                key,
                value: value.clone(),
                created,
                modified: write.revision,
            };
            state.insert(write.key.clone(), current.clone());
            changes.push(Change::Put { current, previous });
        } else {
            state.remove(&write.key);
            let previous = previous.expect("a deletion has something to delete");
            changes.push(Change::Delete {
                revision: write.revision,
                previous,
            });
        }
        states.insert(write.revision, state.clone());
    }
    (states, changes)
}

fn at(states: &BTreeMap<Revision, State>, revision: Revision) -> Vec<KeyValue> {
    states
        .range(..=revision)
        .next_back()
        .unwrap()
        .1
        .values()
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_histories_are_those_of_one_store_that_does_one_thing_at_a_time() {
    for engine in engines::all().await {
        let (store, name) = (&engine.store, engine.name);
        let begin = store.revision().await.unwrap();
        let early = tokio::spawn({
            let store = Arc::clone(store);
            async move {
                let mut stream = store.watch("/r/", begin).await.unwrap();
                let mut changes = Vec::new();
                while let Some(item) = stream.next().await {
                    match item.unwrap() {
                        WatchItem::Change(Change::Put { current, .. }) if &*current.key == "/r/end" => break,
                        WatchItem::Change(change) => changes.push(change),
                        WatchItem::Progress(_) => {}
                    }
                }
                changes
            }
        });
        let clients = (0..CLIENTS).map(|number| tokio::spawn(client(Arc::clone(store), number)));
        let records: Vec<Record> = futures::future::join_all(clients)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let end = store.revision().await.unwrap();
        store.create("/r/end", Bytes::new(), None).await.unwrap();

        let mut writes: Vec<Write> = records.iter().flat_map(|record| record.writes.clone()).collect();
        writes.sort_by_key(|write| write.revision);
        assert!(writes.len() > 100, "{name}: too few writes succeeded to mean anything");
        assert!(
            writes.windows(2).all(|pair| pair[0].revision < pair[1].revision),
            "{name}: a revision twice"
        );
        let mut newest_started = None;
        for write in &writes {
            // Whoever started after another had ended must come after it.
            let late: Option<Instant> = newest_started;
            assert!(
                late.is_none_or(|started| write.ended >= started),
                "{name}: {write:?} is out of order"
            );
            newest_started = newest_started.max(Some(write.started));
        }

        let (states, changes) = replay(&writes);
        assert_eq!(early.await.unwrap(), changes, "{name}: a live watch");
        for resumed in [
            begin,
            writes[writes.len() / 3].revision,
            writes[writes.len() - 2].revision,
        ] {
            let expected: Vec<_> = changes
                .iter()
                .filter(|change| revision(change) > resumed)
                .cloned()
                .collect();
            assert_eq!(
                watch(Arc::clone(store), resumed, end).await,
                expected,
                "{name}: resumed after {resumed:?}"
            );
        }
        for page in records.iter().flat_map(|record| &record.pages) {
            assert_eq!(
                page.items,
                at(&states, page.revision),
                "{name}: a list at {:?}",
                page.revision
            );
        }
        for write in writes.iter().step_by(17) {
            let options = ListOptions {
                at: Some(write.revision),
                ..ListOptions::default()
            };
            let page = store.list("/r/", options).await.unwrap();
            assert_eq!(page.items, at(&states, write.revision), "{name}: an exact list");
        }
    }
}
