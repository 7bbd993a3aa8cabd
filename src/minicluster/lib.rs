//! A member cluster in one process: apiserver, workload controllers, scheduler, node agents, service proxy.
//!
//! It is a test double and a playground: pods of any image are small HTTP servers of this process,
//! only images named `*/federation` are run, as processes of this binary. All parts talk to the API
//! server through its API, over TLS, so that scheduler, node agents and service proxy serve a real
//! API server just as well ([`run`] with the subcommand `node`).

mod addresses;
mod args;
mod context;
mod controllers;
mod events;
mod informer;
mod node;
mod pods;
mod proxy;
mod queue;
mod scheduler;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use client::backoff::Backoff;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::args::Args;
use self::{
    addresses::{Claim, Layout, Pool},
    args::{ClusterArgs, Command, NodeArgs, NodesArgs},
    context::{Context, Identity},
    node::{Agent, Registry, Settings},
};

/// How often the API server's client authority is asked for.
const CLIENT_CA_TRIES: u32 = 10;
const CLIENT_CA_RETRY: Backoff = Backoff {
    base: Duration::from_millis(100),
    max: Duration::from_secs(2),
};

/// Why a minicluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No address range.
    #[error("cannot get an address range")]
    Addresses(#[source] addresses::Error),
    /// The API server does not start.
    #[error("cannot start the API server")]
    ApiServer(#[source] Box<apiserver::Error>),
    /// The flags for the API server are wrong.
    #[error("cannot configure the API server")]
    Flags(#[source] clap::Error),
    /// The kubeconfig is not usable.
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// No client can be made of the kubeconfig.
    #[error("cannot make a client")]
    Client(#[source] Box<client::connect::Error>),
    /// The nodes cannot be registered.
    #[error("cannot register the nodes")]
    Nodes(#[source] node::RegistryError),
    /// Processes cannot be started.
    #[error("cannot start the node agent")]
    Agent(#[source] std::io::Error),
    /// The kubelet API cannot be offered.
    #[error("cannot start the kubelet API")]
    Kubelet(#[source] node::KubeletError),
}

/// A minicluster that runs.
pub struct Running {
    /// URL of its API server.
    pub url: String,
    /// Kubeconfig of its administrator.
    pub admin_kubeconfig: PathBuf,
    /// Ends when everything has stopped.
    pub done: JoinHandle<()>,
}

/// `federation minicluster`: runs until `shutdown` is cancelled, then ends its pods' processes and stops.
///
/// Boxed, so that what it does is compiled here once, and not again in every crate that awaits it.
///
/// # Errors
/// If it cannot start.
pub fn run(args: Args, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        match args.command {
            Some(Command::Node(args)) => run_node(*args, shutdown).await,
            None => {
                let running = start_cluster(args.cluster, shutdown).await?;
                // It only fails if the task panicked, and then all is said.
                let _ = running.done.await;
                Ok(())
            }
        }
    })
}

/// Starts a whole minicluster (whatever subcommand the flags name). Boxed as [`run`] is.
///
/// # Errors
/// If it cannot start.
pub fn start(args: Args, shutdown: CancellationToken) -> BoxFuture<'static, Result<Running, Error>> {
    Box::pin(start_cluster(args.cluster, shutdown))
}

async fn start_cluster(args: ClusterArgs, shutdown: CancellationToken) -> Result<Running, Error> {
    node::raise_file_limit();
    prepare_dir(&args.data_dir)?;
    let (layout, claim) = addresses(&args)?;
    // The API server outlives the pods' processes, which may have something to say at the end.
    let server_shutdown = CancellationToken::new();
    let server = apiserver::start(
        server_args(&args, layout)?,
        apiserver::Profile::Member,
        server_shutdown.clone(),
    );
    let server = server.await.map_err(|source| Error::ApiServer(Box::new(source)))?;
    let parts = Parts {
        config: config(&server.admin_kubeconfig).await?,
        identity: args.identity.identity(),
        nodes: args.nodes,
        data_dir: args.data_dir,
        layout,
        all_nodes: true,
        client_ca: Some(server.client_ca_pem),
    };
    let (context, agent) = parts.start(&shutdown).await?;
    controllers::start(&context, &server.ca_pem).await;
    tracing::info!(cluster = context.identity.cluster, url = server.url, range = %layout.range(), "minicluster runs");
    let done = tokio::spawn(async move {
        shutdown.cancelled().await;
        agent.stop_all().await;
        server_shutdown.cancel();
        let _ = server.done.await;
        drop::<Option<Claim>>(claim);
    });
    Ok(Running {
        url: server.url,
        admin_kubeconfig: server.admin_kubeconfig,
        done,
    })
}

async fn run_node(args: NodeArgs, shutdown: CancellationToken) -> Result<(), Error> {
    node::raise_file_limit();
    prepare_dir(&args.data_dir)?;
    let parts = Parts {
        config: config(&args.kubeconfig).await?,
        identity: args.identity.identity(),
        nodes: args.nodes,
        data_dir: args.data_dir,
        layout: Layout::new(args.pod_cidr).map_err(Error::Addresses)?,
        all_nodes: false,
        client_ca: None,
    };
    let (context, agent) = parts.start(&shutdown).await?;
    controllers::volume_claims::start(&context, false);
    tracing::info!(cluster = context.identity.cluster, range = %args.pod_cidr, "nodes run");
    shutdown.cancelled().await;
    agent.stop_all().await;
    Ok(())
}

/// What whole miniclusters and nodes of other clusters have in common.
struct Parts {
    config: Config,
    identity: Identity,
    nodes: NodesArgs,
    data_dir: PathBuf,
    layout: Layout,
    all_nodes: bool,
    /// Who issues the certificates of the kubelet API's clients; `None`: the API server tells.
    client_ca: Option<String>,
}

impl Parts {
    async fn start(self, shutdown: &CancellationToken) -> Result<(Arc<Context>, Arc<Agent>), Error> {
        let url = &self.config.cluster_url;
        let server = (
            url.host().unwrap_or("127.0.0.1").to_owned(),
            url.port_u16().unwrap_or(443),
        );
        let rest = client::connect::rest(&self.identity.cluster, self.config);
        let rest = rest.map_err(|source| Error::Client(Box::new(source)))?;
        let context = Context::start(self.identity, rest, shutdown.clone());
        let registry = Registry::start(&context, self.nodes.capacity(), self.layout, self.all_nodes).await;
        registry
            .register(self.nodes.nodes, &self.data_dir)
            .await
            .map_err(Error::Nodes)?;
        let program = std::env::current_exe().map_err(Error::Agent)?;
        let settings = Settings {
            data_dir: self.data_dir,
            program,
            server,
        };
        let agent = Agent::start(&context, &registry, Pool::new(self.layout.pods()), settings);
        let agent = agent.await.map_err(Error::Agent)?;
        let client_ca = match self.client_ca {
            Some(pem) => pem,
            None => published_client_ca(&context.client).await,
        };
        let started = node::start_kubelet(&agent, &registry, &context.client, &client_ca, shutdown);
        started.map_err(Error::Kubelet)?;
        proxy::start(&context, &registry, Pool::new(self.layout.load_balancers())).await;
        scheduler::start(&context);
        tokio::spawn(registry.keep_leases());
        Ok((context, agent))
    }
}

/// The client authority that the API server publishes soon after its start; empty if it does not: then only tokens count.
async fn published_client_ca(client: &Client) -> String {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    for tries in 1..=CLIENT_CA_TRIES {
        let published = api.get("extension-apiserver-authentication").await;
        match published.map(|published| published.data.unwrap_or_default().remove("client-ca-file")) {
            Ok(Some(pem)) => return pem,
            Ok(None) => break,
            Err(error) => tracing::debug!(%error, "the client authority is not published yet"),
        }
        tokio::time::sleep(CLIENT_CA_RETRY.jittered(tries)).await;
    }
    tracing::warn!("it is not known who issues certificates of clients: the kubelet API takes tokens only");
    String::new()
}

fn prepare_dir(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::DataDir {
        path: dir.to_owned(),
        source,
    })
}

fn addresses(args: &ClusterArgs) -> Result<(Layout, Option<Claim>), Error> {
    if let Some(range) = args.pod_cidr {
        return Ok((Layout::new(range).map_err(Error::Addresses)?, None));
    }
    let claim = addresses::claim(&args.data_dir).map_err(Error::Addresses)?;
    Ok((Layout::new(claim.range).map_err(Error::Addresses)?, Some(claim)))
}

#[derive(clap::Parser)]
struct ServerCli {
    #[command(flatten)]
    args: apiserver::Args,
}

fn server_args(args: &ClusterArgs, layout: Layout) -> Result<apiserver::Args, Error> {
    let mut words = vec![
        "apiserver".to_owned(),
        format!("--data-dir={}", args.data_dir.display()),
        format!("--bind-address={}", args.bind_address),
        format!("--secure-port={}", args.secure_port),
        format!("--service-cluster-ip-range={}", layout.services()),
    ];
    let files = [
        ("token-auth-file", &args.token_auth_file),
        ("client-ca-file", &args.client_ca_file),
    ];
    words.extend(
        files
            .iter()
            .filter_map(|(flag, file)| Some(format!("--{flag}={}", file.as_ref()?.display()))),
    );
    Ok(ServerCli::try_parse_from(words).map_err(Error::Flags)?.args)
}

async fn config(path: &Path) -> Result<Config, Error> {
    let failed = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests;
