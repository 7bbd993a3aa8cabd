//! What all workers share.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::HeaderName;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use traffic::{control::Tuning, outlier};

use crate::{
    geo::Geo,
    metrics::Metrics,
    proxy::affinity::Signer,
    runtime::{Backend, Clock, Endpoint, Snapshot},
    tls::Certificates,
    upstream::connect::Connector,
};

/// Limits and times of serving.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Peers whose X-Forwarded-* and geo headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Peers that must begin with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Header in which trusted peers say where a client is.
    pub geo_header: Option<HeaderName>,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// How long an endpoint may take until its response begins.
    pub response_timeout: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a client's connection may be idle.
    pub idle_timeout: Duration,
    /// How long a connection to an endpoint is kept idle.
    pub upstream_idle_timeout: Duration,
    /// Bytes per second below which a request's body is given up; 0 for none.
    pub least_body_rate: u64,
    /// Bytes a request's head may have.
    pub longest_head: usize,
    /// How long requests may take to finish after the stop.
    pub drain_timeout: Duration,
    /// Smoothing of the control loop.
    pub tuning: Tuning,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            proxy_protocol_from: Vec::new(),
            geo_header: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            upstream_idle_timeout: Duration::from_secs(60),
            least_body_rate: 100,
            longest_head: 64 * 1024,
            drain_timeout: Duration::from_secs(25),
            tuning: Tuning::default(),
        }
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// What is served.
    pub snapshot: ArcSwap<Snapshot>,
    /// Coarse time.
    pub clock: Clock,
    /// Metrics.
    pub metrics: Metrics,
    /// Where clients are.
    pub geo: Geo,
    /// Limits and times.
    pub settings: Settings,
    /// Connections to endpoints.
    pub connector: Connector,
    /// Certificates.
    pub certificates: Arc<Certificates>,
    /// Signs cookies.
    pub signer: Signer,
    /// When answers eject.
    pub outlier: outlier::Policy,
    /// Health changed: plan anew.
    pub replan: Notify,
    /// Endpoints of a cluster fail: probe now instead of at the next interval.
    pub probe_now: Notify,
    /// No more connections are accepted, kept ones are closed when they are idle.
    pub draining: CancellationToken,
    /// What is still open is cut.
    pub killed: CancellationToken,
}

impl Shared {
    /// A connection to an endpoint, begun at `began_ms`, failed. Once is an observation, to be probed at once; after
    /// several in a row no new request goes there until a probe succeeds.
    pub fn connect_failed(&self, endpoint: &Endpoint, began_ms: u64) {
        if endpoint.connect_failed(began_ms, self.clock.now_ms()) {
            tracing::warn!(endpoint = %endpoint.shown, cluster = %endpoint.cluster, "endpoint is unreachable");
            self.replan.notify_one();
        }
        self.suspect();
    }

    /// An endpoint failed a request: endpoints are probed now instead of at the next interval.
    pub fn suspect(&self) {
        self.probe_now.notify_one();
    }

    /// Ejects an endpoint for bad answers, unless too many of its cluster's are already.
    pub fn eject(&self, backend: &Backend, cluster: usize, endpoint: &Endpoint) {
        let Some(member) = backend.members.get(cluster).and_then(Option::as_ref) else {
            return;
        };
        let ejected = member.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
        if ejected < self.outlier.most_ejected(member.endpoints.len()) {
            tracing::warn!(endpoint = %endpoint.shown, cluster = %endpoint.cluster, backend = %backend.key, "endpoint is ejected for its errors");
            endpoint.eject(self.clock.now(), &self.outlier);
            self.replan.notify_one();
        }
    }
}
