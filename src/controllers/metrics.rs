//! Metrics of the controllers.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};
use telemetry::Metrics;

/// Counters of the sync controller.
#[derive(Clone)]
pub struct SyncMetrics {
    plans: HistogramVec,
    failures: IntCounterVec,
    writes: IntCounterVec,
}

impl SyncMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is not valid, which is a mistake of ours.
    pub fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
        let plans = HistogramVec::new(
            HistogramOpts::new(
                "federation_plan_duration_seconds",
                "Time to plan a federated object and report on it",
            )
            .buckets(buckets),
            &["kind"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new(
                "federation_plan_failures_total",
                "Plans that failed and are tried again",
            ),
            &["kind"],
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "federation_member_writes_total",
                "Objects written to members, by cluster and result",
            ),
            &["cluster", "result"],
        )?;
        metrics.register(plans.clone());
        metrics.register(failures.clone());
        metrics.register(writes.clone());
        Ok(Self {
            plans,
            failures,
            writes,
        })
    }

    pub(crate) fn planned(&self, kind: &str, took: Duration, failed: bool) {
        self.plans.with_label_values(&[kind]).observe(took.as_secs_f64());
        if failed {
            self.failures.with_label_values(&[kind]).inc();
        }
    }

    pub(crate) fn written(&self, cluster: &str) {
        self.writes.with_label_values(&[cluster, "success"]).inc();
    }

    pub(crate) fn write_failed(&self, cluster: &str) {
        self.writes.with_label_values(&[cluster, "error"]).inc();
    }
}
