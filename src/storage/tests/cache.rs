//! The watch cache over a store: what readers and watchers may rely on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use storage::{
    Error, KeyValue, ListOptions, Page, Revision, Storage, WatchStream,
    cache::{Cache, Codec, Event, Freshness, Query, Start, Watch},
};
use tokio::sync::Notify;

/// Texts with the revision they are shown at.
struct Texts;

impl Codec for Texts {
    type Payload = String;

    fn decode(&self, stored: &KeyValue) -> String {
        format!("{}@{}", String::from_utf8_lossy(&stored.value), stored.modified.0)
    }

    fn restamp(&self, payload: &String, revision: Revision) -> String {
        format!("{}@{}", payload.split('@').next().unwrap_or_default(), revision.0)
    }

    fn weight(&self, payload: &String) -> usize {
        // As heavy as a large object, so that the ring of a test overflows soon.
        payload.len() + 64 * 1024
    }
}

/// More changes than the ring of [`Texts`] holds.
const OVERFLOW: usize = 200;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn cache(store: &Arc<dyn Storage>) -> Arc<Cache<Texts>> {
    Cache::start(Arc::clone(store), "/r/", Texts)
}

fn query(freshness: Freshness) -> Query<'static> {
    Query {
        scope: "/r/",
        freshness,
        limit: 0,
        after: None,
    }
}

async fn texts(cache: &Cache<Texts>, query: Query<'_>) -> Vec<String> {
    cache
        .list(query, |_| true)
        .await
        .unwrap()
        .items
        .iter()
        .map(|entry| entry.payload.clone())
        .collect()
}

/// The next changes of a watch, one line each.
async fn told(watch: &mut Watch<Texts>, count: usize) -> Vec<String> {
    let line = |event: &Arc<Event<String>>| format!("{:?} {}", event.kind, event.entry.payload);
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.extend(watch.next(16).await.unwrap().iter().map(line));
    }
    lines
}

#[tokio::test]
async fn reads_show_every_write_acknowledged_before() {
    let store = storage::memory();
    let cache = cache(&store);
    for number in 0..50 {
        let key = format!("/r/{number:02}");
        let written = store.create(&key, bytes("x"), None).await.unwrap();
        let entry = cache.get(&key, Freshness::Newest).await.unwrap().unwrap();
        assert_eq!(
            (entry.modified, entry.payload.as_str()),
            (written.modified, &*format!("x@{}", written.modified.0))
        );
        let list = cache.list(query(Freshness::Newest), |_| true).await.unwrap();
        assert_eq!((list.items.len(), list.revision), (number + 1, written.modified));
    }
    let other = store.create("/other", bytes("x"), None).await.unwrap();
    assert_eq!(
        cache.list(query(Freshness::Newest), |_| true).await.unwrap().revision,
        other.modified
    );
}

#[tokio::test]
async fn pages_are_of_one_revision_whatever_is_written_meanwhile() {
    let store = storage::memory();
    let cache = cache(&store);
    for key in ["/r/a", "/r/b", "/r/c", "/r/d", "/r/e"] {
        store.create(key, bytes("1"), None).await.unwrap();
    }
    let first = cache
        .list(
            Query {
                limit: 2,
                ..query(Freshness::Newest)
            },
            |_| true,
        )
        .await
        .unwrap();
    assert_eq!((first.items.len(), first.remaining), (2, 3));
    let c = store.get("/r/c").await.unwrap().unwrap();
    store.delete("/r/c", c.modified).await.unwrap();
    store.create("/r/ca", bytes("new"), None).await.unwrap();
    let d = store.get("/r/d").await.unwrap().unwrap();
    store.update("/r/d", bytes("2"), d.modified, None).await.unwrap();
    let exact = |after| Query {
        limit: 2,
        after: Some(after),
        ..query(Freshness::Exactly(first.revision))
    };
    assert_eq!(texts(&cache, exact("/r/b")).await, ["1@3", "1@4"]);
    assert_eq!(texts(&cache, exact("/r/d")).await, ["1@5"]);

    // The same when the ring has forgotten, and the store has not.
    let mut last = store.get("/r/a").await.unwrap().unwrap();
    for _ in 0..OVERFLOW {
        last = store.update("/r/a", bytes("3"), last.modified, None).await.unwrap();
    }
    cache.settle().await.unwrap();
    assert_eq!(texts(&cache, exact("/r/b")).await, ["1@3", "1@4"]);
    store.compact(last.modified).await.unwrap();
    let compacted = cache.list(exact("/r/b"), |_| true).await;
    assert!(matches!(compacted, Err(Error::Compacted { .. })), "{compacted:?}");
}

#[tokio::test]
async fn a_limit_counts_what_matches() {
    let store = storage::memory();
    let cache = cache(&store);
    for number in 0..10 {
        let value = if number % 3 == 0 { "yes" } else { "no" };
        store.create(&format!("/r/{number}"), bytes(value), None).await.unwrap();
    }
    let query = Query {
        limit: 2,
        ..query(Freshness::Newest)
    };
    let page = cache
        .list(query, |entry| entry.payload.starts_with("yes"))
        .await
        .unwrap();
    assert_eq!(
        page.items.iter().map(|entry| &*entry.key).collect::<Vec<_>>(),
        ["/r/0", "/r/3"]
    );
    assert_eq!(page.remaining, 6);
}

#[tokio::test]
async fn watches_start_with_the_state_or_after_a_revision() {
    let store = storage::memory();
    let cache = cache(&store);
    let a = store.create("/r/x/a", bytes("1"), None).await.unwrap();
    store.create("/r/y/b", bytes("1"), None).await.unwrap();
    let mut with_state = cache.watch("/r/x/", Start::Now(Freshness::Newest)).await.unwrap();
    assert_eq!(
        with_state
            .initial()
            .iter()
            .map(|entry| entry.payload.as_str())
            .collect::<Vec<_>>(),
        ["1@1"]
    );
    let mut resumed = cache.watch("/r/", Start::After(a.modified)).await.unwrap();
    let mut single = cache.watch("/r/x/a", Start::Now(Freshness::Any)).await.unwrap();
    let a2 = store.update("/r/x/a", bytes("2"), a.modified, None).await.unwrap();
    store.create("/r/x/aa", bytes("3"), None).await.unwrap();
    store.delete("/r/x/a", a2.modified).await.unwrap();
    assert_eq!(
        told(&mut with_state, 3).await,
        ["Modified 2@3", "Added 3@4", "Deleted 2@5"]
    );
    assert_eq!(
        told(&mut resumed, 4).await,
        ["Added 1@2", "Modified 2@3", "Added 3@4", "Deleted 2@5"]
    );
    assert_eq!(told(&mut single, 2).await, ["Modified 2@3", "Deleted 2@5"]);
    assert_eq!(single.bookmark().await, Some(Revision(5)));
}

#[tokio::test]
async fn an_object_that_leaves_a_selection_is_told_as_it_was() {
    let store = storage::memory();
    let cache = cache(&store);
    let a = store.create("/r/a", bytes("in"), None).await.unwrap();
    let mut watch = cache.watch("/r/", Start::After(a.modified)).await.unwrap();
    store.update("/r/a", bytes("out"), a.modified, None).await.unwrap();
    let events = watch.next(1).await.unwrap();
    assert_eq!(events[0].departed(cache.codec()).unwrap().payload, "in@2");
    assert_eq!(events[0].previous.as_ref().unwrap().payload, "in@1");
}

#[tokio::test]
async fn a_slow_watch_catches_up_from_the_store_and_costs_nobody_anything() {
    let store = storage::memory();
    let cache = cache(&store);
    let mut last = store.create("/r/a", bytes("x"), None).await.unwrap();
    let mut slow = cache.watch("/r/", Start::After(last.modified)).await.unwrap();
    let mut quick = cache.watch("/r/", Start::After(last.modified)).await.unwrap();
    for number in 0..OVERFLOW {
        last = store
            .update("/r/a", bytes(&number.to_string()), last.modified, None)
            .await
            .unwrap();
        assert_eq!(
            told(&mut quick, 1).await,
            [format!("Modified {number}@{}", last.modified.0)]
        );
    }
    let expected: Vec<_> = (0..OVERFLOW)
        .map(|number| format!("Modified {number}@{}", number + 2))
        .collect();
    assert_eq!(told(&mut slow, OVERFLOW).await, expected);
    // And it is live again.
    store.delete("/r/a", last.modified).await.unwrap();
    assert_eq!(told(&mut slow, 1).await.len(), 1);
    assert_eq!(told(&mut quick, 1).await.len(), 1);
}

#[tokio::test]
async fn a_quiet_watch_is_not_overtaken_by_what_happens_elsewhere() {
    let store = storage::memory();
    let cache = cache(&store);
    let first = store.create("/r/quiet/a", bytes("x"), None).await.unwrap();
    let mut quiet = cache.watch("/r/quiet/", Start::After(first.modified)).await.unwrap();
    let mut last = store.create("/r/busy", bytes("x"), None).await.unwrap();
    for _ in 0..OVERFLOW {
        last = store.update("/r/busy", bytes("x"), last.modified, None).await.unwrap();
    }
    cache.settle().await.unwrap();
    store.compact(last.modified).await.unwrap();
    store.create("/r/quiet/b", bytes("told"), None).await.unwrap();
    assert_eq!(
        told(&mut quiet, 1).await,
        [format!("Added told@{}", last.modified.0 + 1)]
    );
}

#[tokio::test]
async fn a_watch_from_before_the_horizon_is_told_so() {
    let store = storage::memory();
    let cache = cache(&store);
    let mut last = store.create("/r/a", bytes("x"), None).await.unwrap();
    for _ in 0..OVERFLOW {
        last = store.update("/r/a", bytes("x"), last.modified, None).await.unwrap();
    }
    cache.settle().await.unwrap();
    store.compact(last.modified).await.unwrap();
    let mut watch = cache.watch("/r/", Start::After(Revision(1))).await.unwrap();
    assert!(matches!(watch.next(1).await, Err(Error::Compacted { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_come_is_an_error_after_a_while_and_one_that_comes_is_waited_for() {
    let store = storage::memory();
    let cache = cache(&store);
    store.create("/r/a", bytes("x"), None).await.unwrap();
    let started = tokio::time::Instant::now();
    let future = cache.list(query(Freshness::AtLeast(Revision(2))), |_| true).await;
    assert!(
        matches!(
            future,
            Err(Error::Future {
                wanted: Revision(2),
                current: Revision(1)
            })
        ),
        "{future:?}"
    );
    assert!(started.elapsed() >= storage::cache::FUTURE_WAIT);
    let waiting = tokio::spawn({
        let cache = Arc::clone(&cache);
        async move { texts(&cache, query(Freshness::AtLeast(Revision(2)))).await }
    });
    tokio::task::yield_now().await;
    store.create("/r/b", bytes("y"), None).await.unwrap();
    assert_eq!(waiting.await.unwrap(), ["x@1", "y@2"]);
}

/// A store whose watches break when told, and whose watches can be kept from opening.
struct Flaky {
    inner: Arc<dyn Storage>,
    cut: Arc<Notify>,
    closed: AtomicBool,
}

#[async_trait]
impl Storage for Flaky {
    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, Error> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<Page, Error> {
        self.inner.list(prefix, options).await
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<KeyValue, Error> {
        self.inner.create(key, value, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        ttl: Option<Duration>,
    ) -> Result<KeyValue, Error> {
        self.inner.update(key, value, expected, ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<(KeyValue, Revision), Error> {
        self.inner.delete(key, expected).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream, Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::backend("watch", std::io::Error::other("cut off")));
        }
        let stream = self.inner.watch(prefix, after).await?;
        let cut = Arc::clone(&self.cut);
        Ok(Box::pin(stream.take_until(async move { cut.notified().await })))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn flaky() -> (Arc<Flaky>, Arc<dyn Storage>) {
    let flaky = Arc::new(Flaky {
        inner: storage::memory(),
        cut: Arc::default(),
        closed: AtomicBool::new(false),
    });
    let store: Arc<dyn Storage> = Arc::clone(&flaky) as _;
    (flaky, store)
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_of_the_store_is_resumed_without_loss() {
    let (flaky, store) = flaky();
    let cache = cache(&store);
    let a = store.create("/r/a", bytes("1"), None).await.unwrap();
    let mut watch = cache
        .watch("/r/", Start::Now(Freshness::AtLeast(a.modified)))
        .await
        .unwrap();
    flaky.cut.notify_waiters();
    let a2 = store.update("/r/a", bytes("2"), a.modified, None).await.unwrap();
    store.delete("/r/a", a2.modified).await.unwrap();
    assert_eq!(told(&mut watch, 2).await, ["Modified 2@2", "Deleted 2@3"]);
    assert_eq!(
        texts(&cache, query(Freshness::AtLeast(Revision(3)))).await,
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_fell_behind_the_horizon_lists_again_and_tells_its_watchers() {
    let (flaky, store) = flaky();
    let cache = cache(&store);
    let a = store.create("/r/a", bytes("1"), None).await.unwrap();
    let mut watch = cache
        .watch("/r/", Start::Now(Freshness::AtLeast(a.modified)))
        .await
        .unwrap();
    flaky.closed.store(true, Ordering::Release);
    flaky.cut.notify_waiters();
    store.delete("/r/a", a.modified).await.unwrap();
    let b = store.create("/r/b", bytes("2"), None).await.unwrap();
    store.compact(b.modified).await.unwrap();
    flaky.closed.store(false, Ordering::Release);
    assert_eq!(texts(&cache, query(Freshness::AtLeast(b.modified))).await, ["2@3"]);
    assert!(matches!(watch.next(1).await, Err(Error::Compacted { .. })));
}
