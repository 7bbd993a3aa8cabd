//! The work queue of a controller: keys that need a look.
//!
//! A key that is added several times before it is taken is handed out once; a key that is added
//! while it is being worked on is handed out again afterwards, never to two workers at a time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    future::Future,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::backoff;

/// First delay after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// Greatest delay after failures.
const GREATEST_RETRY: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    /// In `ready`, or to be put there when their worker is done.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    delayed: BinaryHeap<Reverse<(Instant, T)>>,
    failures: HashMap<T, u32>,
}

/// A queue of keys.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Clone + Eq + Hash + Ord> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashSet::new(),
                processing: HashSet::new(),
                delayed: BinaryHeap::new(),
                failures: HashMap::new(),
            }),
            wake: Notify::new(),
        }
    }
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// Asks for a look at a key, soon.
    pub(crate) fn add(&self, key: T) {
        if self.state.lock().mark(key) {
            self.wake.notify_one();
        }
    }

    /// Asks for a look at a key after a delay.
    pub(crate) fn add_after(&self, key: T, delay: Duration) {
        self.state.lock().delayed.push(Reverse((Instant::now() + delay, key)));
        self.wake.notify_one();
    }

    /// The next key; call [`Queue::done`] with it afterwards.
    ///
    /// # Cancel safety
    /// A key is only taken out when it is returned.
    pub(crate) async fn take(&self) -> T {
        loop {
            let wake = self.wake.notified();
            let next = {
                let mut state = self.state.lock();
                let next = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                next
            };
            match next {
                Some(at) => tokio::select! {
                    () = wake => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => wake.await,
            }
        }
    }

    /// The key's worker is done: with success, or for another try after a backoff.
    pub(crate) fn done(&self, key: &T, success: bool) {
        let mut state = self.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
        }
        if success {
            state.failures.remove(key);
        } else {
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = backoff::step(FIRST_RETRY, GREATEST_RETRY, *failures);
            *failures += 1;
            let delay = delay.mul_f64(rand::random_range(0.5..=1.0));
            state.delayed.push(Reverse((Instant::now() + delay, key.clone())));
        }
        drop(state);
        self.wake.notify_one();
    }
}

impl<T: Clone + Eq + Hash + Ord> State<T> {
    /// Whether a worker is needed now.
    fn mark(&mut self, key: T) -> bool {
        if !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// Moves due keys to `ready`; returns when the next one is due.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((at, _))) = self.delayed.peek() {
            if *at > now {
                return Some(*at);
            }
            if let Some(Reverse((_, key))) = self.delayed.pop() {
                self.mark(key);
            }
        }
        None
    }
}

/// When to look again at a key that was reconciled without an error.
pub(crate) type Requeue = Option<Duration>;

/// Works on the keys of a queue with `workers` concurrent tasks until `shutdown`.
/// A failed key is tried again with backoff; the error is logged with its chain.
pub(crate) fn spawn<T, F, R, E>(
    name: &'static str,
    queue: Arc<Queue<T>>,
    workers: usize,
    shutdown: &CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Ord + std::fmt::Debug + Send + Sync + 'static,
    F: Fn(T) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Requeue, E>> + Send,
    E: std::error::Error + Send,
{
    for _ in 0..workers {
        let (queue, shutdown, reconcile) = (queue.clone(), shutdown.clone(), reconcile.clone());
        tokio::spawn(async move {
            while let Some(key) = shutdown.run_until_cancelled(queue.take()).await {
                let outcome = reconcile(key.clone()).await;
                queue.done(&key, outcome.is_ok());
                match outcome {
                    Ok(Some(after)) => queue.add_after(key, after),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(controller = name, ?key, error = chain(&error), "reconcile failed"),
                }
            }
        });
    }
}

/// From now until a moment, at least a millisecond.
pub(crate) fn after(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(1))
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_handed_out_once() {
        let queue = Queue::default();
        queue.add(1);
        queue.add(1);
        queue.add(2);
        assert_eq!((queue.take().await, queue.take().await), (1, 2));
        assert!(
            tokio::time::timeout(Duration::from_secs(1), queue.take())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again_afterwards() {
        let queue = Queue::default();
        queue.add(1);
        let key = queue.take().await;
        queue.add(1);
        assert!(
            tokio::time::timeout(Duration::from_secs(1), queue.take())
                .await
                .is_err()
        );
        queue.done(&key, true);
        assert_eq!(queue.take().await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_in_time_order() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after(2, Duration::from_secs(2));
        queue.add_after(1, Duration::from_secs(1));
        assert_eq!((queue.take().await, queue.take().await), (1, 2));
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_comes_back_later_each_time() {
        let queue = Queue::default();
        queue.add(1);
        for failures in 0..5 {
            let key = queue.take().await;
            let failed = Instant::now();
            queue.done(&key, false);
            queue.add_after(2, Duration::ZERO);
            queue.done(&queue.take().await, true);
            let key = queue.take().await;
            let least = FIRST_RETRY * 2_u32.pow(failures) / 2;
            assert!(
                failed.elapsed() >= least,
                "{:?} after {failures} failures",
                failed.elapsed()
            );
            queue.add(key);
            queue.done(&key, true);
            queue.state.lock().failures.insert(key, failures + 1);
        }
    }
}
