//! `make bench`: speed and memory of a local federation, as a table.
//!
//! Everything is measured from outside, on the released binaries: the time a user waits, and what the kernel says of
//! the processes. The machine's own noise is in the figures; compare ratios of one run.

use std::time::{Duration, Instant};

use e2e::{CLUSTERS, Federation};
use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::mpsc;

/// ConfigMaps created at once.
const BURST: usize = 300;
/// ConfigMaps created one after the other.
const SINGLES: usize = 50;

struct Row {
    what: &'static str,
    value: String,
    goal: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let federation = tokio::task::spawn_blocking(Federation::start).await?;
    let ready = began.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut rows = vec![Row {
        what: "three clusters and a federation, ready after",
        value: seconds(ready),
        goal: "5 s",
    }];
    rows.extend(memory(&federation));
    rows.extend(propagation(&federation).await?);
    println!("{:<52} {:>12}   goal", "measured", "value");
    for row in rows {
        println!("{:<52} {:>12}   {}", row.what, row.value, row.goal);
    }
    tokio::task::spawn_blocking(move || drop(federation)).await?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Memory of a process in kB: resident, and the same with pages shared by several processes divided among them.
struct Memory {
    resident: u64,
    proportional: u64,
}

/// What the kernel says of the processes of a federation: its miniclusters, and its control plane.
fn processes(federation: &Federation) -> (Vec<Memory>, Vec<Memory>) {
    let directory = federation.dir().to_string_lossy().into_owned();
    let (mut mini, mut plane) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let text = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let line = String::from_utf8_lossy(&text("cmdline")).replace('\0', " ");
        if !line.contains(&directory) {
            continue;
        }
        let rollup = String::from_utf8_lossy(&text("smaps_rollup")).into_owned();
        let kilobytes = |key: &str| {
            let value = rollup
                .lines()
                .find_map(|l| l.strip_prefix(key)?.trim().strip_suffix(" kB"));
            value.and_then(|text| text.parse().ok())
        };
        let (Some(resident), Some(proportional)) = (kilobytes("Rss:"), kilobytes("Pss:")) else {
            continue;
        };
        let memory = Memory { resident, proportional };
        if line.contains(" minicluster ") {
            mini.push(memory);
        } else if line.contains("federation") {
            plane.push(memory);
        }
    }
    (mini, plane)
}

fn memory(federation: &Federation) -> Vec<Row> {
    let megabytes = |kilobytes: u64| {
        format!(
            "{:.1} MB",
            f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) / 1024.0
        )
    };
    let (mut mini, plane) = processes(federation);
    mini.sort_unstable_by_key(|memory| memory.resident);
    let of = |memory: Option<&Memory>, part: fn(&Memory) -> u64| megabytes(memory.map_or(0, part));
    vec![
        Row {
            what: "smallest minicluster, idle, resident",
            value: of(mini.first(), |memory| memory.resident),
            goal: "30 MB",
        },
        Row {
            what: "  shared pages divided among the processes",
            value: of(mini.first(), |memory| memory.proportional),
            goal: "",
        },
        Row {
            what: "largest minicluster (the host), resident",
            value: of(mini.last(), |memory| memory.resident),
            goal: "",
        },
        Row {
            what: "control plane (three processes), resident",
            value: megabytes(plane.iter().map(|memory| memory.resident).sum()),
            goal: "60 MB",
        },
        Row {
            what: "  shared pages divided among the processes",
            value: megabytes(plane.iter().map(|memory| memory.proportional).sum()),
            goal: "",
        },
    ]
}

async fn client(federation: &Federation, context: &str) -> Result<Client, Box<dyn std::error::Error>> {
    let kubeconfig = Kubeconfig::read_from(federation.kubeconfig())?;
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    Ok(Client::try_from(
        Config::from_custom_kubeconfig(kubeconfig, &options).await?,
    )?)
}

/// Tells of every ConfigMap that appears in a member.
async fn watch_member(client: Client, seen: mpsc::UnboundedSender<(String, Instant)>) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let version = api
        .list(&Default::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let mut events = api.watch(&WatchParams::default(), &version).await?.boxed();
    tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            if let WatchEvent::Added(object) = event {
                let _ = seen.send((object.metadata.name.unwrap_or_default(), Instant::now()));
            }
        }
    });
    Ok(())
}

fn config_map(name: String) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name);
    object.data = Some([("text".to_owned(), "x".repeat(100))].into());
    object
}

async fn propagation(federation: &Federation) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let (sender, mut seen) = mpsc::unbounded_channel();
    for cluster in CLUSTERS {
        watch_member(client(federation, cluster).await?, sender.clone()).await?;
    }
    let plane: Api<ConfigMap> = Api::namespaced(client(federation, "federation").await?, "default");
    let mut singles = Vec::new();
    for i in 0..SINGLES {
        let began = Instant::now();
        plane
            .create(&PostParams::default(), &config_map(format!("single-{i}")))
            .await?;
        let last = all_seen(&mut seen, CLUSTERS.len()).await?;
        singles.push(last.duration_since(began));
    }
    singles.sort_unstable();
    let began = Instant::now();
    let parameters = PostParams::default();
    let maps: Vec<_> = (0..BURST).map(|i| config_map(format!("burst-{i}"))).collect();
    for created in join_all(maps.iter().map(|map| plane.create(&parameters, map))).await {
        created?;
    }
    let created = began.elapsed();
    let last = all_seen(&mut seen, BURST * CLUSTERS.len()).await?;
    Ok(vec![
        Row {
            what: "one ConfigMap in three clusters, median",
            value: milliseconds(singles[SINGLES / 2]),
            goal: "20 ms",
        },
        Row {
            what: "one ConfigMap in three clusters, slowest of 50",
            value: milliseconds(singles[SINGLES - 1]),
            goal: "",
        },
        Row {
            what: "300 ConfigMaps created in the federation",
            value: seconds(created),
            goal: "",
        },
        Row {
            what: "300 ConfigMaps in three clusters",
            value: seconds(last.duration_since(began)),
            goal: "2 s",
        },
    ])
}

/// Waits for so many sightings; returns when the last was.
async fn all_seen(
    seen: &mut mpsc::UnboundedReceiver<(String, Instant)>,
    count: usize,
) -> Result<Instant, Box<dyn std::error::Error>> {
    let mut last = Instant::now();
    for done in 0..count {
        let sighting = tokio::time::timeout(Duration::from_secs(60), seen.recv()).await;
        let sighting = sighting.map_err(|_| format!("only {done} of {count} copies arrived within 60 s"))?;
        last = sighting.ok_or("the watches of the members ended")?.1;
    }
    Ok(last)
}
