//! Measures the engines: `cargo run --release -p storage --example bench-storage [DIRECTORY]`.
//!
//! The directory should be on the disk that will be used; a file system in memory syncs for free and says nothing.

use std::{path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;
use storage::{
    KeyValue, ListOptions, Revision, Storage,
    cache::{Cache, Codec, Freshness, Query, Start},
    embedded,
};

const VALUE_BYTES: usize = 1024;

struct Raw;

impl Codec for Raw {
    type Payload = Bytes;

    fn decode(&self, stored: &KeyValue) -> Bytes {
        stored.value.clone()
    }

    fn restamp(&self, payload: &Bytes, _: Revision) -> Bytes {
        payload.clone()
    }

    fn weight(&self, payload: &Bytes) -> usize {
        payload.len()
    }
}

/// Resident memory of this process in megabytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn value() -> Bytes {
    Bytes::from(vec![b'x'; VALUE_BYTES])
}

async fn create(store: &Arc<dyn Storage>, prefix: &str, count: usize, at_once: usize) -> Result<(), storage::Error> {
    let writers = (0..at_once).map(|writer| {
        let (store, prefix) = (Arc::clone(store), prefix.to_owned());
        async move {
            for number in (writer..count).step_by(at_once) {
                store
                    .create(&format!("/registry/{prefix}/{number:06}"), value(), None)
                    .await?;
            }
            Ok(())
        }
    });
    futures::future::try_join_all(writers).await.map(|_| ())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).map(PathBuf::from);
    let directory =
        argument.unwrap_or_else(|| std::env::temp_dir().join(format!("storage-bench-{}", std::process::id())));
    println!("| what | result |\n|---|---|");
    let store = embedded::open(&directory)?;
    for (count, at_once) in [(200, 1), (300, 300), (5_000, 16), (20_000, 256)] {
        let started = Instant::now();
        create(&store, &format!("{at_once}"), count, at_once).await?;
        let seconds = started.elapsed().as_secs_f64();
        let rate = count as f64 / seconds;
        println!(
            "| {count} creates of 1 KiB, {at_once} at a time | {:.0} ms, {rate:.0}/s |",
            seconds * 1000.0
        );
    }
    println!("| resident with {} keys stored | {:.1} MB |", 25_500, resident());
    let started = Instant::now();
    let listed = store.list("/registry/256/", ListOptions::default()).await?.items.len();
    println!(
        "| list of {listed} from the log | {:.1} ms |",
        started.elapsed().as_secs_f64() * 1000.0
    );

    let started = Instant::now();
    let cache = Cache::start(Arc::clone(&store), "/registry/256/", Raw);
    cache.ready().await;
    println!(
        "| cache of {} filled | {:.1} ms |",
        cache.len(),
        started.elapsed().as_secs_f64() * 1000.0
    );
    println!("| resident with that cache | {:.1} MB |", resident());
    let started = Instant::now();
    for _ in 0..100 {
        let query = Query {
            scope: "/registry/256/",
            freshness: Freshness::Newest,
            limit: 500,
            after: None,
        };
        cache.list(query, |_| true).await?;
    }
    println!(
        "| consistent page of 500 from the cache | {:.0} us |",
        started.elapsed().as_secs_f64() * 1e4
    );
    let started = Instant::now();
    for number in 0..10_000 {
        cache
            .get(&format!("/registry/256/{number:06}"), Freshness::Newest)
            .await?;
    }
    println!(
        "| consistent get from the cache | {:.2} us |",
        started.elapsed().as_secs_f64() * 1e2
    );

    let mut watches = Vec::new();
    for _ in 0..1000 {
        watches.push(cache.watch("/registry/256/", Start::After(cache.revision())).await?);
    }
    println!("| resident with 1000 watches | {:.1} MB |", resident());
    let started = Instant::now();
    let readers = watches.into_iter().map(|mut watch| {
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < 300 {
                seen += watch.next(256).await.map_or(300, |events| events.len());
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    create(&store, "256/new", 300, 300).await?;
    futures::future::try_join_all(readers).await?;
    println!(
        "| 300 creates told to 1000 watches | {:.0} ms |",
        started.elapsed().as_secs_f64() * 1000.0
    );

    drop((cache, store));
    let started = Instant::now();
    let store = embedded::open(&directory)?;
    println!("| opened again | {:.0} ms |", started.elapsed().as_secs_f64() * 1000.0);
    drop(store);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
