//! Metrics, with every handle resolved before requests need it: counting costs an atomic addition.
//!
//! Label values are names of backends and clusters and fixed words; nothing a client sends becomes a label.

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};
use traffic::locate::Source;

/// Buckets of durations in seconds: from what a proxy itself needs to what a client stops waiting for.
const DURATION_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Why the load balancer itself answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request breaks the protocol or a limit.
    BadRequest,
    /// No rule matches.
    NoRoute,
    /// The backend has a problem or no endpoints.
    NoBackend,
    /// All clusters are full.
    Shed,
    /// Endpoints could not be reached or broke the connection.
    Upstream,
    /// An endpoint took too long.
    Timeout,
    /// A redirect to HTTPS.
    Redirect,
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::NoBackend,
        Self::Shed,
        Self::Upstream,
        Self::Timeout,
        Self::Redirect,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NoRoute => "no-route",
            Self::NoBackend => "no-backend",
            Self::Shed => "shed",
            Self::Upstream => "upstream",
            Self::Timeout => "timeout",
            Self::Redirect => "redirect",
        }
    }
}

/// Counters of one backend in one cluster.
#[derive(Debug)]
pub struct MemberCounters {
    /// Responses by class of status: 1xx to 5xx.
    classes: [IntCounter; 5],
    /// Attempts that failed.
    pub failures: IntCounter,
}

impl MemberCounters {
    /// Counts a response.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].inc();
    }
}

/// All metrics of the load balancer.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    responses: IntCounterVec,
    failures: IntCounterVec,
    refusals: Vec<IntCounter>,
    lookups: Vec<IntCounter>,
    /// Seconds from a request's first to its response's last byte.
    pub duration: Histogram,
    /// Requests sent again.
    pub retries: IntCounter,
    /// Requests whose retry the budget refused.
    pub retries_refused: IntCounter,
    /// Connections accepted.
    pub connections: IntCounter,
    /// Connections open.
    pub connections_active: IntGauge,
    /// Requests being served.
    pub requests_active: IntGauge,
    /// Connections opened to endpoints.
    pub upstream_connects: IntCounter,
    /// Requests that went over a kept connection.
    pub upstream_reused: IntCounter,
    /// Bytes to clients.
    pub sent_bytes: IntCounter,
    /// Bytes of request bodies.
    pub received_bytes: IntCounter,
    /// TLS handshakes that failed.
    pub tls_failures: IntCounter,
    /// Lines of the access log that were dropped.
    pub log_dropped: IntCounter,
    /// Generation of the published configuration.
    pub config_generation: IntGauge,
    /// 1 while the federation API is watched, else 0.
    pub config_connected: IntGauge,
    /// Unix time at which the geo database was built.
    pub geo_build_epoch: IntGauge,
    /// Geo databases that were refused.
    pub geo_failures: IntCounter,
    endpoints: IntGaugeVec,
    shares: GaugeVec,
}

/// Registers a metric; a name that is taken or malformed is a mistake of ours, found by any test that makes metrics.
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = made?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl Metrics {
    /// Registers everything with `registry`.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let name = |name: &str| format!("federation_lb_{name}");
        let counter = |metric: &str, help: &str| registered(registry, IntCounter::new(name(metric), help));
        let gauge = |metric: &str, help: &str| registered(registry, IntGauge::new(name(metric), help));
        let counters = |metric: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name(metric), help), labels))
        };
        let refused = counters(
            "refusals_total",
            "Requests the load balancer answered itself, by reason.",
            &["reason"],
        )?;
        let lookups = counters("geo_lookups_total", "Clients located, by source.", &["source"])?;
        let buckets = HistogramOpts::new(
            name("request_duration_seconds"),
            "Time from a request's head to the last byte of its response.",
        )
        .buckets(DURATION_BUCKETS.to_vec());
        Ok(Self {
            registry: registry.clone(),
            responses: counters(
                "responses_total",
                "Responses of endpoints, by backend, cluster and class of status.",
                &["backend", "cluster", "code"],
            )?,
            failures: counters(
                "upstream_failures_total",
                "Attempts that an endpoint did not answer, by backend and cluster.",
                &["backend", "cluster"],
            )?,
            refusals: Refusal::ALL
                .iter()
                .map(|refusal| refused.with_label_values(&[refusal.name()]))
                .collect(),
            lookups: Source::ALL
                .iter()
                .map(|source| lookups.with_label_values(&[source.name()]))
                .collect(),
            duration: registered(registry, Histogram::with_opts(buckets))?,
            retries: counter("retries_total", "Requests sent again, to another cluster or endpoint.")?,
            retries_refused: counter("retries_refused_total", "Retries that the budget did not allow.")?,
            connections: counter("connections_total", "Client connections accepted.")?,
            connections_active: gauge("connections_active", "Client connections open.")?,
            requests_active: gauge("requests_active", "Requests being served.")?,
            upstream_connects: counter("upstream_connects_total", "Connections opened to endpoints.")?,
            upstream_reused: counter("upstream_reused_total", "Requests sent over a kept connection.")?,
            sent_bytes: counter("sent_bytes_total", "Bytes of response bodies sent to clients.")?,
            received_bytes: counter("received_bytes_total", "Bytes of request bodies received from clients.")?,
            tls_failures: counter("tls_handshake_failures_total", "TLS handshakes that failed.")?,
            log_dropped: counter(
                "access_log_dropped_total",
                "Access log lines dropped because the log was not written fast enough.",
            )?,
            config_generation: gauge("config_generation", "Generation of the configuration being served.")?,
            config_connected: gauge(
                "config_connected",
                "1 while every watch of the federation API works, else 0.",
            )?,
            geo_build_epoch: gauge(
                "geo_database_build_epoch_seconds",
                "When the geo database was built, as Unix time; 0 without one.",
            )?,
            geo_failures: counter("geo_database_failures_total", "Geo database files that were refused.")?,
            endpoints: registered(
                registry,
                IntGaugeVec::new(
                    Opts::new(name("endpoints"), "Endpoint addresses by backend, cluster and state."),
                    &["backend", "cluster", "state"],
                ),
            )?,
            shares: registered(
                registry,
                GaugeVec::new(
                    Opts::new(
                        name("traffic_share"),
                        "Part of an origin's requests that a cluster gets; the origin is named by its nearest clusters.",
                    ),
                    &["backend", "origin", "cluster"],
                ),
            )?,
        })
    }

    /// Where they are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counters of a backend in a cluster.
    pub fn member(&self, backend: &str, cluster: &str) -> Arc<MemberCounters> {
        let class = |code| self.responses.with_label_values(&[backend, cluster, code]);
        Arc::new(MemberCounters {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            failures: self.failures.with_label_values(&[backend, cluster]),
        })
    }

    /// Counts an answer of the load balancer's own.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(counter) = Refusal::ALL
            .iter()
            .position(|known| *known == refusal)
            .and_then(|index| self.refusals.get(index))
        {
            counter.inc();
        }
    }

    /// Counts a located client.
    pub fn located(&self, source: Source) {
        if let Some(counter) = self.lookups.get(source.index()) {
            counter.inc();
        }
    }

    /// Forgets the gauges of endpoints and shares before they are set anew.
    pub fn reset_gauges(&self) {
        self.endpoints.reset();
        self.shares.reset();
    }

    /// Endpoint addresses of a backend in a cluster in one state.
    pub fn endpoints(&self, backend: &str, cluster: &str, state: &str) -> IntGauge {
        self.endpoints.with_label_values(&[backend, cluster, state])
    }

    /// A published share.
    pub fn share(&self, backend: &str, origin: &str, cluster: &str) -> Gauge {
        self.shares.with_label_values(&[backend, origin, cluster])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_registered_and_counted() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).expect("names are unique");
        let member = metrics.member("default/web:80", "eu");
        member.responded(204);
        member.responded(999);
        metrics.refused(Refusal::Redirect);
        metrics.located(Source::ConfigurationOrder);
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("text");
        for line in [
            r#"federation_lb_responses_total{backend="default/web:80",cluster="eu",code="2xx"} 1"#,
            r#"federation_lb_responses_total{backend="default/web:80",cluster="eu",code="5xx"} 1"#,
            r#"federation_lb_refusals_total{reason="redirect"} 1"#,
            r#"federation_lb_geo_lookups_total{source="order"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
