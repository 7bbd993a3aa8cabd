//! Servers, clusters and a controller manager, in this process.

use std::{path::Path, time::Duration};

use apimachinery::Object;
use clap::Parser;
use client::{
    Key, Resource, Rest,
    resources::{CLUSTERS, NAMESPACES, SECRETS},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A controller manager that runs.
pub(crate) type Manager = JoinHandle<Result<(), controllers::Error>>;

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

/// A server in this process.
pub(crate) struct Server {
    /// A client of it.
    pub(crate) rest: Rest,
    /// Where clients reach it.
    pub(crate) url: String,
    /// Kubeconfig of its administrator.
    pub(crate) kubeconfig: std::path::PathBuf,
}

/// Starts a server.
pub(crate) async fn serve(dir: &Path, name: &str, profile: apiserver::Profile, stop: &CancellationToken) -> Server {
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
pub(crate) async fn eventually<T, F>(what: &str, check: impl Fn() -> F) -> T
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

/// An object, or why there is none.
pub(crate) async fn found(rest: &Rest, resource: &Resource, key: &Key) -> Result<Object, String> {
    let object = rest.find(resource, key).await.map_err(|e| client::error::chain(&e))?;
    object.ok_or_else(|| format!("{key} is not in {}", rest.name()))
}

/// Whether an object is not there.
pub(crate) async fn gone(rest: &Rest, resource: &Resource, key: &Key) -> Result<(), String> {
    match found(rest, resource, key).await {
        Ok(object) => Err(object.to_string()),
        Err(_) => Ok(()),
    }
}

/// Makes clusters of the servers, the first of which is the host, and starts a controller manager.
pub(crate) async fn manage(
    federation: &Server,
    members: &[Server],
    flags: &[&str],
    stop: CancellationToken,
) -> Manager {
    let host = &members[0];
    host.rest
        .create(
            &NAMESPACES,
            None,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "federation-system"}}),
        )
        .await
        .expect("namespace is created");
    for member in members {
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
    let own = [
        "controller-manager",
        "--kubeconfig",
        federation.kubeconfig.to_str().expect("text"),
        "--host-kubeconfig",
        host.kubeconfig.to_str().expect("text"),
        "--metrics-bind-address",
        "127.0.0.1:0",
    ];
    let args = ManagerArgs::parse_from(own.iter().chain(flags));
    let manager = tokio::spawn(controllers::run(args.args, stop));
    for member in members {
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
    manager
}
