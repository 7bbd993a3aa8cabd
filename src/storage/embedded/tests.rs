use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
};

use bytes::Bytes;
use futures::StreamExt as _;

use super::*;
use crate::{Change, ListOptions, Revision, WatchItem};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn keys(store: &Arc<dyn Storage>) -> Vec<(String, String)> {
    let page = store.list("/", ListOptions::default()).await.unwrap();
    let text = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
    page.items
        .iter()
        .map(|item| (item.key.to_string(), text(&item.value)))
        .collect()
}

fn log_path(dir: &Path) -> PathBuf {
    FileId::log(1).path(dir)
}

use super::segment::FileId;

#[tokio::test]
async fn writes_survive_a_new_start_with_their_revisions_and_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let a = store.create("/a", bytes("1"), None).await.unwrap();
    let b = store.create("/b", bytes("2"), None).await.unwrap();
    let a2 = store.update("/a", bytes("3"), a.modified, None).await.unwrap();
    store.delete("/b", b.modified).await.unwrap();
    drop(store);

    let store = open(dir.path()).unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision(4));
    assert_eq!(store.get("/a").await.unwrap().unwrap(), a2);
    assert_eq!(keys(&store).await, [("/a".to_owned(), "3".to_owned())]);
    let past = store
        .list(
            "/",
            ListOptions {
                at: Some(b.modified),
                ..ListOptions::default()
            },
        )
        .await
        .unwrap();
    assert_eq!(past.items, [a.clone(), b]);
    let next = store
        .watch("/", a.modified)
        .await
        .unwrap()
        .take(3)
        .map(Result::unwrap)
        .collect::<Vec<_>>()
        .await;
    assert!(
        matches!(&next[1], WatchItem::Change(Change::Put { current, previous: Some(p) }) if *current == a2 && *p == a)
    );
    assert_eq!(
        store.create("/c", bytes("4"), None).await.unwrap().modified,
        Revision(5)
    );
}

#[tokio::test]
async fn a_directory_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Locked { .. })));
    drop(store);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_torn_write_at_the_end_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.create("/a", bytes("1"), None).await.unwrap();
    store.create("/b", bytes("2"), None).await.unwrap();
    drop(store);
    let whole = fs::metadata(log_path(dir.path())).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(log_path(dir.path()))
        .unwrap()
        .set_len(whole - 1)
        .unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(keys(&store).await, [("/a".to_owned(), "1".to_owned())]);
    store.create("/c", bytes("3"), None).await.unwrap();
    drop(store);
    assert_eq!(keys(&open(dir.path()).unwrap()).await.len(), 2);
}

#[tokio::test]
async fn garbage_behind_the_log_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().create("/a", bytes("1"), None).await.unwrap();
    let mut log = OpenOptions::new().append(true).open(log_path(dir.path())).unwrap();
    log.write_all(&[0; 4096]).unwrap();
    log.write_all(b"\xFAFRM garbage that begins like a frame").unwrap();
    assert_eq!(keys(&open(dir.path()).unwrap()).await.len(), 1);
}

#[tokio::test]
async fn damage_before_whole_frames_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for key in ["/a", "/b", "/c"] {
        store.create(key, bytes("value"), None).await.unwrap();
    }
    drop(store);
    let log = OpenOptions::new().write(true).open(log_path(dir.path())).unwrap();
    log.write_all_at(b"X", frame::HEADER_BYTES as u64 + 20).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(
        matches!(error, OpenError::Damaged { offset, .. } if offset == frame::HEADER_BYTES as u64),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    fs::rename(log_path(dir.path()), FileId::log(2).path(dir.path())).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Missing { .. })));
}

#[tokio::test]
async fn checkpoints_keep_everything_retained_and_shrink_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        checkpoint_bytes: 64 << 10,
        ..Options::default()
    };
    let store = open_with(dir.path(), &options).unwrap();
    store.create("/untouched", bytes("first"), None).await.unwrap();
    let gone = store.create("/gone", bytes("soon"), None).await.unwrap();
    store.delete("/gone", gone.modified).await.unwrap();
    let mut last = store
        .create("/busy", Bytes::from(vec![b'x'; 1000]), None)
        .await
        .unwrap();
    for _ in 0..600 {
        last = store
            .update("/busy", Bytes::from(vec![b'x'; 1000]), last.modified, None)
            .await
            .unwrap();
        store
            .compact(Revision(last.modified.0.saturating_sub(10)))
            .await
            .unwrap();
    }
    let past = ListOptions {
        at: Some(Revision(last.modified.0 - 5)),
        ..ListOptions::default()
    };
    let before = (keys(&store).await, store.list("/", past.clone()).await.unwrap().items);
    drop(store);

    let size: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 300 << 10, "{size} bytes are left of 600 KB");
    let store = open_with(dir.path(), &options).unwrap();
    assert_eq!((keys(&store).await, store.list("/", past).await.unwrap().items), before);
    assert_eq!(store.revision().await.unwrap(), last.modified);
    assert_eq!(store.get("/gone").await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        checkpoint_bytes: 4 << 10,
        ..Options::default()
    };
    let store = open_with(dir.path(), &options).unwrap();
    let mut last = store
        .create("/busy", Bytes::from(vec![b'x'; 1000]), None)
        .await
        .unwrap();
    for _ in 0..50 {
        last = store
            .update("/busy", Bytes::from(vec![b'x'; 1000]), last.modified, None)
            .await
            .unwrap();
        store.compact(last.modified).await.unwrap();
    }
    drop(store);
    let is_checkpoint = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "checkpoint");
    let checkpoint = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(is_checkpoint)
        .unwrap();
    OpenOptions::new()
        .write(true)
        .open(&checkpoint)
        .unwrap()
        .write_all_at(b"Y", 40)
        .unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Damaged { path, .. }) if path == checkpoint));
}

#[tokio::test]
async fn an_expired_key_stays_gone_and_an_unexpired_one_expires_after_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store
        .create("/short", bytes("1"), Some(Duration::from_millis(50)))
        .await
        .unwrap();
    store
        .create("/long", bytes("1"), Some(Duration::from_secs(3600)))
        .await
        .unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    let mut changes = store.watch("/short", Revision(2)).await.unwrap();
    while !matches!(
        changes.next().await.unwrap().unwrap(),
        WatchItem::Change(Change::Delete { .. })
    ) {}
    assert_eq!(keys(&store).await, [("/long".to_owned(), "1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_at_once_share_syncs_and_all_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let creates = (0..300).map(|i| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            store
                .create(&format!("/{i:03}"), bytes("value"), None)
                .await
                .unwrap()
                .modified
        })
    });
    let mut revisions: Vec<_> = futures::future::join_all(creates)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=300).map(Revision).collect::<Vec<_>>());
    drop(store);
    assert_eq!(keys(&open(dir.path()).unwrap()).await.len(), 300);
}
