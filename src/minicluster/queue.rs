//! The workers of controllers, on `client`'s queues.

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use client::queue::{self, Outcome};
pub(crate) use client::{Queue, error::chain};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// When to look again at a key that was reconciled without an error.
pub(crate) type Requeue = Option<Duration>;

/// Works on up to `workers` keys of a queue at a time, until `shutdown`.
/// A failed key is tried again with backoff; the error is logged with its chain.
pub(crate) fn spawn<T, F, R, E>(
    name: &'static str,
    queue: Arc<Queue<T>>,
    workers: usize,
    shutdown: &CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Requeue, E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let handler = move |key: T| {
        let reconciled = reconcile(key.clone());
        async move {
            match reconciled.await {
                Ok(None) => Outcome::Done,
                Ok(Some(after)) => Outcome::After(after),
                Err(error) => {
                    tracing::debug!(controller = name, ?key, error = chain(&error), "reconcile failed");
                    Outcome::Retry(None)
                }
            }
        }
    };
    tokio::spawn(queue::run(queue, workers, shutdown.clone(), handler));
}

/// From now until a moment, at least a millisecond.
pub(crate) fn after(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(1))
}
