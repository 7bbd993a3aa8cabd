//! A generic Kubernetes API server library.
//!
//! It serves the kinds of the `api` crate out of a `storage` engine, so that no client can tell it from
//! kube-apiserver: the federation API and every minicluster are this library with another [`Profile`].
//!
//! A request comes in through [`server`], is read by [`request`], served by one of [`handlers`] on top of the
//! [`registry`], and leaves through [`reply`].

pub mod access;
pub mod admission;
mod args;
pub mod authn;
pub mod authz;
mod bootstrap;
pub mod discovery;
pub mod errors;
mod fieldmanager;
pub mod handlers;
mod kubeconfig;
mod lifecycle;
pub mod openapi;
mod outgoing_tls;
pub mod patch;
pub mod pki;
pub mod registry;
pub mod reply;
pub mod request;
pub mod server;
pub mod table;
mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use api::Profile;
pub use args::{Args, PortRange};
use futures::future::BoxFuture;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use admission::allocator::Allocator;
use registry::Registry;
use server::{Server, load::Load};

/// How often old revisions of etcd are compacted, as kube-apiserver does.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Why a server does not start.
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
    /// No store.
    #[error("cannot open the store")]
    Storage(#[source] storage::embedded::OpenError),
    /// etcd cannot be used.
    #[error("cannot set up the connection to etcd")]
    Etcd(#[source] storage::etcd::ConnectError),
    /// No TLS.
    #[error("cannot set up keys and certificates")]
    Pki(#[source] tls::Error),
    /// Nobody can be let in.
    #[error("cannot set up authentication and authorization")]
    Access(#[source] access::Error),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first objects cannot be made.
    #[error("cannot create the objects every cluster has")]
    Bootstrap(#[source] apimachinery::status::Status),
    /// A metric is malformed.
    #[error("cannot set up metrics")]
    Metrics(#[source] prometheus::Error),
    /// The kubeconfig cannot be written.
    #[error("cannot write the kubeconfig of the administrator")]
    Kubeconfig(#[source] pki::Error),
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its URL.
    pub url: String,
    /// Kubeconfig of its administrator.
    pub admin_kubeconfig: PathBuf,
    /// CA that clients verify it with.
    pub ca_pem: String,
    /// Who issues the certificates of its clients, and the one that it shows to kubelets: a bundle.
    pub client_ca_pem: String,
    /// The server itself, for processes that embed it.
    pub server: Arc<Server>,
    /// Ends when the server has stopped.
    pub done: JoinHandle<()>,
}

/// Starts a server; it runs until `shutdown` is cancelled.
///
/// Boxed, so that what it does is compiled here once, and not again in every crate that awaits it.
///
/// # Errors
/// If it cannot listen, or its data directory, keys or store cannot be used.
pub fn start(args: Args, profile: Profile, shutdown: CancellationToken) -> BoxFuture<'static, Result<Running, Error>> {
    Box::pin(start_here(args, profile, shutdown))
}

async fn start_here(args: Args, profile: Profile, shutdown: CancellationToken) -> Result<Running, Error> {
    let data_dir = args.data_dir.clone();
    std::fs::create_dir_all(&data_dir).map_err(|source| Error::DataDir {
        path: data_dir.clone(),
        source,
    })?;
    let storage = open_storage(&args)?;
    let health = health(&storage, &shutdown);
    let allocator = (profile == Profile::Member).then(|| {
        Arc::new(Allocator::new(
            args.service_cluster_ip_range,
            args.service_node_port_range,
        ))
    });
    let service_addresses: Vec<String> = allocator.iter().map(|a| a.first().to_string()).collect();
    let tls = tls::prepare(&args, &service_addresses).map_err(Error::Pki)?;
    let outgoing_tls = outgoing_tls::OutgoingTls::new(&tls.kubelet_client).map_err(Error::Pki)?;
    let mut registry = Registry::new(storage, &args.etcd_prefix, profile, args.event_ttl, allocator);
    registry.admits_accounts &= !args
        .disable_admission_plugins
        .contains(&args::SERVICE_ACCOUNT.to_owned());
    let registry = Arc::new(registry);
    bootstrap::namespaces(&registry).await.map_err(Error::Bootstrap)?;
    let tasks = TaskTracker::new();
    let access = access::Access::start(&args, &registry, &tasks, &shutdown).await;
    let access = access.map_err(Error::Access)?;
    tasks.close();
    let wanted = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = TcpListener::bind(wanted).await.map_err(|source| Error::Listen {
        address: wanted,
        source,
    })?;
    let address = listener.local_addr().map_err(|source| Error::Listen {
        address: wanted,
        source,
    })?;
    let url = format!("https://{}", reachable(&args, address));
    if profile == Profile::Member {
        let ip = advertised(&args, address);
        bootstrap::kubernetes_service(&registry, ip, address.port())
            .await
            .map_err(Error::Bootstrap)?;
    }
    let admin_kubeconfig = data_dir.join("admin.kubeconfig");
    let text = kubeconfig::admin("federation", &url, &tls.ca_pem, &tls.admin.cert_pem, &tls.admin.key_pem);
    pki::write_private(&admin_kubeconfig, text.as_bytes()).map_err(Error::Kubeconfig)?;
    let discovery = discovery::Discovery::new(&registry, &reachable(&args, address));
    let metrics = telemetry::Metrics::new("apiserver");
    let load = Load::new(
        args.max_requests_inflight,
        args.max_mutating_requests_inflight,
        &metrics,
    );
    let load = load.map_err(Error::Metrics)?;
    let server = Arc::new(Server {
        registry,
        discovery,
        openapi: openapi::OpenApi::new(openapi_resources(profile), "v1.36.2"),
        health,
        load,
        metrics,
        access,
        url: url.clone(),
        stopping: shutdown,
        request_timeout: args.request_timeout,
        outgoing_tls,
    });
    tracing::info!(address = %address, url, kubeconfig = %admin_kubeconfig.display(), "apiserver listens");
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config);
    let lifecycle = lifecycle::start(&server.registry, &tls.ca_pem, &server.stopping);
    let serving = server::listen::run(server.clone(), listener, acceptor, args.shutdown_grace_period);
    let done = tokio::spawn(async move {
        serving.await;
        lifecycle.wait().await;
        tasks.wait().await;
    });
    Ok(Running {
        address,
        url,
        admin_kubeconfig,
        ca_pem: tls.ca_pem,
        client_ca_pem: tls.client_ca_pem,
        server,
        done,
    })
}

fn openapi_resources(profile: Profile) -> Vec<openapi::Resource> {
    let known = |def: &&api::KindDef| {
        apimachinery::schema::Schema::global()
            .type_by_name(def.type_name)
            .is_some()
    };
    api::kinds::of_profile(profile)
        .filter(known)
        .flat_map(openapi::resources_of)
        .collect()
}

/// etcd where `--etcd-servers` says, else the embedded store in the data directory.
fn open_storage(args: &Args) -> Result<Arc<dyn storage::Storage>, Error> {
    if args.etcd_servers.is_empty() {
        return storage::embedded::open(&args.data_dir.join("store")).map_err(Error::Storage);
    }
    let options = storage::etcd::Options {
        servers: args.etcd_servers.clone(),
        ca_file: args.etcd_cafile.clone(),
        cert_file: args.etcd_certfile.clone(),
        key_file: args.etcd_keyfile.clone(),
        compaction_interval: COMPACTION_INTERVAL,
    };
    storage::etcd::connect(&options).map_err(Error::Etcd)
}

/// The checks of kube-apiserver that mean something here.
fn health(storage: &Arc<dyn storage::Storage>, shutdown: &CancellationToken) -> telemetry::Health {
    let health = telemetry::Health::new();
    health.add("log", || async { Ok(()) });
    let store = storage.clone();
    health.add("etcd", move || {
        let store = store.clone();
        async move { store.check().await.map_err(|error| errors::chain(&error)) }
    });
    let stopping = shutdown.clone();
    health.add_readiness("shutdown", move || {
        let stopping = stopping.is_cancelled();
        async move {
            if stopping {
                Err("process is shutting down".to_owned())
            } else {
                Ok(())
            }
        }
    });
    health
}

/// Address that clients are told.
fn advertised(args: &Args, address: SocketAddr) -> IpAddr {
    args.advertise_address.unwrap_or(match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    })
}

/// Host and port that clients are told.
fn reachable(args: &Args, address: SocketAddr) -> String {
    args.external_hostname.as_ref().map_or_else(
        || SocketAddr::new(advertised(args, address), address.port()).to_string(),
        |host| format!("{host}:{}", address.port()),
    )
}

/// `federation apiserver`: serves the federation API until `shutdown` is cancelled.
///
/// # Errors
/// If it cannot start.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    let running = start(args, Profile::Federation, shutdown).await?;
    let _ = running.done.await;
    Ok(())
}
