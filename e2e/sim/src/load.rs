//! The load, and what is seen of it in the members.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::bail;
use apimachinery::Object;
use client::{
    Informer, Key, Resource, Rest,
    informer::{Change, Scope},
    resources::{CONFIG_MAPS, DEPLOYMENTS, NAMESPACES},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::json;

use crate::{Options, plane::Plane};

/// The objects are spread over so many namespaces.
const SPREAD: usize = 20;
/// Creations at a time while the federation is filled.
const AT_ONCE: usize = 16;
/// Nothing arrives for so long: something is wrong.
const STUCK: Duration = Duration::from_secs(120);
/// Nothing is written for so long: nothing is left to do.
const QUIET: Duration = Duration::from_secs(3);
/// Carried by every object, so that a change is seen to arrive.
const ROUND: &str = "round";

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Copies of all objects in all members.
    pub(crate) copies: usize,
    /// Objects created before the steady rate.
    pub(crate) filled: usize,
    /// Time until the last copy of them arrived.
    pub(crate) fill: Duration,
    /// Objects created at the steady rate.
    pub(crate) sustained: usize,
    /// Time from the request that created an object to the arrival of its last copy, ascending.
    pub(crate) propagation: Vec<Duration>,
    /// CPU time of API server and controller manager while the rate was kept, in cores.
    pub(crate) cores: (f64, f64),
    /// Memory of API server and controller manager without objects, in bytes.
    pub(crate) empty: (u64, u64),
    /// The same with all objects.
    pub(crate) full: (u64, u64),
    /// The same after the restart.
    pub(crate) restarted: (u64, u64),
    /// Time from the start of the controller manager until what changed meanwhile had arrived.
    pub(crate) restart: Duration,
    /// Copies that had to be written after the restart.
    pub(crate) owed: u64,
    /// Copies that were.
    pub(crate) written: u64,
}

/// A copy that is waited for.
struct Expected {
    since: Instant,
    missing: usize,
}

/// What is on its way, and how long what arrived took.
#[derive(Default)]
struct Tracker {
    expected: HashMap<(Box<str>, u32), Expected>,
    took: Vec<Duration>,
    last: Option<Instant>,
}

/// Watches on all members.
struct Arrivals {
    tracker: Arc<Mutex<Tracker>>,
    _informers: Vec<Informer<u32>>,
}

impl Arrivals {
    async fn watch(members: &[Rest]) -> Self {
        let tracker: Arc<Mutex<Tracker>> = Arc::default();
        let mut informers = Vec::new();
        for (member, resource) in members.iter().flat_map(|m| [(m, CONFIG_MAPS), (m, DEPLOYMENTS)]) {
            let tracker = Arc::clone(&tracker);
            informers.push(Informer::start(
                member.clone(),
                Scope::labelled(resource, ROUND),
                |object| object["metadata"]["labels"][ROUND].as_str()?.parse().ok(),
                move |change: Change<'_, u32>| {
                    if let Some(round) = change.new.filter(|new| change.old != Some(new)) {
                        tracker.lock().arrived(change.key, **round);
                    }
                },
            ));
        }
        for informer in &informers {
            informer.store.synced().await;
        }
        Self {
            tracker,
            _informers: informers,
        }
    }

    fn expect(&self, key: &Key, round: u32, copies: usize) {
        let since = Instant::now();
        let expected = Expected { since, missing: copies };
        self.tracker
            .lock()
            .expected
            .insert((key.as_str().into(), round), expected);
    }

    /// Waits until everything has arrived; returns how long each object took, ascending.
    async fn all(&self) -> anyhow::Result<Vec<Duration>> {
        let began = Instant::now();
        loop {
            {
                let mut tracker = self.tracker.lock();
                if tracker.expected.is_empty() {
                    let mut took = std::mem::take(&mut tracker.took);
                    took.sort_unstable();
                    return Ok(took);
                }
                if tracker.last.unwrap_or(began).max(began).elapsed() > STUCK {
                    let missing = tracker.expected.keys().next();
                    bail!("{} objects did not arrive, as {missing:?}", tracker.expected.len());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last(&self) -> Instant {
        self.tracker.lock().last.unwrap_or_else(Instant::now)
    }
}

impl Tracker {
    fn arrived(&mut self, key: &Key, round: u32) {
        let entry = (Box::from(key.as_str()), round);
        let Some(expected) = self.expected.get_mut(&entry) else {
            return;
        };
        expected.missing -= 1;
        let now = Instant::now();
        self.last = Some(now);
        if expected.missing == 0 {
            self.took.push(now.duration_since(expected.since));
            self.expected.remove(&entry);
        }
    }
}

/// Plays the three phases.
pub(crate) async fn measure(options: &Options, plane: &mut Plane) -> anyhow::Result<Results> {
    let mut results = Results {
        copies: options.objects * options.copies(),
        sustained: options.sustained(),
        ..Results::default()
    };
    results.filled = options.objects - results.sustained;
    for index in 0..SPREAD {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("sim-{index}")}});
        plane.federation.create(&NAMESPACES, None, &namespace).await?;
    }
    let arrivals = Arrivals::watch(&plane.members).await;
    settle(plane).await?;
    results.empty = plane.memory();

    eprintln!(
        "{} clusters are ready; creating {} objects",
        options.clusters, results.filled
    );
    let began = Instant::now();
    fill(options, plane, &arrivals, results.filled).await?;
    arrivals.all().await?;
    results.fill = arrivals.last().duration_since(began);
    settle(plane).await?;

    eprintln!("creating {} objects at {} per second", results.sustained, options.rate);
    let (began, before) = (Instant::now(), plane.cpu());
    sustain(options, plane, &arrivals, results.filled).await?;
    results.propagation = arrivals.all().await?;
    let (after, elapsed) = (plane.cpu(), began.elapsed().as_secs_f64());
    let cores = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / elapsed;
    results.cores = (cores(before.0, after.0), cores(before.1, after.1));
    settle(plane).await?;
    results.full = plane.memory();

    eprintln!("restarting the controller manager");
    restart(options, plane, &arrivals, &mut results).await?;
    results.restarted = plane.memory();
    Ok(results)
}

async fn fill(options: &Options, plane: &Plane, arrivals: &Arrivals, count: usize) -> anyhow::Result<()> {
    stream::iter(0..count)
        .map(|index| create(options, plane, arrivals, index))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn sustain(options: &Options, plane: &Plane, arrivals: &Arrivals, first: usize) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / options.rate.max(1));
    // A creation that takes long does not hold the next ones up.
    let mut open = stream::FuturesUnordered::new();
    let mut index = first;
    let end = first + options.sustained();
    while index < end {
        tokio::select! {
            _ = tick.tick() => {
                open.push(create(options, plane, arrivals, index));
                index += 1;
            }
            Some(created) = open.next() => created?,
        }
    }
    open.try_collect().await
}

/// Waits until members are no longer written to.
async fn settle(plane: &Plane) -> anyhow::Result<u64> {
    let mut writes = plane.writes().await?;
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = plane.writes().await?;
        if now != writes {
            (writes, since) = (now, Instant::now());
        }
    }
    Ok(writes)
}

async fn restart(
    options: &Options,
    plane: &mut Plane,
    arrivals: &Arrivals,
    results: &mut Results,
) -> anyhow::Result<()> {
    plane.kill_manager().await?;
    let before = settle(plane).await?;
    let changed = options.changed.min(options.objects);
    let patch = json!({"metadata": {"labels": {ROUND: "2"}}});
    for index in (0..changed).map(|n| n * (options.objects / changed.max(1))) {
        let (resource, key) = (kind(options, index), key(index));
        arrivals.expect(&key, 2, options.copies());
        plane.federation.merge(&resource, &key, "", &patch).await?;
    }
    let began = Instant::now();
    plane.start_manager()?;
    arrivals.all().await?;
    results.restart = arrivals.last().saturating_duration_since(began);
    results.owed = u64::try_from(changed * options.copies())?;
    results.written = settle(plane).await? - before;
    Ok(())
}

fn key(index: usize) -> Key {
    Key::new(Some(&format!("sim-{}", index % SPREAD)), &format!("object-{index:05}"))
}

fn kind(options: &Options, index: usize) -> Resource {
    if options.deployment_every > 0 && index.is_multiple_of(options.deployment_every) {
        DEPLOYMENTS
    } else {
        CONFIG_MAPS
    }
}

async fn create(options: &Options, plane: &Plane, arrivals: &Arrivals, index: usize) -> anyhow::Result<()> {
    let (resource, key) = (kind(options, index), key(index));
    let object = object(options, index, &resource, &key);
    arrivals.expect(&key, 1, options.copies());
    plane.federation.create(&resource, key.namespace(), &object).await?;
    Ok(())
}

fn object(options: &Options, index: usize, resource: &Resource, key: &Key) -> Object {
    let name = key.name();
    let mut object = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": {"name": name, "labels": {ROUND: "1"}}});
    if options.copies() < options.clusters {
        let group = (index % options.groups()).to_string();
        let selector = json!([{"key": "group", "operator": "in", "values": [group]}]);
        object["metadata"]["annotations"] = json!({api::well_known::CLUSTER_SELECTOR: selector.to_string()});
    }
    if resource.kind == "ConfigMap" {
        object["data"] = json!({"settings": "x".repeat(200)});
    } else {
        object["spec"] = json!({"replicas": options.replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "example.com/web:1"}]}}});
    }
    object
}
