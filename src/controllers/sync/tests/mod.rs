//! The sync controller against fake API servers, in paused time.

mod autoscaled;
mod capacity;
mod lifecycle;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use apimachinery::Object;
use client::{
    Informer,
    events::Recorder,
    informer::{Change, Scope},
};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Engine, Parts, Settings};
use crate::{
    cluster::{CLUSTERS, availability::Availability},
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

#[tokio::test(start_paused = true)]
async fn an_object_is_written_once_to_every_cluster_and_never_again() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    let patch = vec![format!("PATCH {CONFIG_MAP}")];
    assert_eq!(
        federation.writes(),
        BTreeMap::from([("eu", patch.clone()), ("us", patch.clone()), ("federation", patch)])
    );
    let copy = federation.clusters["eu"].get(CONFIG_MAP).expect("propagated");
    assert_eq!(copy["data"], json!({"k": "v"}));
    assert_eq!(
        copy["metadata"]["labels"]["federation.kubernetes.io/managed-by"],
        "federation"
    );
    // Two resyncs.
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert_eq!(federation.writes(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_new_controller_manager_finds_everything_done() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    federation.api.put(DEPLOYMENT, deployment(4));
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
    manager.stop();
    federation.writes();
    let _second = federation.manage().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(federation.writes(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_every_cluster() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    federation
        .api
        .edit(CONFIG_MAP, |object| object["data"]["k"] = json!("w"));
    settle().await;
    assert_eq!(
        federation.clusters["us"].get(CONFIG_MAP).expect("there")["data"]["k"],
        "w"
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_are_split_and_the_status_is_summed() {
    let federation = Federation::new(&["asia", "eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(9));
    settle().await;
    assert_eq!(
        federation.clusters.values().map(replicas).collect::<Vec<_>>(),
        [Some(3), Some(3), Some(3)]
    );
    federation.clusters.values().for_each(run_all);
    settle().await;
    let object = federation.api.get(DEPLOYMENT).expect("there");
    assert_eq!(object["status"]["readyReplicas"], 9);
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(object["status"]["conditions"][1]["reason"], "NewReplicaSetAvailable");
    let detail = object["metadata"]["annotations"]["federation.kubernetes.io/cluster-status"]
        .as_str()
        .expect("written");
    assert_eq!(
        serde_json::from_str::<Object>(detail).expect("JSON")["eu"],
        json!({"replicas": 3, "ready": 3, "share": 3})
    );
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changes_in_a_member_is_repaired() {
    let federation = Federation::new(&["us"]);
    let _manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(4));
    settle().await;
    // kubectl scale: replicas change, and their owner.
    federation.clusters["us"].edit(DEPLOYMENT, |object| {
        object["spec"]["replicas"] = json!(1);
        if let Some(spec) = object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].as_object_mut() {
            spec.shift_remove("f:replicas");
        }
    });
    settle().await;
    assert_eq!(replicas(&federation.clusters["us"]), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_copy_comes_back() {
    let federation = Federation::new(&["us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    federation.clusters["us"].delete(CONFIG_MAP, None);
    settle().await;
    assert!(federation.clusters["us"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_in_a_member_is_not_fought() {
    let federation = Federation::new(&["us"]);
    let _manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(4));
    settle().await;
    let us = &federation.clusters["us"];
    us.put(
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/h",
        json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}),
    );
    settle().await;
    assert_eq!(replicas(us), Some(4), "kept as it was");
    us.edit(DEPLOYMENT, |object| {
        object["spec"]["replicas"] = json!(7);
        if let Some(spec) = object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].as_object_mut() {
            spec.shift_remove("f:replicas");
        }
        let scale = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale",
            "time": "2026-01-01T00:00:01Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        if let Some(entries) = object["metadata"]["managedFields"].as_array_mut() {
            entries.push(scale);
        }
    });
    settle().await;
    assert_eq!(replicas(us), Some(7));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_ours_is_left_alone_until_adopted() {
    let federation = Federation::new(&["us"]);
    federation.clusters["us"].put(CONFIG_MAP, json!({"data": {"k": "theirs"}}));
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    assert_eq!(federation.clusters["us"].writes(), Vec::<String>::new());
    let detail = federation.api.get(CONFIG_MAP).expect("there")["metadata"]["annotations"]["federation.kubernetes.io/cluster-status"].clone();
    assert!(detail.as_str().is_some_and(|d| d.contains("not ours")), "{detail}");
    federation.api.edit(CONFIG_MAP, |object| {
        object["metadata"]["annotations"]["federation.kubernetes.io/adopt"] = json!("true")
    });
    settle().await;
    assert_eq!(
        federation.clusters["us"].get(CONFIG_MAP).expect("there")["data"]["k"],
        "v"
    );
    let object = federation.api.get(CONFIG_MAP).expect("there");
    assert!(
        object["metadata"]["annotations"]
            .get("federation.kubernetes.io/cluster-status")
            .is_none(),
        "{object}"
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_takes_the_copies_along() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    federation.api.delete(CONFIG_MAP, None);
    settle().await;
    assert!(federation.api.get(CONFIG_MAP).is_none());
    assert!(federation.clusters.values().all(|c| c.get(CONFIG_MAP).is_none()));
}

#[tokio::test(start_paused = true)]
async fn orphaning_leaves_the_copies_and_takes_our_marks_off() {
    let federation = Federation::new(&["us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    federation.api.delete(CONFIG_MAP, Some("orphan"));
    settle().await;
    let left = federation
        .api
        .get(CONFIG_MAP)
        .expect("the garbage collector removes its finalizer");
    assert_eq!(left["metadata"]["finalizers"], json!(["orphan"]));
    let copy = federation.clusters["us"].get(CONFIG_MAP).expect("left behind");
    assert_eq!(copy["data"], json!({"k": "v"}));
    assert_eq!(copy["metadata"]["labels"], json!({}));
    assert_eq!(copy["metadata"]["annotations"], json!({}));
    assert_eq!(copy["metadata"]["managedFields"], json!([{}]));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_down_does_not_hold_a_deletion_up_and_is_cleaned_when_it_is_back() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    manager.set(
        "eu",
        Availability::Unreachable {
            since: Timestamp::now(),
        },
    );
    federation.api.delete(CONFIG_MAP, None);
    settle().await;
    assert!(federation.api.get(CONFIG_MAP).is_none());
    assert!(federation.clusters["us"].get(CONFIG_MAP).is_none());
    assert!(
        federation.clusters["eu"].get(CONFIG_MAP).is_some(),
        "nobody has been there"
    );
    manager.set("eu", Availability::Ready);
    let member = manager.members.get("eu").expect("known");
    manager.engine.bury(&member).await.expect("both answer");
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_none());
    let notes = federation
        .api
        .get("/api/v1/namespaces/kube-system/configmaps/federation-deletions.eu")
        .expect("kept");
    assert_eq!(notes["data"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_created_again_is_not_buried() {
    let federation = Federation::new(&["eu"]);
    let manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    manager.set("eu", Availability::Lost);
    federation.api.delete(CONFIG_MAP, None);
    settle().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    manager.set("eu", Availability::Ready);
    manager
        .engine
        .bury(&manager.members.get("eu").expect("known"))
        .await
        .expect("both answer");
    settle().await;
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_excludes_a_cluster_deletes_the_copy_there_only() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    federation.api.edit(CONFIG_MAP, |object| {
        object["metadata"]["annotations"]["federation.alpha.kubernetes.io/cluster-selector"] =
            json!(r#"[{"key":"name","operator":"in","values":["us"]}]"#);
    });
    settle().await;
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_none());
    assert!(federation.clusters["us"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_override_changes_the_copy_of_its_cluster_only() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    let mut object = config_map();
    object["metadata"]["annotations"]["federation.kubernetes.io/overrides"] =
        json!(r#"[{"clusters":["eu"],"patch":[{"op":"replace","path":"/data/k","value":"european"}]}]"#);
    federation.api.put(CONFIG_MAP, object);
    settle().await;
    assert_eq!(
        federation.clusters["eu"].get(CONFIG_MAP).expect("there")["data"]["k"],
        "european"
    );
    assert_eq!(
        federation.clusters["us"].get(CONFIG_MAP).expect("there")["data"]["k"],
        "v"
    );
}

#[tokio::test(start_paused = true)]
async fn system_objects_stay_in_the_federation() {
    let federation = Federation::new(&["us"]);
    let _manager = federation.manage().await;
    for path in [
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-system/configmaps/x",
        "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
        "/api/v1/namespaces/default/serviceaccounts/default",
        "/api/v1/namespaces/default/services/kubernetes",
    ] {
        federation.api.put(path, json!({}));
    }
    settle().await;
    assert_eq!(federation.writes(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_delays_nobody_else() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.clusters["eu"].trouble(Some(("configmaps", Trouble::Silent)));
    federation.api.put(CONFIG_MAP, config_map());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(federation.clusters["us"].get(CONFIG_MAP).is_some());
    federation.clusters["eu"].trouble(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_refuses_or_throttles_is_tried_again() {
    for trouble in [Trouble::Status(429), Trouble::Status(500), Trouble::Refused] {
        let federation = Federation::new(&["us"]);
        let _manager = federation.manage().await;
        federation.clusters["us"].trouble(Some(("configmaps", trouble)));
        federation.api.put(CONFIG_MAP, config_map());
        tokio::time::sleep(Duration::from_secs(30)).await;
        federation.clusters["us"].trouble(None);
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert!(federation.clusters["us"].get(CONFIG_MAP).is_some(), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_clusters_replicas_run_elsewhere_and_return_without_a_dip() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(4));
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
    manager.set(
        "eu",
        Availability::Unreachable {
            since: Timestamp::now(),
        },
    );
    settle().await;
    assert_eq!(replicas(&federation.clusters["us"]), Some(2), "frozen");
    manager.set("eu", Availability::Lost);
    settle().await;
    assert_eq!(replicas(&federation.clusters["us"]), Some(4), "moved");
    run_all(&federation.clusters["us"]);
    federation.clusters["eu"].edit(DEPLOYMENT, |object| object["status"]["readyReplicas"] = json!(0));
    manager.set(
        "eu",
        Availability::Returning {
            since: Timestamp::now(),
        },
    );
    settle().await;
    assert_eq!(replicas(&federation.clusters["us"]), Some(4), "not yet");
    manager.set("eu", Availability::Ready);
    settle().await;
    assert_eq!(
        federation.clusters.values().filter_map(replicas).sum::<i64>(),
        6,
        "us keeps its four until eu is ready"
    );
    run_all(&federation.clusters["eu"]);
    settle().await;
    assert_eq!(federation.clusters.values().filter_map(replicas).sum::<i64>(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_copy_without_a_federated_object_is_not_deleted_on_suspicion() {
    let federation = Federation::new(&["us"]);
    let mut copy = config_map();
    copy["metadata"] = json!({"labels": {"federation.kubernetes.io/managed-by": "federation"},
        "annotations": {"federation.kubernetes.io/federation-uid": "fed"}});
    federation.clusters["us"].put(CONFIG_MAP, copy);
    let _manager = federation.manage().await;
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert_eq!(federation.writes(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_changed_config_map_rolls_who_uses_it_once_the_change_is_there() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    let mut object = deployment(2);
    object["metadata"]["annotations"]["federation.kubernetes.io/rollout-on-config-change"] = json!("true");
    object["spec"]["template"]["spec"] = json!({"volumes": [{"configMap": {"name": "c"}}]});
    federation.api.put(CONFIG_MAP, config_map());
    federation.api.put(DEPLOYMENT, object);
    settle().await;
    let eu = &federation.clusters["eu"];
    let mark = |fake: &Fake| {
        let copy = fake.get(DEPLOYMENT).expect("there");
        copy["spec"]["template"]["metadata"]["annotations"]["federation.kubernetes.io/config-hash"].clone()
    };
    let first = mark(eu);
    assert!(first.is_string());
    let order = eu.writes();
    assert_eq!(
        order,
        [format!("PATCH {CONFIG_MAP}"), format!("PATCH {DEPLOYMENT}")],
        "rolled once"
    );
    federation
        .api
        .edit(CONFIG_MAP, |object| object["data"]["k"] = json!("w"));
    settle().await;
    assert_ne!(mark(eu), first);
    assert_eq!(
        eu.writes(),
        [format!("PATCH {CONFIG_MAP}"), format!("PATCH {DEPLOYMENT}")]
    );
    // Nothing of it in the federation's own object.
    let own = federation.api.get(DEPLOYMENT).expect("there");
    assert!(own["spec"]["template"]["metadata"].get("annotations").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_template_reaches_the_next_wave_when_the_one_before_is_available() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    let mut object = deployment(4);
    object["metadata"]["annotations"]["federation.kubernetes.io/deployment-preferences"] =
        json!(r#"{"clusters": {"*": {"weight": 1}}, "waves": "cluster", "order": ["us"]}"#);
    federation.api.put(DEPLOYMENT, object);
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
    federation.api.edit(DEPLOYMENT, |object| {
        object["metadata"]["generation"] = json!(2);
        object["spec"]["template"]["spec"]["priority"] = json!(7);
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    let rolled = |cluster: &str| {
        let copy = federation.clusters[cluster].get(DEPLOYMENT).expect("there");
        copy["spec"]["template"]["spec"]["priority"] == 7
    };
    // The status of the first wave is of the old generation: nothing of the new one is known to run.
    federation.clusters["us"].edit(DEPLOYMENT, |object| {
        object["status"]["updatedReplicas"] = json!(1);
    });
    settle().await;
    assert_eq!((rolled("us"), rolled("eu")), (true, false));
    run_all(&federation.clusters["us"]);
    settle().await;
    assert!(rolled("eu"));
}
