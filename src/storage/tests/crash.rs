//! Acknowledged writes survive `kill -9`, however often and whenever it comes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
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
