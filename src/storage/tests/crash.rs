//! Acknowledged writes survive `kill -9`, however often and whenever it comes, and a full disk harms only those who
//! write to it meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use storage::{ListOptions, Revision, Storage, embedded};

const DIRECTORY: &str = "STORAGE_CRASH_DIRECTORY";
const ROUNDS: u32 = 12;
const WRITERS: usize = 16;

fn options() -> embedded::Options {
    // Small, so that checkpoints are killed as well.
    embedded::Options {
        checkpoint_bytes: 32 << 10,
        retained_changes: 50,
        retention: Duration::from_millis(100),
    }
}

async fn write(store: Arc<dyn Storage>, writer: usize) {
    let key = format!("/w/{writer}");
    let mut current = store.get(&key).await.unwrap();
    loop {
        let count = current
            .as_ref()
            .map_or(0, |kv| String::from_utf8_lossy(&kv.value[..10]).parse::<u64>().unwrap());
        let value = Bytes::from(format!("{:010}{}", count + 1, "x".repeat(200)));
        let written = match &current {
            None => store.create(&key, value, None).await,
            Some(found) => store.update(&key, value, found.modified, None).await,
        };
        let written = written.unwrap();
        // One line in one write: what the parent reads was acknowledged.
        println!("acknowledged {key} {} {}", count + 1, written.modified.0);
        current = Some(written);
    }
}

/// Not a test of its own: the child that the test below starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = embedded::open_with(Path::new(&directory), &options()).unwrap();
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), writer)));
    futures::future::join_all(writers).await;
}

/// Lets a child write until it has acknowledged `lines` writes, kills it, and returns the last one of each key.
fn write_and_kill(directory: &Path, lines: usize) -> BTreeMap<String, (u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(at) = line.find("acknowledged ") else { continue };
        let words: Vec<_> = line[at..].split(' ').collect();
        // The kill may cut the last line.
        if let [_, key, count, revision] = words[..]
            && let (Ok(count), Ok(revision)) = (count.parse(), revision.parse())
        {
            acknowledged.insert(key.to_owned(), (count, revision));
        }
        seen += 1;
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the child died by itself");
    acknowledged
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut newest = Revision(0);
    for round in 0..ROUNDS {
        let acknowledged = write_and_kill(directory.path(), 100 + 37 * round as usize);
        let store = embedded::open_with(directory.path(), &options()).unwrap();
        let revision = store.revision().await.unwrap();
        assert!(revision > newest, "revisions never go back");
        newest = revision;
        let page = store.list("/w/", ListOptions::default()).await.unwrap();
        for (key, (count, modified)) in acknowledged {
            let found = page
                .items
                .iter()
                .find(|item| *item.key == *key)
                .expect("an acknowledged key is there");
            let stored: u64 = String::from_utf8_lossy(&found.value[..10]).parse().unwrap();
            assert!(
                stored >= count,
                "{key} lost a write in round {round}: {stored} < {count}"
            );
            // One write per key can be under way, so at most one more than acknowledged is there.
            assert!(
                found.modified.0 >= modified && stored <= count + 2,
                "{key} in round {round}"
            );
        }
    }
}

const FULL_DIRECTORY: &str = "STORAGE_FULL_DIRECTORY";
/// No file may grow beyond this: to the store that is a full disk.
const FULL_BYTES: u64 = 128 << 10;

/// Not a test of its own: the child of the test below, which may not write large files until its parent says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_meets_a_full_disk() {
    let Some(directory) = std::env::var_os(FULL_DIRECTORY) else {
        return;
    };
    let store = embedded::open(Path::new(&directory)).unwrap();
    let create = |number: usize| {
        let store = Arc::clone(&store);
        async move {
            store
                .create(&format!("/w/{number:05}"), Bytes::from(vec![b'x'; 1000]), None)
                .await
        }
    };
    let results = futures::future::join_all((0..400).map(create)).await;
    let written: Vec<_> = results.into_iter().flatten().collect();
    let mut more = 400;
    let mut acknowledged = written.len();
    while create(more).await.is_ok() {
        acknowledged += 1;
        more += 1;
    }
    assert!(store.check().await.is_err(), "a store that cannot write is not ready");
    let page = store.list("/w/", ListOptions::default()).await.unwrap();
    assert_eq!(
        page.items.len(),
        acknowledged,
        "reads go on, and show what was acknowledged"
    );
    let newest = store.revision().await.unwrap();
    println!("full {acknowledged}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let after = create(99_999).await.unwrap();
    assert_eq!(after.modified.0, newest.0 + 1, "what failed took no revision");
    store.check().await.unwrap();
    println!("recovered {}", acknowledged + 1);
}

#[tokio::test]
async fn a_full_disk_fails_its_writers_and_is_forgotten_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let limited = format!("--fsize={FULL_BYTES}:unlimited");
    let script = "trap '' XFSZ; exec \"$0\" --exact child_that_meets_a_full_disk --nocapture";
    let child = Command::new("prlimit")
        .args([&limited, "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(FULL_DIRECTORY, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: a full disk (prlimit of util-linux is not installed)");
        return;
    };
    let mut acknowledged = None;
    let number = |line: &str, word: &str| line.split(word).nth(1)?.trim().parse::<usize>().ok();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if number(&line, "full ").is_some() {
            let pid = format!("--pid={}", child.id());
            assert!(
                Command::new("prlimit")
                    .args([&pid, "--fsize=unlimited"])
                    .status()
                    .unwrap()
                    .success()
            );
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        acknowledged = number(&line, "recovered ").or(acknowledged);
    }
    assert!(child.wait().unwrap().success());
    let store = embedded::open(directory.path()).unwrap();
    let page = store.list("/w/", ListOptions::default()).await.unwrap();
    assert_eq!(Some(page.items.len()), acknowledged);
}
