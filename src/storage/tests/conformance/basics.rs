//! Single operations and what they promise.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use storage::{Change, Error, KeyValue, ListOptions, MAX_VALUE_BYTES, Revision, Storage, WatchItem, WatchStream};

use crate::engines;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next_change(stream: &mut WatchStream) -> Change {
    let next = async {
        loop {
            if let WatchItem::Change(change) = stream.next().await.unwrap().unwrap() {
                return change;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), next)
        .await
        .expect("a change within half a minute")
}

async fn put(store: &dyn Storage, key: &str, value: &str) -> KeyValue {
    store.create(key, bytes(value), None).await.unwrap()
}

#[tokio::test]
async fn writes_check_their_condition_and_return_what_is_stored() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        let a = put(store, "/r/a", "1").await;
        assert_eq!(a.created, a.modified, "{name}");
        assert!(a.modified > Revision(0), "{name}");
        assert!(
            matches!(
                store.create("/r/a", bytes("x"), None).await,
                Err(Error::AlreadyExists { .. })
            ),
            "{name}"
        );
        let b = store.update("/r/a", bytes("2"), a.modified, None).await.unwrap();
        assert!(b.modified > a.modified && b.created == a.created, "{name}");
        assert_eq!(store.get("/r/a").await.unwrap().as_ref(), Some(&b), "{name}");
        match store.update("/r/a", bytes("x"), a.modified, None).await {
            Err(Error::Conflict { current, .. }) => assert_eq!(*current, b, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(
            matches!(store.delete("/r/a", a.modified).await, Err(Error::Conflict { .. })),
            "{name}"
        );
        let (last, gone) = store.delete("/r/a", b.modified).await.unwrap();
        assert_eq!(last, b, "{name}");
        assert!(gone > b.modified, "{name}");
        assert_eq!(store.get("/r/a").await.unwrap(), None, "{name}");
        let missing = store.update("/r/a", bytes("x"), b.modified, None).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{name}");
        assert!(
            matches!(store.delete("/r/a", b.modified).await, Err(Error::NotFound { .. })),
            "{name}"
        );
        let again = put(store, "/r/a", "3").await;
        assert!(again.created > gone && again.created == again.modified, "{name}");
        assert_eq!(store.revision().await.unwrap(), again.modified, "{name}");
    }
}

#[tokio::test]
async fn lists_are_ordered_exact_and_paged() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        for key in ["/r/b", "/r/a", "/r/c/x", "/rx", "/q", "/r/d"] {
            put(store, key, key).await;
        }
        let keys = |page: &storage::Page| page.items.iter().map(|item| item.key.to_string()).collect::<Vec<_>>();
        let all = store.list("/r/", ListOptions::default()).await.unwrap();
        assert_eq!(keys(&all), ["/r/a", "/r/b", "/r/c/x", "/r/d"], "{name}");
        assert_eq!(
            (all.remaining, all.revision),
            (0, store.revision().await.unwrap()),
            "{name}"
        );

        let first = store
            .list(
                "/r/",
                ListOptions {
                    limit: 2,
                    ..ListOptions::default()
                },
            )
            .await
            .unwrap();
        assert_eq!(
            (keys(&first), first.remaining),
            (vec!["/r/a".into(), "/r/b".into()], 2),
            "{name}"
        );
        store.delete("/r/d", all.items[3].modified).await.unwrap();
        put(store, "/r/c/y", "new").await;
        let next = ListOptions {
            at: Some(first.revision),
            limit: 2,
            after: Some("/r/b".into()),
        };
        let second = store.list("/r/", next).await.unwrap();
        assert_eq!(
            (keys(&second), second.remaining),
            (vec!["/r/c/x".into(), "/r/d".into()], 0),
            "{name}"
        );
        assert_eq!(second.revision, first.revision, "{name}");
        assert!(
            store
                .list("/none/", ListOptions::default())
                .await
                .unwrap()
                .items
                .is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn revisions_out_of_reach_are_refused() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        let first = put(store, "/r/a", "1").await;
        let mut last = first.clone();
        for _ in 0..5 {
            last = store.update("/r/a", bytes("2"), last.modified, None).await.unwrap();
        }
        let at = |revision| ListOptions {
            at: Some(revision),
            ..ListOptions::default()
        };
        let future = store.list("/r/", at(Revision(last.modified.0 + 100))).await;
        assert!(matches!(future, Err(Error::Future { .. })), "{name}: {future:?}");
        assert_eq!(
            store.list("/r/", at(first.modified)).await.unwrap().items,
            std::slice::from_ref(&first),
            "{name}"
        );
        store.compact(last.modified).await.unwrap();
        let old = store.list("/r/", at(first.modified)).await;
        assert!(matches!(old, Err(Error::Compacted { .. })), "{name}: {old:?}");
        assert_eq!(
            store.list("/r/", at(last.modified)).await.unwrap().items,
            [last.clone()],
            "{name}"
        );
        let watched = match store.watch("/r/", first.modified).await {
            Ok(mut stream) => stream.next().await.unwrap(),
            Err(error) => Err(error),
        };
        assert!(matches!(watched, Err(Error::Compacted { .. })), "{name}: {watched:?}");
        drop(store.watch("/r/", last.modified).await.unwrap());
        // Compacting again, or to an older revision, is no error.
        store.compact(first.modified).await.unwrap();
        assert_eq!(store.get("/r/a").await.unwrap(), Some(last), "{name}");
    }
}

#[tokio::test]
async fn a_watch_tells_what_changed_and_what_it_replaced() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        let a = put(store, "/r/a", "1").await;
        let mut live = store.watch("/r/", a.modified).await.unwrap();
        put(store, "/other", "x").await;
        let a2 = store.update("/r/a", bytes("2"), a.modified, None).await.unwrap();
        let (_, gone) = store.delete("/r/a", a2.modified).await.unwrap();
        let a3 = put(store, "/r/a", "3").await;
        let expected = [
            Change::Put {
                current: a2.clone(),
                previous: Some(a.clone()),
            },
            Change::Delete {
                revision: gone,
                previous: a2,
            },
            Change::Put {
                current: a3,
                previous: None,
            },
        ];
        let mut resumed = store.watch("/r/", a.modified).await.unwrap();
        for change in expected {
            assert_eq!(next_change(&mut live).await, change, "{name}");
            assert_eq!(next_change(&mut resumed).await, change, "{name}");
        }
        let mut whole = store.watch("/r/", Revision(a.modified.0 - 1)).await.unwrap();
        assert_eq!(
            next_change(&mut whole).await,
            Change::Put {
                current: a,
                previous: None
            },
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_watch_of_the_future_is_silent_until_then() {
    for engine in engines::all().await {
        let store = &*engine.store;
        let a = put(store, "/r/a", "1").await;
        let mut stream = store.watch("/r/", Revision(a.modified.0 + 1)).await.unwrap();
        let b = put(store, "/r/b", "skipped").await;
        let c = put(store, "/r/c", "told").await;
        assert_eq!(b.modified.0, a.modified.0 + 1);
        assert_eq!(
            next_change(&mut stream).await,
            Change::Put {
                current: c,
                previous: None
            },
            "{}",
            engine.name
        );
    }
}

#[tokio::test]
async fn progress_comes_when_it_is_asked_for() {
    for engine in engines::all().await {
        let store = &*engine.store;
        let a = put(store, "/r/a", "1").await;
        let mut stream = store.watch("/r/", a.modified).await.unwrap();
        let other = put(store, "/other", "x").await;
        let asked = async {
            loop {
                store.request_progress("/r/").await.unwrap();
                let next = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
                match next {
                    Ok(item) => match item.unwrap().unwrap() {
                        WatchItem::Progress(revision) if revision >= other.modified => return,
                        WatchItem::Progress(_) => {}
                        WatchItem::Change(change) => panic!("{}: {change:?}", engine.name),
                    },
                    Err(_elapsed) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked)
            .await
            .expect("progress within half a minute");
        let settled = store.settled("/r/").await.unwrap();
        assert!(settled.revision >= other.modified && settled.last_change <= settled.revision);
    }
}

#[tokio::test]
async fn keys_with_a_time_to_live_delete_themselves_and_say_so() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        let ttl = Some(Duration::from_secs(1));
        let short = store.create("/r/short", bytes("1"), ttl).await.unwrap();
        let kept = store.create("/r/kept", bytes("1"), ttl).await.unwrap();
        let kept = store.update("/r/kept", bytes("2"), kept.modified, None).await.unwrap();
        let mut stream = store.watch("/r/", kept.modified).await.unwrap();
        match next_change(&mut stream).await {
            Change::Delete { previous, .. } => assert_eq!(previous, short, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(store.get("/r/kept").await.unwrap(), Some(kept), "{name}");
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused_and_the_largest_is_kept() {
    for engine in engines::all().await {
        let (store, name) = (&*engine.store, engine.name);
        let large = store
            .create("/r/large", Bytes::from(vec![b'x'; MAX_VALUE_BYTES + 1]), None)
            .await;
        assert!(matches!(large, Err(Error::TooLarge { .. })), "{name}: {large:?}");
        let fits = Bytes::from(vec![b'x'; 1024 * 1024]);
        store.create("/r/fits", fits.clone(), None).await.unwrap();
        assert_eq!(store.get("/r/fits").await.unwrap().unwrap().value, fits, "{name}");
        store.check().await.unwrap();
    }
}
