//! `kubefed local up`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use futures::future::try_join_all;

use super::state::kubeconfig_of;
use super::{ClusterState, Kubernetes, Place, State, cluster, down, real, status};
use crate::progress::step;
use crate::{Common, federation, init, join, kubeconfig};

/// Name of the federation, and of its context.
const FEDERATION: &str = "federation";

/// Start the clusters and the federation, or whatever of them is not running.
#[derive(Args, Clone)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The clusters, named after cloud zones; the first hosts the control plane. Clusters that are not there yet are added
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "us-east1-b,europe-west1-c,asia-northeast1-a",
        value_name = "ZONE,…"
    )]
    pub(crate) clusters: Vec<String>,
    /// Nodes of each cluster
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u32,
    /// What the clusters are
    #[arg(long, value_enum, default_value_t, hide = true)]
    pub(crate) kubernetes: Kubernetes,
    /// Return when everything runs, instead of staying and stopping it at Ctrl-C
    #[arg(long)]
    pub(crate) detach: bool,
    /// More arguments for the federation's controllers: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) controllermanager_arg_overrides: Vec<String>,
    /// More arguments for the load balancer: --flag=value,…
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) ingress_arg_overrides: Vec<String>,
}

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let dir = args.place.path()?;
    bring_up(&dir, &args).await?;
    println!("{}", status::text(&dir, &State::expect(&dir)?));
    if !args.detach {
        println!("Running until Ctrl-C; data stays in {}.", dir.display());
        interrupted().await?;
        down::stop(&dir).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

async fn bring_up(dir: &Path, args: &UpArgs) -> anyhow::Result<()> {
    let mut state = recorded(dir, args)?;
    let kubeconfig_file = kubeconfig_of(dir);
    let names: Vec<_> = state.clusters.iter().map(|c| c.name.clone()).collect();
    let kubernetes = state.kubernetes;
    let started = step(&format!("Starting clusters {}", names.join(", ")), async {
        let started = try_join_all(
            state
                .clusters
                .iter_mut()
                .map(|c| cluster::start(dir, c, args.nodes, kubernetes)),
        )
        .await;
        // Whatever did start must be found by `down`.
        state.write(dir)?;
        started
    })
    .await;
    started?;
    for cluster in &state.clusters {
        cluster::publish(dir, cluster, &kubeconfig_file)?;
    }
    let common = Common {
        kubeconfig: Some(kubeconfig_file.clone()),
        ..Common::default()
    };
    let host = state.clusters[0].name.clone();
    init::run(&common, init_args(&state, &host, args)?).await?;
    set_current_context(&kubeconfig_file)?;
    let joined = joined(&common, &host).await?;
    let missing = state.clusters.iter().filter(|c| !joined.contains(&c.name));
    try_join_all(missing.map(|c| async { join::run(&common, join::JoinArgs::of(&c.name, &host)?).await })).await?;
    Ok(())
}

/// The record, with the clusters asked for added and free ports chosen for what is new.
fn recorded(dir: &Path, args: &UpArgs) -> anyhow::Result<State> {
    let mut state = match State::read(dir)? {
        Some(state) => state,
        None => State {
            http_port: cluster::free_port()?,
            https_port: cluster::free_port()?,
            kubernetes: args.kubernetes,
            clusters: Vec::new(),
        },
    };
    for name in &args.clusters {
        let wrong = apimachinery::names::dns1035_label(name);
        anyhow::ensure!(wrong.is_empty(), "invalid cluster name {name:?}: {}", wrong.join("; "));
        if !state.clusters.iter().any(|c| &c.name == name) {
            let port = cluster::free_port()?;
            let index = state.clusters.len();
            let pod_cidr = if state.kubernetes == Kubernetes::Real {
                real::address_range(index)?
            } else {
                String::new()
            };
            state.clusters.push(ClusterState {
                name: name.clone(),
                port,
                pod_cidr,
                processes: vec![],
            });
        }
    }
    anyhow::ensure!(!state.clusters.is_empty(), "no clusters: give --clusters");
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    state.write(dir)?;
    Ok(state)
}

fn init_args(state: &State, host: &str, args: &UpArgs) -> anyhow::Result<init::InitArgs> {
    let mut ingress_arg_overrides = vec!["--local-client-networks".to_owned()];
    ingress_arg_overrides.extend(args.ingress_arg_overrides.iter().cloned());
    Ok(init::InitArgs {
        host_cluster_context: Some(host.to_owned()),
        api_server_service_type: init::ServiceType::NodePort,
        ingress_bind_address: "127.0.0.1".into(),
        ingress_http_port: state.http_port,
        ingress_https_port: state.https_port,
        ingress_publish_address: vec![format!("127.0.0.1:{}", state.http_port)],
        ingress_arg_overrides,
        controllermanager_arg_overrides: args.controllermanager_arg_overrides.clone(),
        ..init::InitArgs::named(FEDERATION)?
    })
}

/// Plain `kubectl --kubeconfig D/kubeconfig` talks to the federation.
fn set_current_context(file: &Path) -> anyhow::Result<()> {
    let mut config = kube::config::Kubeconfig::read_from(file)?;
    if config.current_context.is_none() {
        config.current_context = Some(FEDERATION.to_owned());
        kubeconfig::write(file, &config)?;
    }
    Ok(())
}

/// Names of the clusters that have joined already.
async fn joined(common: &Common, host: &str) -> anyhow::Result<Vec<String>> {
    let config = kubeconfig::read(common)?;
    let federation = federation::find(common, &config, host).await?;
    let clusters = federation::clusters(&federation.client)
        .list(&Default::default())
        .await?;
    Ok(clusters.items.into_iter().filter_map(|c| c.metadata.name).collect())
}
