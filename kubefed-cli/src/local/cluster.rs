//! Starting one cluster of a local federation.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::config::Kubeconfig;

use super::process::Process;
use super::state::ClusterState;
use super::{Kubernetes, real};
use crate::kubeconfig;
use crate::progress::wait_for;

/// A port of 127.0.0.1 that nobody listens on now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// The `federation` binary, beside this one.
pub(crate) fn federation_binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own path")?;
    let beside = own.with_file_name("federation");
    if !beside.exists() {
        bail!("{} is missing: it belongs beside {}", beside.display(), own.display());
    }
    Ok(beside)
}

/// Directory of a cluster's data.
pub(crate) fn data_dir(dir: &Path, name: &str) -> PathBuf {
    dir.join("clusters").join(name)
}

pub(super) fn log_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("logs").join(format!("{name}.log"))
}

/// Starts the cluster if it is not running, and waits until its API server answers and its nodes are ready.
pub(crate) async fn start(
    dir: &Path,
    cluster: &mut ClusterState,
    nodes: u32,
    kubernetes: Kubernetes,
) -> anyhow::Result<()> {
    match kubernetes {
        Kubernetes::Mini => {
            if !cluster.processes.iter().any(Process::is_alive) {
                cluster.processes = vec![spawn_minicluster(dir, cluster, nodes)?];
            }
        }
        Kubernetes::Real => real::start(dir, cluster, nodes).await?,
    }
    let config = ready(dir, cluster).await?;
    if kubernetes == Kubernetes::Mini {
        cluster.pod_cidr = pod_cidr(&config).await?;
    }
    Ok(())
}

fn spawn_minicluster(dir: &Path, cluster: &ClusterState, nodes: u32) -> anyhow::Result<Process> {
    let data = data_dir(dir, &cluster.name);
    let mut command = Command::new(federation_binary()?);
    command
        .arg("minicluster")
        .args([
            "--name",
            &cluster.name,
            "--region",
            cluster.region(),
            "--zone",
            &cluster.name,
        ])
        .arg("--data-dir")
        .arg(&data)
        .args([
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &cluster.port.to_string(),
        ])
        .args(["--nodes", &nodes.to_string()]);
    Process::spawn("minicluster", command, &log_file(dir, &cluster.name))
}

/// Waits for the cluster; returns its administrator's kubeconfig.
async fn ready(dir: &Path, cluster: &ClusterState) -> anyhow::Result<Kubeconfig> {
    let file = data_dir(dir, &cluster.name).join("admin.kubeconfig");
    let what = format!("cluster {} to start", cluster.name);
    let ended = || !cluster.processes.iter().all(Process::is_alive);
    let config = wait_for(&what, Duration::from_secs(60), || async {
        if ended() {
            return Ok(Some(None));
        }
        if !file.exists() {
            return Ok(None);
        }
        let config = Kubeconfig::read_from(&file)?;
        Ok(has_ready_node(&config).await?.then_some(Some(config)))
    })
    .await?;
    config.with_context(|| ended_while_starting(dir, cluster))
}

/// What to say of a cluster that ended at once: the end of its log tells why.
fn ended_while_starting(dir: &Path, cluster: &ClusterState) -> String {
    let log = log_file(dir, &cluster.name);
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(3)..].join("\n");
    format!(
        "cluster {} ended while starting; the end of {}:\n{end}",
        cluster.name,
        log.display()
    )
}

async fn nodes(config: &Kubeconfig) -> anyhow::Result<Vec<Node>> {
    let context = config.current_context.clone().context("no current context")?;
    let client = kubeconfig::client(config, &context).await?;
    Ok(Api::all(client).list(&Default::default()).await?.items)
}

async fn has_ready_node(config: &Kubeconfig) -> anyhow::Result<bool> {
    let ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    Ok(nodes(config).await?.iter().any(ready))
}

/// The range of pod addresses, as the nodes tell it.
async fn pod_cidr(config: &Kubeconfig) -> anyhow::Result<String> {
    let of_node = |node: &Node| node.metadata.annotations.as_ref()?.get(POD_CIDR_ANNOTATION).cloned();
    Ok(nodes(config).await?.iter().find_map(of_node).unwrap_or_default())
}

/// Annotation of minicluster nodes: the pod range of the whole cluster.
const POD_CIDR_ANNOTATION: &str = "minicluster.kubefed.io/pod-cidr";

/// Puts the cluster's access into the local federation's kubeconfig, under the cluster's name.
pub(crate) fn publish(dir: &Path, cluster: &ClusterState, target: &Path) -> anyhow::Result<()> {
    let file = data_dir(dir, &cluster.name).join("admin.kubeconfig");
    let config = Kubeconfig::read_from(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let own = config.clusters.into_iter().next().and_then(|c| c.cluster);
    let user = config.auth_infos.into_iter().next().and_then(|a| a.auth_info);
    let (own, user) = own
        .zip(user)
        .with_context(|| format!("{} has no cluster or no user", file.display()))?;
    kubeconfig::merge_into(target, &cluster.name, own, user)
}
