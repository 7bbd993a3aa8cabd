//! Copies are what the federated object says, and are written when they are not.

use super::*;

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
