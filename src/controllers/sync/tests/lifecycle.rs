//! Clusters that are cordoned, drained, lost, back, or on their way out; objects whose selector changes.

use super::*;

const SERVICE: &str = "/api/v1/namespaces/default/services/web";

fn cluster_path(name: &str) -> String {
    format!("/apis/federation/v1beta1/clusters/{name}")
}

fn taint(federation: &Federation, cluster: &str, key: &str, effect: &str) {
    federation.api.edit(&cluster_path(cluster), |object| {
        object["spec"]["taints"] = json!([{"key": key, "effect": effect}]);
    });
}

async fn running(federation: &Federation, wanted: i64) {
    federation.api.put(DEPLOYMENT, deployment(wanted));
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
}

fn all_replicas(federation: &Federation) -> Vec<Option<i64>> {
    federation.clusters.values().map(replicas).collect()
}

#[tokio::test(start_paused = true)]
async fn a_drained_cluster_empties_only_after_the_others_have_taken_over_and_is_filled_again() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    running(&federation, 4).await;
    taint(&federation, "eu", "federation.kubernetes.io/draining", "NoExecute");
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)], "surge first");
    run_all(&federation.clusters["us"]);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(0), Some(4)]);
    run_all(&federation.clusters["eu"]);
    federation
        .api
        .edit(&cluster_path("eu"), |object| object["spec"]["taints"] = Object::Null);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)]);
    run_all(&federation.clusters["eu"]);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(2)], "as it was");
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_cluster_keeps_its_replicas_and_gets_none_of_the_new_ones() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    running(&federation, 4).await;
    federation.api.edit(&cluster_path("eu"), |object| {
        object["spec"]["unschedulable"] = json!(true);
    });
    federation
        .api
        .edit(DEPLOYMENT, |object| object["spec"]["replicas"] = json!(10));
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_excludes_a_cluster_moves_replicas_before_it_deletes_the_copy() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    running(&federation, 4).await;
    federation.api.edit(DEPLOYMENT, |object| {
        object["metadata"]["annotations"]["federation.alpha.kubernetes.io/cluster-selector"] =
            json!(r#"[{"key":"name","operator":"in","values":["us"]}]"#);
    });
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)]);
    run_all(&federation.clusters["us"]);
    settle().await;
    assert_eq!(all_replicas(&federation), [None, Some(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_leaving_cluster_is_replaced_and_keeps_what_runs_there() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    running(&federation, 4).await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    taint(&federation, "eu", "federation.kubernetes.io/leaving", "NoExecute");
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)]);
    run_all(&federation.clusters["us"]);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)], "it is not emptied");
    federation.clusters["eu"].writes();
    federation.api.delete(&cluster_path("eu"), None);
    manager.members.remove("eu", true);
    manager.wake.all_objects();
    settle().await;
    assert_eq!(federation.clusters["eu"].writes(), Vec::<String>::new());
    assert_eq!(all_replicas(&federation), [Some(2), Some(4)]);
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_or_scaled_to_nothing_in_a_cluster_that_comes_back() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    running(&federation, 4).await;
    federation.api.put(CONFIG_MAP, config_map());
    settle().await;
    let eu = &federation.clusters["eu"];
    eu.writes();
    let since = Timestamp::now();
    for availability in [
        Availability::Unreachable { since },
        Availability::Lost,
        Availability::Returning { since },
        Availability::Ready,
    ] {
        manager.set("eu", availability);
        settle().await;
        run_all(&federation.clusters["us"]);
        settle().await;
        assert!(eu.get(CONFIG_MAP).is_some());
        assert_eq!(replicas(eu), Some(2), "{availability:?}");
    }
    assert!(eu.writes().iter().all(|write| !write.starts_with("DELETE")));
    assert_eq!(all_replicas(&federation), [Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_scale_down_while_a_cluster_is_unreachable_leaves_replicas_in_those_that_answer() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    running(&federation, 6).await;
    manager.set(
        "eu",
        Availability::Unreachable {
            since: Timestamp::now(),
        },
    );
    federation
        .api
        .edit(DEPLOYMENT, |object| object["spec"]["replicas"] = json!(2));
    settle().await;
    assert_eq!(
        replicas(&federation.clusters["us"]),
        Some(2),
        "all that are known to be alive"
    );
    manager.set("eu", Availability::Ready);
    settle().await;
    assert_eq!(all_replicas(&federation), [Some(1), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_service_has_its_own_name_in_every_cluster() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.api.put(
        SERVICE,
        json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    settle().await;
    for cluster in federation.clusters.values() {
        let copy = cluster.get(SERVICE).expect("under the same name");
        assert_eq!(copy["spec"]["selector"], json!({"app": "web"}));
    }
}

#[tokio::test(start_paused = true)]
async fn shares_go_back_to_a_cluster_one_after_the_other() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    let path = |i: usize| format!("/apis/apps/v1/namespaces/default/deployments/web{i}");
    let told = |i: usize| federation.clusters["eu"].get(&path(i)).expect("there")["spec"]["replicas"].as_i64();
    let run = |fake: &Fake| {
        for i in 0..5 {
            fake.edit(&path(i), |object| {
                let replicas = object["spec"]["replicas"].clone();
                object["status"] = json!({"observedGeneration": object["metadata"]["generation"],
                    "replicas": replicas, "readyReplicas": replicas});
            });
        }
    };
    for i in 0..5 {
        federation.api.put(&path(i), deployment(4));
    }
    settle().await;
    federation.clusters.values().for_each(run);
    settle().await;
    manager.set("eu", Availability::Lost);
    settle().await;
    run(&federation.clusters["us"]);
    // What ran in eu is gone.
    for i in 0..5 {
        federation.clusters["eu"].edit(&path(i), |object| {
            object["spec"]["replicas"] = json!(0);
            object["status"]["replicas"] = json!(0);
            object["status"]["readyReplicas"] = json!(0);
        });
    }
    manager.set(
        "eu",
        Availability::Returning {
            since: Timestamp::now(),
        },
    );
    settle().await;
    manager.set("eu", Availability::Ready);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let back = || (0..5).filter(|i| told(*i) == Some(2)).count();
    assert!((1..5).contains(&back()), "one per second, not all at once: {}", back());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(back(), 5);
}
