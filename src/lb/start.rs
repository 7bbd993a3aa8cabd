//! Starting and stopping the process.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use traffic::outlier;

use crate::{
    Args, access_log, control, geo, health,
    metrics::Metrics,
    proxy::affinity::Signer,
    runtime::{Clock, Snapshot},
    serve::{
        Shared, listen,
        worker::{Listening, Worker},
    },
    tls,
    upstream::connect::Connector,
    watch::{self, Reporting},
};

/// How often geo files are looked at.
const GEO_RELOAD: Duration = Duration::from_secs(10);

/// Why the load balancer cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither an API nor a file to serve from.
    #[error("nothing to serve: --kubeconfig or --config-file is needed")]
    NoSource,
    /// The federation API's address or credentials cannot be used.
    #[error("cannot use the federation API")]
    Client {
        /// The cause.
        #[source]
        source: client::connect::Error,
    },
    /// A socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The metrics address cannot be had.
    #[error("cannot listen on {address} for metrics")]
    ListenMetrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A geo file cannot be used.
    #[error("cannot locate clients")]
    Geo {
        /// The cause.
        #[source]
        source: geo::Error,
    },
    /// Certificates cannot be set up.
    #[error("cannot serve TLS")]
    Tls {
        /// The cause.
        #[source]
        source: tls::Error,
    },
    /// TLS to endpoints cannot be set up.
    #[error("cannot set up TLS to endpoints")]
    UpstreamTls {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot write the access log")]
    AccessLog {
        /// The cause.
        #[source]
        source: access_log::Error,
    },
    /// Metrics cannot be registered.
    #[error("cannot register metrics")]
    Metrics {
        /// The cause.
        #[source]
        source: prometheus::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is damaged.
    #[error("{path} is no configuration")]
    Config {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A worker cannot be started.
    #[error("cannot start a worker")]
    Worker {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A load balancer that serves.
#[derive(Debug)]
pub struct Running {
    /// Where HTTP is served.
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub https: Vec<SocketAddr>,
    /// Where metrics and health are served.
    pub metrics: SocketAddr,
    /// What is shared by its workers; for tests and for processes that embed it.
    pub shared: Arc<Shared>,
    workers: Vec<std::thread::JoinHandle<()>>,
    tasks: tokio::task::JoinSet<()>,
}

/// Serves until `shutdown`, then lets requests finish.
///
/// Boxed, so that what it does is compiled here once, and not again in every crate that awaits it.
///
/// # Errors
/// When it cannot start.
pub fn run(args: Args, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let running = start(args).await?;
        shutdown.cancelled().await;
        running.stop().await;
        Ok(())
    })
}

impl Running {
    /// Stops accepting, lets requests finish within the drain time, and ends.
    pub async fn stop(mut self) {
        tracing::info!("stopping: no new connections, finishing requests");
        self.shared.draining.cancel();
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                if worker.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        // Only fails if the runtime itself is going.
        let _ = joined.await;
        self.shared.killed.cancel();
        self.tasks.shutdown().await;
    }
}

/// Starts serving.
///
/// # Errors
/// When a flag's file or address cannot be used.
pub async fn start(args: Args) -> Result<Running, Error> {
    // Another process of this crate graph may have installed it: either is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let telemetry_metrics = telemetry::Metrics::new("lb");
    let metrics = Metrics::new(telemetry_metrics.registry()).map_err(|source| Error::Metrics { source })?;
    let opener =
        access_log::open(&args.access_log, &metrics.log_dropped).map_err(|source| Error::AccessLog { source })?;
    let shared = Arc::new(shared(&args, metrics)?);
    let reader = Source::of(&args, &shared).await?;

    let workers = args
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let tls = tls::server_config(Arc::clone(&shared.certificates)).map_err(|source| Error::Tls { source })?;
    let mut listening: Vec<Vec<Listening>> = (0..workers).map(|_| Vec::new()).collect();
    let http = bind(&args.http_bind_address, None, &mut listening)?;
    let https = bind(&args.https_bind_address, Some(&tls), &mut listening)?;
    let admin = tokio::net::TcpListener::bind(args.metrics_bind_address).await;
    let wrap = |source| Error::ListenMetrics {
        address: args.metrics_bind_address,
        source,
    };
    let admin = admin.map_err(wrap)?;
    let metrics_address = admin.local_addr().map_err(wrap)?;
    tracing::info!(?http, ?https, metrics = %metrics_address, workers, "serving");

    let mut tasks = tokio::task::JoinSet::new();
    let router = telemetry::router(checks(&shared), telemetry_metrics);
    tasks.spawn(async move {
        if let Err(error) = axum::serve(admin, router).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    });
    tasks.spawn(control::run(Arc::clone(&shared)));
    tasks.spawn(health::run(Arc::clone(&shared), args.health()));
    tasks.spawn(reload_geo(Arc::clone(&shared)));
    if let Source::Api(rest) = reader {
        let reporting = Reporting {
            addresses: args.status_addresses(),
        };
        tasks.spawn(watch::run(Arc::clone(&shared), *rest, reporting, args.data_dir.clone()));
    }
    let workers = listening
        .into_iter()
        .enumerate()
        .map(|(index, listeners)| spawn(Worker::new(index, Arc::clone(&shared), opener.handle()), listeners))
        .collect::<Result<_, _>>()?;
    Ok(Running {
        http,
        https,
        metrics: metrics_address,
        shared,
        workers,
        tasks,
    })
}

fn shared(args: &Args, metrics: Metrics) -> Result<Shared, Error> {
    let loaded = geo::Geo::load(
        args.geoip_database.clone(),
        args.client_map.clone(),
        args.local_client_networks,
        args.location,
    );
    let geo = loaded.map_err(|source| Error::Geo { source })?;
    metrics.geo_build_epoch.set(
        geo.build_epoch()
            .and_then(|epoch| i64::try_from(epoch).ok())
            .unwrap_or_default(),
    );
    let key = match &args.affinity_key_file {
        Some(path) => std::fs::read(path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?,
        None => rand::random::<[u8; 32]>().to_vec(),
    };
    Ok(Shared {
        snapshot: ArcSwap::from_pointee(Snapshot::default()),
        clock: Clock::default(),
        metrics,
        geo,
        settings: args.settings(),
        connector: Connector::new().map_err(|source| Error::UpstreamTls { source })?,
        certificates: Arc::new(tls::Certificates::new().map_err(|source| Error::Tls { source })?),
        signer: Signer::new(&key),
        outlier: outlier::Policy::default(),
        replan: tokio::sync::Notify::new(),
        probe_now: tokio::sync::Notify::new(),
        draining: CancellationToken::new(),
        killed: CancellationToken::new(),
    })
}

/// Where the configuration comes from.
enum Source {
    Api(Box<client::Rest>),
    File,
}

impl Source {
    /// Publishes what is known at the start: a file, or what was saved before.
    async fn of(args: &Args, shared: &Shared) -> Result<Self, Error> {
        if let Some(path) = &args.config_file {
            let text = std::fs::read(path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?;
            let objects = serde_json::from_slice(&text).map_err(|source| Error::Config {
                path: path.clone(),
                source,
            })?;
            watch::publish(shared, &objects);
            return Ok(Self::File);
        }
        let kubeconfig = args.kubeconfig.as_deref().ok_or(Error::NoSource)?;
        let rest = client::connect::kubeconfig("federation", kubeconfig, args.context.as_deref()).await;
        let rest = rest.map_err(|source| Error::Client { source })?;
        if let Some(dir) = &args.data_dir {
            match watch::load(dir) {
                Ok(Some(objects)) => {
                    tracing::info!(dir = %dir.display(), "serving the saved configuration until the federation API is read");
                    watch::publish(shared, &objects);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = %crate::chain(&error), "the saved configuration is not used"),
            }
        }
        Ok(Self::Api(Box::new(rest)))
    }
}

fn bind(
    addresses: &[SocketAddr],
    tls: Option<&Arc<rustls::ServerConfig>>,
    listening: &mut [Vec<Listening>],
) -> Result<Vec<SocketAddr>, Error> {
    let mut bound = Vec::new();
    for address in addresses {
        let sockets = listen::listeners(*address, listening.len())?;
        let first = sockets.first().and_then(|socket| socket.local_addr().ok());
        bound.push(first.unwrap_or(*address));
        for (socket, worker) in sockets.into_iter().zip(listening.iter_mut()) {
            worker.push(Listening {
                socket,
                tls: tls.map(Arc::clone),
            });
        }
    }
    Ok(bound)
}

fn spawn(worker: Arc<Worker>, listeners: Vec<Listening>) -> Result<std::thread::JoinHandle<()>, Error> {
    let failed = |source| Error::Worker { source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let thread = std::thread::Builder::new().name(format!("worker-{}", worker.index));
    let serve = move || {
        if let Err(error) = runtime.block_on(worker.run(listeners)) {
            tracing::error!(%error, "a worker cannot serve");
        }
    };
    thread.spawn(serve).map_err(failed)
}

fn checks(shared: &Arc<Shared>) -> telemetry::Health {
    let health = telemetry::Health::new();
    let configured = Arc::clone(shared);
    health.add_readiness("configuration", move || {
        let known = configured.snapshot.load().generation > 0;
        async move {
            if known {
                Ok(())
            } else {
                Err("the federation API has not been read yet".to_owned())
            }
        }
    });
    let draining = shared.draining.clone();
    health.add_readiness("accepting", move || {
        let draining = draining.is_cancelled();
        async move { if draining { Err("stopping".to_owned()) } else { Ok(()) } }
    });
    health
}

async fn reload_geo(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(GEO_RELOAD).await;
        let reloading = Arc::clone(&shared);
        // Verifying a large database takes a while.
        let Ok(reloaded) = tokio::task::spawn_blocking(move || reloading.geo.reload()).await else {
            continue;
        };
        match reloaded {
            Ok(true) => {
                shared.metrics.geo_build_epoch.set(
                    shared
                        .geo
                        .build_epoch()
                        .and_then(|epoch| i64::try_from(epoch).ok())
                        .unwrap_or_default(),
                );
                tracing::info!("geo files reloaded");
            }
            Ok(false) => {}
            Err(error) => {
                shared.metrics.geo_failures.inc();
                tracing::warn!(error = %crate::chain(&error), "a geo file is not used, the old one stays");
            }
        }
    }
}
