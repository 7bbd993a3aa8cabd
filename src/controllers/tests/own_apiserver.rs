//! The controllers against our own apiservers: a federation and two members in this process, over real sockets.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{path::Path, time::Duration};

use apimachinery::Object;
use clap::Parser;
use client::{
    Key, Resource, Rest,
    resources::{CLUSTERS, CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, SECRETS},
    rest::Propagation,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct ServerArgs {
    #[command(flatten)]
    args: apiserver::Args,
}

#[derive(Parser)]
struct ManagerArgs {
    #[command(flatten)]
    args: controllers::Args,
}

struct Server {
    rest: Rest,
    url: String,
    kubeconfig: std::path::PathBuf,
}

async fn serve(dir: &Path, name: &str, profile: apiserver::Profile, stop: &CancellationToken) -> Server {
    let data = dir.join(name);
    let data = data.to_str().expect("text");
    let args = ServerArgs::parse_from(["apiserver", "--data-dir", data, "--secure-port", "0"]).args;
    let running = apiserver::start(args, profile, stop.clone()).await.expect("starts");
    let rest = client::connect::kubeconfig(name, &running.admin_kubeconfig, None)
        .await
        .expect("has a kubeconfig");
    Server {
        rest,
        url: running.url,
        kubeconfig: running.admin_kubeconfig,
    }
}

/// Waits until `check` gives a value; fails with what was seen last.
async fn eventually<T, F>(what: &str, check: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match check().await {
            Ok(value) => return value,
            Err(seen) => assert!(tokio::time::Instant::now() < deadline, "{what}: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn found(rest: &Rest, resource: &Resource, key: &Key) -> Result<Object, String> {
    let object = rest.find(resource, key).await.map_err(|e| client::error::chain(&e))?;
    object.ok_or_else(|| format!("{key} is not in {}", rest.name()))
}

async fn gone(rest: &Rest, resource: &Resource, key: &Key) -> Result<(), String> {
    match found(rest, resource, key).await {
        Ok(object) => Err(object.to_string()),
        Err(_) => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_reach_the_members_are_reported_on_and_go_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let stop = CancellationToken::new();
    let federation = serve(dir.path(), "federation", apiserver::Profile::Federation, &stop).await;
    let members = [
        serve(dir.path(), "eu", apiserver::Profile::Member, &stop).await,
        serve(dir.path(), "us", apiserver::Profile::Member, &stop).await,
    ];
    let host = &members[0];
    host.rest
        .create(
            &NAMESPACES,
            None,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "federation-system"}}),
        )
        .await
        .expect("namespace is created");
    for member in &members {
        let name = member.rest.name();
        let kubeconfig = std::fs::read_to_string(&member.kubeconfig).expect("readable");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"kubeconfig": kubeconfig}});
        host.rest
            .create(&SECRETS, Some("federation-system"), &secret)
            .await
            .expect("secret is created");
        let cluster = json!({"apiVersion": "federation/v1beta1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": member.url}], "secretRef": {"name": name}}});
        federation
            .rest
            .create(&CLUSTERS, None, &cluster)
            .await
            .expect("cluster is created");
    }
    let args = ManagerArgs::parse_from([
        "controller-manager",
        "--kubeconfig",
        federation.kubeconfig.to_str().expect("text"),
        "--host-kubeconfig",
        host.kubeconfig.to_str().expect("text"),
        "--metrics-bind-address",
        "127.0.0.1:0",
    ]);
    let manager_stop = CancellationToken::new();
    let manager = tokio::spawn(controllers::run(args.args, manager_stop.clone()));

    for member in &members {
        let key = Key::from(member.rest.name());
        eventually("cluster becomes ready", || async {
            let cluster = found(&federation.rest, &CLUSTERS, &key).await?;
            let ready = &cluster["status"]["conditions"][0];
            if ready["type"] == "Ready" && ready["status"] == "True" {
                Ok(())
            } else {
                Err(cluster.to_string())
            }
        })
        .await;
    }

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
