//! Tasks of an in-process engine: removing expired keys, and compacting old versions.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Engine, now_millis};
use crate::{Error, Revision, Storage};

/// How long old versions are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Versions replaced longer ago than this are forgotten.
    pub(crate) age: Duration,
    /// At most this many changes are kept, however young.
    pub(crate) changes: usize,
}

impl Default for Retention {
    /// Five minutes as kube-apiserver with etcd; 100,000 changes cost some 5 MB of index.
    fn default() -> Self {
        Self {
            age: Duration::from_secs(300),
            changes: 100_000,
        }
    }
}

/// How many samples of (time, revision) the retention age is divided into.
const SAMPLES: u32 = 10;

/// How many expired keys are removed at once; they share a group commit.
const EXPIRY_BATCH: usize = 256;

/// How long to wait after a failed removal, for example on a full disk.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

/// A system clock may jump, so no sleep towards an expiry is longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Starts the tasks. They end when the engine is dropped.
pub(crate) fn spawn(engine: &Arc<Engine>, retention: Retention) {
    tokio::spawn(expire(Arc::downgrade(engine), Arc::clone(&engine.shared)));
    tokio::spawn(compact(Arc::downgrade(engine), retention));
}

async fn expire(engine: Weak<Engine>, shared: Arc<super::Shared>) {
    loop {
        let next = shared.read(|state| state.index.next_expiry());
        let wait = next.map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(at.saturating_sub(now_millis()))
        });
        // One more millisecond: a timer that fires early would only find nothing due.
        let due = sleep(wait.min(LONGEST_SLEEP) + Duration::from_millis(1));
        tokio::select! {
            () = due => {}
            () = shared.expiry.notified() => {}
        }
        let Some(engine) = engine.upgrade() else { return };
        if !remove_expired(&engine).await {
            drop(engine);
            sleep(EXPIRY_RETRY).await;
        }
    }
}

/// Removes what is due; false if the store failed.
async fn remove_expired(engine: &Engine) -> bool {
    let due = engine
        .shared
        .read(|state| state.index.expired(now_millis(), EXPIRY_BATCH));
    let removals = due
        .iter()
        .map(|(key, revision)| engine.delete(key, Revision(*revision)));
    let mut works = true;
    for result in futures::future::join_all(removals).await {
        match result {
            // Changed or deleted meanwhile: not expired any more.
            Ok(_) | Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove expired keys");
                works = false;
            }
        }
    }
    works
}

async fn compact(engine: Weak<Engine>, retention: Retention) {
    let interval = retention.age / SAMPLES;
    let mut samples: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        sleep(interval).await;
        let Some(engine) = engine.upgrade() else { return };
        engine.shared.change(|state| {
            let mut horizon = None;
            while samples.front().is_some_and(|(at, _)| at.elapsed() >= retention.age) {
                horizon = samples.pop_front();
            }
            samples.push_back((Instant::now(), state.index.committed()));
            let by_count = state.index.oldest_within(retention.changes);
            let horizon = horizon.map_or(0, |(_, revision)| revision).max(by_count);
            if horizon > state.index.compacted() {
                state.index.compact(horizon);
            }
        });
    }
}
