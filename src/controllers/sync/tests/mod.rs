//! The sync controller against fake API servers, in paused time.

mod autoscaled;
mod capacity;
mod deletion;
mod lifecycle;
mod propagation;
mod replicas;
mod trouble;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use apimachinery::Object;
use client::{
    Informer,
    events::Recorder,
    informer::{Change, Scope},
    resources::CLUSTERS,
};
use jiff::Timestamp;
use planner::availability::Availability;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Engine, Parts, Settings};
use crate::{
    hash::Hash,
    members::{Member, Members},
    metrics::SyncMetrics,
    testing::{Fake, Trouble},
    wake::Wake,
};

const CONFIG_MAP: &str = "/api/v1/namespaces/default/configmaps/c";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";

struct Federation {
    api: Fake,
    clusters: BTreeMap<&'static str, Fake>,
}

struct Manager {
    engine: Arc<Engine>,
    members: Arc<Members>,
    wake: Arc<Wake>,
    stop: CancellationToken,
    _clusters: Informer<Object>,
}

impl Federation {
    fn new(names: &[&'static str]) -> Self {
        let api = Fake::new();
        for name in names {
            api.put(
                &format!("/apis/federation/v1beta1/clusters/{name}"),
                json!({"metadata": {"labels": {"name": name}}}),
            );
        }
        Self {
            api,
            clusters: names.iter().map(|name| (*name, Fake::new())).collect(),
        }
    }

    /// Starts a controller manager and lets everything settle.
    async fn manage(&self) -> Manager {
        let wake = Arc::new(Wake::default());
        let members = Arc::new(Members::default());
        let waker = Arc::clone(&wake);
        let clusters = Informer::start(
            self.api.rest("federation"),
            Scope::all(CLUSTERS),
            Some,
            move |change: Change<'_, Object>| {
                waker.cluster_changed(&change);
            },
        );
        let engine = Engine::start(Parts {
            federation: self.api.rest("federation"),
            uid: "fed".to_owned(),
            clusters: Arc::clone(&clusters.store),
            members: Arc::clone(&members),
            wake: Arc::clone(&wake),
            recorder: Recorder::discard(),
            settings: Settings {
                concurrency: 4,
                unschedulable_after: Duration::from_secs(60),
                returns_per_second: 1,
            },
            metrics: SyncMetrics::new(&telemetry::Metrics::new("test")).expect("valid names"),
        });
        for (name, fake) in &self.clusters {
            let member = Member::start(name, fake.rest(name), Hash::default(), "fed", &wake);
            members.replace(Arc::clone(&member));
            members.set_availability(name, Availability::Ready);
            engine.attach(&member);
        }
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&engine).run(stop.clone()));
        settle().await;
        Manager {
            engine,
            members,
            wake,
            stop,
            _clusters: clusters,
        }
    }

    fn writes(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut all: BTreeMap<_, _> = self
            .clusters
            .iter()
            .map(|(name, fake)| (*name, fake.writes()))
            .collect();
        all.insert("federation", self.api.writes());
        all.retain(|_, writes| !writes.is_empty());
        all
    }
}

impl Manager {
    fn set(&self, cluster: &str, availability: Availability) {
        self.members.set_availability(cluster, availability);
        self.wake.all_objects();
    }

    fn stop(self) {
        self.stop.cancel();
        for member in self.members.all() {
            member.stop.cancel();
        }
    }
}

/// Time is paused: this returns when nothing is left to do but to wait for longer than this.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

fn config_map() -> Object {
    json!({"data": {"k": "v"}})
}

fn deployment(replicas: i64) -> Object {
    json!({
        "metadata": {"generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
    })
}

fn run_all(fake: &Fake) {
    fake.edit(DEPLOYMENT, |object| {
        let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
        object["status"] = json!({"observedGeneration": object["metadata"]["generation"], "replicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas, "updatedReplicas": replicas});
    });
}

fn replicas(fake: &Fake) -> Option<i64> {
    fake.get(DEPLOYMENT)?["spec"]["replicas"].as_i64()
}
