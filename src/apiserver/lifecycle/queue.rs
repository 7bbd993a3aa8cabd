//! A queue of keys: each is worked on by one worker at a time, and again if it was added meanwhile.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Wait after a first failure; doubles up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);

struct Inner<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    running: HashSet<K>,
    again: HashSet<K>,
    failures: HashMap<K, u32>,
}

/// The queue. Clones share it.
pub(super) struct Queue<K> {
    inner: Arc<Mutex<Inner<K>>>,
    wake: Arc<Notify>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            wake: self.wake.clone(),
        }
    }
}

impl<K: Eq + Hash + Clone + Send + 'static> Queue<K> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            failures: HashMap::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            wake: Arc::new(Notify::new()),
        }
    }

    /// Adds a key; one that waits already waits once, one that is worked on comes again afterwards.
    pub(super) fn add(&self, key: K) {
        let mut inner = self.inner.lock();
        if inner.running.contains(&key) {
            inner.again.insert(key);
        } else if inner.queued.insert(key.clone()) {
            inner.ready.push_back(key);
            self.wake.notify_one();
        }
    }

    /// The next key to work on.
    pub(super) async fn next(&self) -> K {
        loop {
            {
                let mut inner = self.inner.lock();
                if let Some(key) = inner.ready.pop_front() {
                    inner.queued.remove(&key);
                    inner.running.insert(key.clone());
                    if !inner.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
            }
            self.wake.notified().await;
        }
    }

    /// The work on a key is done; `settled` says whether nothing is left to do. Else it comes again after a while.
    pub(super) fn done(&self, key: K, settled: bool) {
        let mut inner = self.inner.lock();
        inner.running.remove(&key);
        let again = inner.again.remove(&key);
        if settled {
            inner.failures.remove(&key);
            drop(inner);
            if again {
                self.add(key);
            }
            return;
        }
        let count = inner.failures.entry(key.clone()).or_insert(0);
        *count += 1;
        let wait = FIRST.saturating_mul(1 << (*count - 1).min(10)).min(LONGEST);
        drop(inner);
        let queue = self.clone();
        tokio::spawn(async move {
            if !again {
                tokio::time::sleep(wait).await;
            }
            queue.add(key);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again() {
        let queue = Queue::new();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.add(1);
        queue.done(1, true);
        assert_eq!(queue.next().await, 1);
        queue.done(1, false);
        assert_eq!(queue.next().await, 1, "a failed key comes again after its wait");
    }
}
