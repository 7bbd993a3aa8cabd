//! Workloads whose replicas an autoscaler decides: a member's own, or a federated one.

use super::*;

const AUTOSCALER: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/web";

fn autoscaler(min: i64, max: i64) -> Object {
    json!({
        "metadata": {"generation": 1},
        "spec": {"minReplicas": min, "maxReplicas": max, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    })
}

/// What an autoscaler does through the scale subresource: the number changes, and its owner.
fn autoscale(fake: &Fake, replicas: i64) {
    fake.edit(DEPLOYMENT, |object| {
        object["spec"]["replicas"] = json!(replicas);
        if let Some(spec) = object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].as_object_mut() {
            spec.shift_remove("f:replicas");
        }
    });
    run_all(fake);
}

fn all_replicas(federation: &Federation) -> Vec<Option<i64>> {
    federation.clusters.values().map(replicas).collect()
}

async fn deployed(names: &[&'static str], count: i64) -> (Federation, Manager) {
    let federation = Federation::new(names);
    let manager = federation.manage().await;
    federation.api.put(DEPLOYMENT, deployment(count));
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
    (federation, manager)
}

#[tokio::test(start_paused = true)]
async fn a_federated_autoscaler_takes_over_what_runs_and_nothing_moves() {
    let (federation, _manager) = deployed(&["asia", "eu", "us"], 7).await;
    let before = all_replicas(&federation);
    federation.api.put(AUTOSCALER, autoscaler(6, 12));
    settle().await;
    assert_eq!(all_replicas(&federation), before);
    let copy = federation.clusters["eu"].get(AUTOSCALER).expect("propagated");
    assert_eq!(
        (&copy["spec"]["minReplicas"], &copy["spec"]["maxReplicas"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(replicas(&federation.api), Some(7));
}

#[tokio::test(start_paused = true)]
async fn the_federated_object_says_what_its_clusters_autoscalers_chose() {
    let (federation, _manager) = deployed(&["asia", "eu", "us"], 6).await;
    federation.api.put(AUTOSCALER, autoscaler(6, 12));
    settle().await;
    autoscale(&federation.clusters["eu"], 4);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4), Some(2)]);
    assert_eq!(replicas(&federation.api), Some(8));
    federation.api.delete(AUTOSCALER, None);
    settle().await;
    assert_eq!(
        all_replicas(&federation),
        [Some(2), Some(4), Some(2)],
        "nothing jumps when it goes"
    );
}

#[tokio::test(start_paused = true)]
async fn scaling_to_zero_turns_autoscaling_off_until_it_is_scaled_up() {
    let (federation, _manager) = deployed(&["eu", "us"], 4).await;
    federation.api.put(AUTOSCALER, autoscaler(2, 8));
    settle().await;
    federation
        .api
        .edit(DEPLOYMENT, |object| object["spec"]["replicas"] = json!(0));
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(0), Some(0)]);
    federation.clusters.values().for_each(run_all);
    federation
        .api
        .edit(DEPLOYMENT, |object| object["spec"]["replicas"] = json!(4));
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_where_the_federated_autoscaler_has_no_copy() {
    let (federation, _manager) = deployed(&["asia", "eu", "us"], 6).await;
    let mut limited = autoscaler(2, 8);
    limited["metadata"]["annotations"]["federation.kubernetes.io/hpa-preferences"] =
        json!(r#"{"clusters": {"eu": {"weight": 1}, "us": {"weight": 1}}}"#);
    federation.api.put(AUTOSCALER, limited);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(0), Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_members_own_autoscaler_changes_nothing_for_the_others() {
    let (federation, _manager) = deployed(&["asia", "eu", "us"], 6).await;
    federation.clusters["eu"].put(AUTOSCALER, autoscaler(1, 10));
    settle().await;
    autoscale(&federation.clusters["eu"], 9);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(9), Some(2)]);
    assert_eq!(replicas(&federation.api), Some(6));
    federation.clusters["eu"].delete(AUTOSCALER, None);
    settle().await;
    assert_eq!(
        all_replicas(&federation),
        [Some(2), Some(2), Some(2)],
        "its share is as it was"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_away_keeps_its_autoscaler() {
    let (federation, manager) = deployed(&["eu", "us"], 4).await;
    federation.api.put(AUTOSCALER, autoscaler(2, 8));
    settle().await;
    let since = Timestamp::now();
    for (availability, others) in [
        (Availability::Unreachable { since }, 4),
        (Availability::Ready, 4),
        (Availability::Lost, 8),
        (Availability::Returning { since }, 8),
        (Availability::Ready, 4),
    ] {
        manager.set("eu", availability);
        settle().await;
        assert!(federation.clusters["eu"].get(AUTOSCALER).is_some(), "{availability:?}");
        assert_eq!(all_replicas(&federation), [Some(2), Some(2)], "{availability:?}");
        let copy = federation.clusters["us"].get(AUTOSCALER).expect("there");
        assert_eq!(copy["spec"]["maxReplicas"], others, "{availability:?}");
    }
}
