//! Replicas: split, summed, moved, and left to who else decides.

use super::*;

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
