//! Random sequences of operations against a model that keeps every state there ever was.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use proptest::prelude::*;
use storage::{Change, Error, KeyValue, ListOptions, Revision, Storage, WatchItem};

#[derive(Debug, Clone)]
enum Operation {
    Create(u8, u8),
    Update(u8, u8),
    StaleUpdate(u8),
    Delete(u8),
    Compact(u8),
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..4_u8;
    prop_oneof![
        3 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Operation::Create(key, value)),
        4 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Operation::Update(key, value)),
        1 => key.clone().prop_map(Operation::StaleUpdate),
        2 => key.prop_map(Operation::Delete),
        1 => (0..20_u8).prop_map(Operation::Compact),
        1 => Just(Operation::Reopen),
    ]
}

type State = BTreeMap<String, KeyValue>;

/// Every state since revision 0, and the horizon.
struct Model {
    states: Vec<State>,
    changes: Vec<Change>,
    horizon: u64,
}

impl Model {
    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    fn push(&mut self, state: State, change: Change) {
        self.states.push(state);
        self.changes.push(change);
    }

    fn next(&self) -> Revision {
        Revision(self.states.len() as u64)
    }
}

async fn apply(model: &mut Model, store: &dyn Storage, operation: &Operation) {
    let key = |number: &u8| format!("/r/{number}");
    let value = |byte: &u8| Bytes::from(vec![*byte; usize::from(*byte) * 8]);
    match operation {
        Operation::Create(number, byte) => {
            let (key, value, mut state) = (key(number), value(byte), model.now().clone());
            let result = store.create(&key, value.clone(), None).await;
            if state.contains_key(&key) {
                assert!(matches!(result, Err(Error::AlreadyExists { .. })));
                return;
            }
            let revision = model.next();
            let current = KeyValue {
                key: key.as_str().into(),
                value,
                created: revision,
                modified: revision,
            };
            assert_eq!(result.unwrap(), current);
            state.insert(key, current.clone());
            model.push(
                state,
                Change::Put {
                    current,
                    previous: None,
                },
            );
        }
        Operation::Update(number, byte) => {
            let (key, value, mut state) = (key(number), value(byte), model.now().clone());
            let Some(previous) = state.get(&key).cloned() else {
                let result = store.update(&key, value, Revision(1), None).await;
                assert!(matches!(result, Err(Error::NotFound { .. })));
                return;
            };
            let current = KeyValue {
                value: value.clone(),
                modified: model.next(),
                ..previous.clone()
            };
            assert_eq!(
                store.update(&key, value, previous.modified, None).await.unwrap(),
                current
            );
            state.insert(key, current.clone());
            model.push(
                state,
                Change::Put {
                    current,
                    previous: Some(previous),
                },
            );
        }
        Operation::StaleUpdate(number) => {
            let key = key(number);
            let result = store.update(&key, Bytes::new(), Revision(u64::MAX), None).await;
            match model.now().get(&key) {
                None => assert!(matches!(result, Err(Error::NotFound { .. }))),
                Some(found) => assert!(matches!(result, Err(Error::Conflict { current, .. }) if *current == *found)),
            }
        }
        Operation::Delete(number) => {
            let (key, mut state) = (key(number), model.now().clone());
            let Some(previous) = state.remove(&key) else {
                assert!(matches!(
                    store.delete(&key, Revision(1)).await,
                    Err(Error::NotFound { .. })
                ));
                return;
            };
            let revision = model.next();
            assert_eq!(
                store.delete(&key, previous.modified).await.unwrap(),
                (previous.clone(), revision)
            );
            model.push(state, Change::Delete { revision, previous });
        }
        Operation::Compact(back) => {
            let newest = model.states.len() as u64 - 1;
            let horizon = newest.saturating_sub(u64::from(*back));
            store.compact(Revision(horizon)).await.unwrap();
            model.horizon = model.horizon.max(horizon);
        }
        Operation::Reopen => {}
    }
}

async fn check(model: &Model, store: &dyn Storage) {
    let newest = model.states.len() as u64 - 1;
    assert_eq!(store.revision().await.unwrap(), Revision(newest));
    for revision in model.horizon..=newest {
        let options = ListOptions {
            at: Some(Revision(revision)),
            ..ListOptions::default()
        };
        let page = store.list("/r/", options).await.unwrap();
        let expected: Vec<_> = model.states[revision as usize].values().cloned().collect();
        assert_eq!(page.items, expected, "at {revision}");
    }
    let mut told = Vec::new();
    let mut stream = store.watch("/r/", Revision(model.horizon)).await.unwrap();
    while let WatchItem::Change(change) = stream.next().await.unwrap().unwrap() {
        told.push(change);
    }
    assert_eq!(told, model.changes[model.horizon as usize..]);
}

fn run(operations: &[Operation], open: impl Fn() -> Arc<dyn Storage>, reopens: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut store = Some(open());
        let mut model = Model {
            states: vec![State::new()],
            changes: Vec::new(),
            horizon: 0,
        };
        for operation in operations {
            if matches!(operation, Operation::Reopen) && reopens {
                // The old one first: a directory is opened once.
                store = None;
                store = Some(store.unwrap_or_else(&open));
            }
            let store = store.as_ref().unwrap();
            apply(&mut model, &**store, operation).await;
        }
        check(&model, &**store.as_ref().unwrap()).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_engine_is_the_model(operations in prop::collection::vec(operation(), 1..80)) {
        run(&operations, storage::memory, false);
    }

    #[test]
    fn the_embedded_engine_is_the_model_across_starts_and_checkpoints(
        operations in prop::collection::vec(operation(), 1..80),
        checkpoint_bytes in prop_oneof![Just(1_u64), Just(4096), Just(1 << 20)],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let options = storage::embedded::Options { checkpoint_bytes, ..Default::default() };
        run(&operations, || storage::embedded::open_with(directory.path(), &options).unwrap(), true);
    }
}
