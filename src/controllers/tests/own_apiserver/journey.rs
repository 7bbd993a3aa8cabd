//! One object of each sort, there and back.

use client::{
    Key,
    resources::{CONFIG_MAPS, DEPLOYMENTS},
    rest::Propagation,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{eventually, found, gone, manage, serve};

#[tokio::test(flavor = "multi_thread")]
async fn objects_reach_the_members_are_reported_on_and_go_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let stop = CancellationToken::new();
    let federation = serve(dir.path(), "federation", apiserver::Profile::Federation, &stop).await;
    let members = [
        serve(dir.path(), "eu", apiserver::Profile::Member, &stop).await,
        serve(dir.path(), "us", apiserver::Profile::Member, &stop).await,
    ];
    let manager_stop = CancellationToken::new();
    let manager = manage(&federation, &members, &[], manager_stop.clone()).await;

    let config = Key::from("default/settings");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"k": "v"}});
    federation
        .rest
        .create(&CONFIG_MAPS, Some("default"), &object)
        .await
        .expect("config map is created");
    let web = Key::from("default/web");
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 5,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}}});
    federation
        .rest
        .create(&DEPLOYMENTS, Some("default"), &object)
        .await
        .expect("deployment is created");
    let mut replicas = 0;
    for member in &members {
        let copy = eventually("config map arrives", || found(&member.rest, &CONFIG_MAPS, &config)).await;
        assert_eq!(copy["data"], json!({"k": "v"}));
        let copy = eventually("deployment arrives", || found(&member.rest, &DEPLOYMENTS, &web)).await;
        replicas += copy["spec"]["replicas"].as_i64().expect("a share");
        let generation = &copy["metadata"]["generation"];
        let status = json!({"status": {"observedGeneration": generation, "replicas": copy["spec"]["replicas"], "readyReplicas": 1}});
        member
            .rest
            .merge(&DEPLOYMENTS, &web, "/status", &status)
            .await
            .expect("status is written");
    }
    assert_eq!(replicas, 5);
    eventually("statuses are summed", || async {
        let object = found(&federation.rest, &DEPLOYMENTS, &web).await?;
        if object["status"]["readyReplicas"] == 2 {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;

    federation
        .rest
        .delete(&CONFIG_MAPS, &config, None, Propagation::Background)
        .await
        .expect("is deleted");
    eventually("config map goes", || gone(&federation.rest, &CONFIG_MAPS, &config)).await;
    for member in &members {
        eventually("copy goes", || gone(&member.rest, &CONFIG_MAPS, &config)).await;
    }

    manager_stop.cancel();
    manager.await.expect("does not panic").expect("stops cleanly");
    stop.cancel();
}
