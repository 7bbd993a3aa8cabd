//! The federation's controllers: clusters, propagation, services.
//!
//! Every controller is level-triggered: it is woken with a key, looks at what is, and moves it towards what shall be.
//! All of them talk to the federation, to the host cluster and to members through their public APIs only, and any of
//! them may die at any instant: what must survive is in the federation's objects.

mod args;
pub mod cluster;
pub mod hash;
pub mod history;
pub mod members;
pub mod metrics;
pub mod service;
pub mod sync;
#[cfg(test)]
mod testing;
pub mod wake;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use client::{
    Informer, Key, Rest, connect,
    events::Recorder,
    informer::{Change, Scope},
    lease::Election,
    resources::{CLUSTERS, NAMESPACES},
};
use futures::future::BoxFuture;
use planner::availability::Patience;
use telemetry::{Health, Metrics};
use tokio_util::sync::CancellationToken;

pub use args::Args;

const COMPONENT: &str = "federation-controller-manager";
/// Placement starts once every cluster has been probed and its copies listed, but does not wait longer than this for a
/// slow one.
const FIRST_ROUND: Duration = Duration::from_secs(10);

/// Why the controller manager cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client of the federation API.
    #[error("cannot make a client of the federation API")]
    Federation(#[source] connect::Error),
    /// No client of the host cluster.
    #[error("cannot make a client of the host cluster")]
    Host(#[source] connect::Error),
    /// The metrics cannot be served.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A metric has an invalid name.
    #[error("cannot register metrics")]
    Metrics(#[source] prometheus::Error),
}

/// Runs the controllers until `shutdown`, whenever the lease is ours.
///
/// Boxed, so that what it does is compiled here once, and not again in every crate that awaits it.
///
/// # Errors
/// If they cannot start.
pub fn run(args: Args, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(run_here(args, shutdown))
}

async fn run_here(args: Args, shutdown: CancellationToken) -> Result<(), Error> {
    let federation = connect::kubeconfig("federation", &args.kubeconfig, None)
        .await
        .map_err(Error::Federation)?
        .with_timeout(Duration::from_secs(30));
    let host = match (&args.host_kubeconfig, &args.host_credentials_dir) {
        (Some(path), _) => Some(connect::kubeconfig("host", path, None).await.map_err(Error::Host)?),
        (None, Some(dir)) => Some(connect::service_account("host", dir).map_err(Error::Host)?),
        (None, None) => None,
    };
    let (health, metrics) = (Health::new(), Metrics::new(COMPONENT));
    let sync_metrics = metrics::SyncMetrics::new(&metrics).map_err(Error::Metrics)?;
    let probed = federation.clone();
    health.add_readiness("federation", move || {
        let federation = probed.clone();
        async move {
            federation
                .probe("/readyz")
                .await
                .map(drop)
                .map_err(|e| client::error::chain(&e))
        }
    });
    serve(args.metrics_bind_address, health, metrics, shutdown.clone()).await?;

    let lease = Key::new(Some("kube-system"), COMPONENT);
    let election = Election {
        rest: federation.clone(),
        lease: lease.clone(),
        identity: identity(),
    };
    loop {
        if args.leader_elect {
            tracing::info!(%lease, identity = election.identity, "waiting for the lease");
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = election.acquire() => tracing::info!(%lease, "leading"),
            }
        }
        let stop = shutdown.child_token();
        let work = controllers(
            args.clone(),
            federation.clone(),
            host.clone(),
            sync_metrics.clone(),
            stop.clone(),
        );
        let mut work = tokio::spawn(work);
        let lost = async {
            if args.leader_elect {
                election.hold().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = lost => {
                tracing::warn!(%lease, "lost the lease; stopping until it is ours again");
                stop.cancel();
                // A panic of the work has been reported by its own task.
                let _ = work.await;
            }
            _ = &mut work => {
                if args.leader_elect {
                    election.release().await;
                }
                return Ok(());
            }
        }
    }
}

/// Who we are. A pod keeps its identity across restarts of its container, and so its lease.
fn identity() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
        format!("{host}_{:016x}", rand::random::<u64>())
    })
}

async fn serve(
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let wrap = |source| Error::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(wrap)?;
    let bound = listener.local_addr().map_err(wrap)?;
    tracing::info!(address = %bound, "serving metrics and health");
    let server =
        axum::serve(listener, telemetry::router(health, metrics)).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::warn!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

/// The uid of a federation is that of its `kube-system` namespace.
async fn federation_uid(federation: &Rest) -> String {
    let mut failures = 0;
    loop {
        let problem = match federation.get(&NAMESPACES, &Key::from("kube-system")).await {
            Ok(namespace) => match apimachinery::meta::uid(&namespace) {
                "" => "it has no uid".to_owned(),
                uid => return uid.to_owned(),
            },
            Err(error) => client::error::chain(&error),
        };
        failures += 1;
        tracing::warn!(problem, "cannot read the namespace kube-system of the federation");
        tokio::time::sleep(
            client::backoff::Backoff {
                base: Duration::from_millis(100),
                max: Duration::from_secs(5),
            }
            .jittered(failures),
        )
        .await;
    }
}

async fn controllers(
    args: Args,
    federation: Rest,
    host: Option<Rest>,
    metrics: metrics::SyncMetrics,
    stop: CancellationToken,
) {
    let uid = tokio::select! {
        () = stop.cancelled() => return,
        uid = federation_uid(&federation) => uid,
    };
    let wake = Arc::new(wake::Wake::default());
    let members = Arc::new(members::Members::default());
    let recorder = Recorder::start(federation.clone(), COMPONENT, stop.clone());
    let waker = Arc::clone(&wake);
    let clusters = Informer::start(
        federation.clone(),
        Scope::all(CLUSTERS),
        Some,
        move |change: Change<'_, apimachinery::Object>| waker.cluster_changed(&change),
    );
    let concurrency = usize::from(args.concurrent_syncs);
    let engine = sync::Engine::start(sync::Parts {
        federation: federation.clone(),
        uid: uid.clone(),
        clusters: Arc::clone(&clusters.store),
        members: Arc::clone(&members),
        wake: Arc::clone(&wake),
        recorder: recorder.clone(),
        settings: sync::Settings {
            concurrency,
            unschedulable_after: args.pod_unschedulable_after,
            returns_per_second: args.cluster_return_rate,
        },
        metrics,
    });
    let services = service::Services::start(
        federation.clone(),
        Arc::clone(&engine),
        Arc::clone(&clusters.store),
        Arc::clone(&members),
        &wake,
    );
    let history = history::History::new(federation.clone());
    let health = cluster::Clusters::new(cluster::Parts {
        federation,
        host,
        federation_uid: uid,
        store: Arc::clone(&clusters.store),
        members: Arc::clone(&members),
        engine: Arc::clone(&engine),
        wake: Arc::clone(&wake),
        recorder,
        settings: cluster::Settings {
            period: args.cluster_monitor_period,
            threshold: args.cluster_monitor_failure_threshold,
            patience: Patience {
                lost_after: args.cluster_lost_after,
                return_after: args.cluster_return_after,
            },
            namespace: args.federation_system_namespace.clone(),
            timeout: args.member_request_timeout,
        },
    });
    let probing = tokio::spawn(health.run(stop.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        () = clusters.store.synced() => {}
    }
    let known = async {
        while !wake.is_synced()
            || clusters
                .store
                .keys()
                .iter()
                .any(|c| members.availability(c.name()).is_none())
            || !members.are_listed()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Placement without a cluster that is only slow to answer would move its replicas.
    let _ = tokio::time::timeout(FIRST_ROUND, known).await;
    tokio::join!(
        engine.run(stop.clone()),
        services.run(&wake, stop.clone()),
        history.run(&wake, stop.clone()),
    );
    // A panic of the probing has been reported by its own task.
    let _ = probing.await;
    for member in members.all() {
        member.stop.cancel();
    }
}
