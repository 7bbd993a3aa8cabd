//! Room in members: pods that find none, and placements that mind it.

use super::*;
use crate::sync::{SyncKey, kinds};
use client::Key;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn key(name: &str) -> SyncKey {
    let kind = kinds::index_of("Deployment").expect("known");
    (kind, Key::new(Some("default"), name))
}

fn set_room(federation: &Federation, cluster: &str, cpu: &str) {
    federation
        .api
        .edit(&format!("/apis/federation/v1beta1/clusters/{cluster}"), |object| {
            object["status"]["allocatable"] = json!({"cpu": cpu, "memory": "64Gi", "pods": "110"});
        });
}

fn aware(replicas: i64) -> Object {
    let mut object = deployment(replicas);
    object["metadata"]["annotations"]["federation.kubernetes.io/deployment-preferences"] =
        json!(r#"{"clusters": {"*": {"weight": 1}}, "capacityAware": true}"#);
    object["spec"]["template"]["spec"] = json!({"containers": [{"resources": {"requests": {"cpu": "500m"}}}]});
    object
}

fn replicas_of(fake: &Fake, name: &str) -> i64 {
    let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
    let object = fake.get(&path).expect("there");
    object["spec"]["replicas"].as_i64().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn objects_that_come_together_are_not_all_given_the_same_room() {
    let federation = Federation::new(&["eu", "us"]);
    set_room(&federation, "eu", "2");
    set_room(&federation, "us", "100");
    let manager = federation.manage().await;
    for member in manager.members.all() {
        manager.engine.count_room(&member).await.expect("answers");
    }
    for name in ["one", "two", "three"] {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
        federation.api.put(&path, aware(4));
    }
    settle().await;
    let eu: i64 = ["one", "two", "three"]
        .iter()
        .map(|name| replicas_of(&federation.clusters["eu"], name))
        .sum();
    assert_eq!(eu, 4, "2 cores have room for four");
    let us: i64 = ["one", "two", "three"]
        .iter()
        .map(|name| replicas_of(&federation.clusters["us"], name))
        .sum();
    assert_eq!(us, 8);
}

#[tokio::test(start_paused = true)]
async fn what_found_no_room_is_placed_when_there_is_some() {
    let federation = Federation::new(&["eu", "us"]);
    set_room(&federation, "eu", "1");
    set_room(&federation, "us", "1");
    let manager = federation.manage().await;
    let mut object = aware(6);
    // Webster's shares leave what has no room unplaced.
    object["metadata"]["annotations"]["federation.kubernetes.io/deployment-preferences"] =
        json!(r#"{"clusters": {"*": {"weight": 1}}, "capacityAware": true, "strategy": "spread"}"#);
    federation.api.put(DEPLOYMENT, object);
    settle().await;
    assert_eq!(federation.clusters.values().filter_map(replicas).sum::<i64>(), 4);
    let placement = manager.engine.placement(&key("web")).expect("planned");
    assert_eq!(placement.unplaced, 2);
    assert!(
        placement.reasons["eu"].contains("no room for more than 2 (cpu)"),
        "{:?}",
        placement.reasons
    );
    set_room(&federation, "us", "10");
    // Nothing but a new count tells that there is room.
    let member = manager.members.get("us").expect("known");
    manager.engine.count_room(&member).await.expect("answers");
    settle().await;
    assert_eq!(federation.clusters.values().filter_map(replicas).sum::<i64>(), 6);
}

#[tokio::test(start_paused = true)]
async fn pods_that_stay_unschedulable_move_with_a_reason_and_do_not_come_back_at_once() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(6));
    settle().await;
    run_all(&federation.clusters["us"]);
    let eu = &federation.clusters["eu"];
    eu.edit(DEPLOYMENT, |object| {
        object["status"] = json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 1});
    });
    for name in ["a", "b"] {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        eu.put(
            &format!("{PODS}/{name}"),
            json!({"metadata": {"labels": {"app": "web"}}, "status": {"phase": "Pending", "conditions": [condition]}}),
        );
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(replicas(&federation.clusters["us"]), Some(5));
    let reason = manager.engine.placement(&key("web")).expect("planned").reasons["eu"].clone();
    assert!(reason.contains("3 Insufficient cpu"), "{reason}");
    assert_eq!(replicas(eu), Some(1));
    for name in ["a", "b"] {
        eu.delete(&format!("{PODS}/{name}"), None);
    }
    run_all(eu);
    run_all(&federation.clusters["us"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (replicas(eu), replicas(&federation.clusters["us"])),
        (Some(1), Some(5)),
        "what did not fit is not tried again so soon"
    );
}
