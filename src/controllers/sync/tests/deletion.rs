//! Deletion: copies go along, stay if told so, and are never deleted on suspicion.

use super::*;

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
