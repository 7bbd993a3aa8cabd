//! Work queues: keys that need reconciling, each at most once, each handled by one worker at a time.
//!
//! A key that is added while it is being handled is handled again afterwards. Of two delayed deliveries
//! the earliest wins. Failures of a key back off exponentially until it is forgotten.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// What a handler wants to happen with the key next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing until something changes. Failures are forgotten.
    Done,
    /// Again after this time at the latest. Failures are forgotten.
    After(Duration),
    /// It failed: again with backoff, but not before this time.
    Retry(Option<Duration>),
}

struct Inner<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    processing: HashSet<K>,
    again: HashSet<K>,
    delayed: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
}

/// A queue of keys.
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    notify: Notify,
    backoff: Backoff,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new(Backoff::default())
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            processing: HashSet::new(),
            again: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
        };
        Self {
            inner: Mutex::new(inner),
            notify: Notify::new(),
            backoff,
        }
    }

    /// Has `key` handled as soon as a worker is free.
    pub fn add(&self, key: K) {
        let mut inner = self.inner.lock();
        inner.add(key);
        drop(inner);
        self.notify.notify_one();
    }

    /// Has `key` handled after `delay`, or earlier if it is due earlier already.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut inner = self.inner.lock();
        let at = Instant::now() + delay;
        if inner.queued.contains(&key) {
            return;
        }
        if let Some(&(earlier, sequence)) = inner.due.get(&key) {
            if earlier <= at {
                return;
            }
            inner.delayed.remove(&(earlier, sequence));
        }
        inner.sequence += 1;
        let place = (at, inner.sequence);
        inner.due.insert(key.clone(), place);
        inner.delayed.insert(place, key);
        drop(inner);
        self.notify.notify_one();
    }

    /// How many keys wait for a worker now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Whether no key waits for a worker now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is waiting, delayed or being handled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.ready.is_empty() && inner.processing.is_empty() && inner.delayed.is_empty()
    }

    /// The next key to handle; it must be given back to [`Queue::finish`].
    ///
    /// # Cancel safety
    /// A key is only taken when the future is ready, so nothing is lost.
    pub async fn next(&self) -> K {
        loop {
            let notified = self.notify.notified();
            let due = {
                let mut inner = self.inner.lock();
                inner.move_due(Instant::now());
                if let Some(key) = inner.take() {
                    if !inner.ready.is_empty() {
                        self.notify.notify_one();
                    }
                    return key;
                }
                inner.delayed.first_key_value().map(|(place, _)| place.0)
            };
            match due {
                None => notified.await,
                Some(at) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Gives a key back that [`Queue::next`] returned.
    pub fn finish(&self, key: K, outcome: Outcome) {
        let mut inner = self.inner.lock();
        inner.processing.remove(&key);
        if inner.again.remove(&key) {
            inner.add(key.clone());
        }
        let delay = match outcome {
            Outcome::Done => {
                inner.failures.remove(&key);
                None
            }
            Outcome::After(delay) => {
                inner.failures.remove(&key);
                Some(delay)
            }
            Outcome::Retry(at_least) => {
                let failures = inner.failures.entry(key.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                let delay = self.backoff.jittered(*failures);
                Some(at_least.map_or(delay, |least| least.max(delay)))
            }
        };
        drop(inner);
        if let Some(delay) = delay {
            self.add_after(key, delay);
        }
        self.notify.notify_one();
    }

    /// How often `key` failed in a row.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.inner.lock().failures.get(key).copied().unwrap_or(0)
    }
}

impl<K: Clone + Eq + Hash> Inner<K> {
    fn add(&mut self, key: K) {
        if let Some(place) = self.due.remove(&key) {
            self.delayed.remove(&place);
        }
        if self.processing.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn move_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

/// Handles keys with up to `concurrency` at a time, until `shutdown`; those being handled are finished.
pub async fn run<K, H, F>(queue: Arc<Queue<K>>, concurrency: usize, shutdown: CancellationToken, handler: H)
where
    K: Clone + Eq + Hash + Send + 'static,
    H: Fn(K) -> F + Clone + Send + 'static,
    F: Future<Output = Outcome> + Send,
{
    let slots = Arc::new(Semaphore::new(concurrency));
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let key = tokio::select! {
            () = shutdown.cancelled() => break,
            key = queue.next() => key,
        };
        let (queue, handler) = (Arc::clone(&queue), handler.clone());
        tokio::spawn(async move {
            let outcome = handler(key.clone()).await;
            queue.finish(key, outcome);
            drop(slot);
        });
    }
    // All slots free: every handler has returned.
    let all = u32::try_from(concurrency).unwrap_or(u32::MAX);
    drop(slots.acquire_many(all).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ready_now(queue: &Queue<&'static str>) -> Option<&'static str> {
        tokio::time::timeout(Duration::ZERO, queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(ready_now(&queue).await, Some("a"));
        assert_eq!(ready_now(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_changes_while_handled_is_handled_again_but_not_at_once() {
        let queue = Queue::default();
        queue.add("a");
        let key = queue.next().await;
        queue.add("a");
        assert_eq!(ready_now(&queue).await, None, "one worker per key");
        queue.finish(key, Outcome::Done);
        assert_eq!(ready_now(&queue).await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delivery_wins() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        queue.finish("a", Outcome::Done);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(ready_now(&queue).await, None, "the later deliveries are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_immediate_delivery_replaces_a_delayed_one() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(5));
        queue.add("a");
        assert_eq!(ready_now(&queue).await, Some("a"));
        queue.finish("a", Outcome::Done);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ready_now(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_success_forgets_them() {
        let queue = Queue::default();
        queue.add("a");
        for failures in 1..=3 {
            let key = queue.next().await;
            queue.finish(key, Outcome::Retry(None));
            assert_eq!(queue.failures(&"a"), failures);
        }
        let start = Instant::now();
        let key = queue.next().await;
        assert!(start.elapsed() >= Duration::from_millis(10) && start.elapsed() <= Duration::from_millis(21));
        queue.finish(key, Outcome::Done);
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_when_to_retry_is_not_asked_before() {
        let queue = Queue::default();
        queue.add("a");
        let key = queue.next().await;
        queue.finish(key, Outcome::Retry(Some(Duration::from_secs(7))));
        let start = Instant::now();
        queue.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn workers_finish_what_they_began_before_the_queue_stops() {
        let queue = Arc::new(Queue::default());
        queue.add("a");
        let stop = CancellationToken::new();
        let (started, mut wait_started) = tokio::sync::mpsc::channel(1);
        let finished = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&finished);
        let workers = tokio::spawn(run(Arc::clone(&queue), 2, stop.clone(), move |_key| {
            let (started, flag) = (started.clone(), Arc::clone(&flag));
            async move {
                started.send(()).await.expect("test waits");
                tokio::time::sleep(Duration::from_secs(1)).await;
                *flag.lock() = true;
                Outcome::Done
            }
        }));
        wait_started.recv().await;
        stop.cancel();
        workers.await.expect("workers do not panic");
        assert!(*finished.lock());
    }
}
