//! How much is served at a time, and what is measured of it.

use std::{
    pin::Pin,
    task::{self, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::Frame;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    handlers::Context,
    reply::{self, Body, BoxError, Reply},
};

/// A request waits this long for its turn before it is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Verbs and subresources that last as long as their client wants.
const LONG_RUNNING: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// Limits and metrics of requests.
pub struct Load {
    reading: Semaphore,
    writing: Semaphore,
    requests: IntCounterVec,
    seconds: HistogramVec,
    inflight: IntGaugeVec,
    long_running: IntGaugeVec,
}

/// A request that is being served.
pub struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    gauge: prometheus::IntGauge,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A body with what is counted while it lasts.
struct Held {
    body: Body,
    _turn: Turn<'static>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Whether a request lasts as long as its client wants.
#[must_use]
pub fn is_long_running(context: &Context) -> bool {
    context.info.is_resource
        && (context.info.verb == "watch" || LONG_RUNNING.contains(&context.info.subresource.as_str()))
}

impl Load {
    /// With limits of requests served at a time; registers its metrics.
    ///
    /// # Errors
    /// If a metric's name or labels are malformed.
    pub fn new(reading: usize, writing: usize, metrics: &telemetry::Metrics) -> Result<Self, prometheus::Error> {
        let of_resource = ["verb", "group", "version", "resource", "subresource"];
        let with_code = [&of_resource[..], &["code"]].concat();
        let load = Self {
            reading: Semaphore::new(reading),
            writing: Semaphore::new(writing),
            requests: IntCounterVec::new(
                Opts::new("apiserver_request_total", "Requests by verb, resource and code"),
                &with_code,
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_request_duration_seconds",
                    "Time to answer a request that is not long-running",
                )
                .buckets(vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0]),
                &of_resource,
            )?,
            inflight: IntGaugeVec::new(
                Opts::new("apiserver_current_inflight_requests", "Requests being served"),
                &["request_kind"],
            )?,
            long_running: IntGaugeVec::new(
                Opts::new("apiserver_longrunning_requests", "Watches, logs and connections"),
                &["verb"],
            )?,
        };
        metrics.register(load.requests.clone());
        metrics.register(load.seconds.clone());
        metrics.register(load.inflight.clone());
        metrics.register(load.long_running.clone());
        Ok(load)
    }

    /// Waits for the request's turn; `None` if it does not come in time.
    pub async fn turn(&self, context: &Context) -> Option<Turn<'_>> {
        if is_long_running(context) || !context.info.is_resource {
            let gauge = self.inflight.with_label_values(&["exempt"]);
            gauge.inc();
            return Some(Turn { _permit: None, gauge });
        }
        let changes = !["get", "list"].contains(&context.info.verb.as_str());
        let (limit, kind) = if changes {
            (&self.writing, "mutating")
        } else {
            (&self.reading, "readOnly")
        };
        // Administrators get through when everything else is stuck.
        let permit = if context.user.in_group(crate::authn::groups::MASTERS) {
            limit.try_acquire().ok()
        } else {
            Some(tokio::time::timeout(LONGEST_WAIT, limit.acquire()).await.ok()?.ok()?)
        };
        let gauge = self.inflight.with_label_values(&[kind]);
        gauge.inc();
        Some(Turn { _permit: permit, gauge })
    }

    /// Counts a request that goes on with its answer's body as long as that lasts.
    #[must_use]
    pub fn hold(&self, context: &Context, reply: Reply) -> Reply {
        if !is_long_running(context) || !reply.status().is_success() {
            return reply;
        }
        let gauge = self.long_running.with_label_values(&[context.info.verb.as_str()]);
        gauge.inc();
        let turn = Turn { _permit: None, gauge };
        reply.map(|body| reply::boxed(Held { body, _turn: turn }))
    }

    /// Counts an answered request.
    pub fn answered(&self, context: &Context, since: Instant, reply: &Reply) {
        let info = &context.info;
        // Only what is served becomes a label: clients must not be able to make up series.
        let known = info.is_resource
            && context
                .server
                .registry
                .resource(&info.group, &info.version, &info.resource)
                .is_some();
        let own = |text: &str| if known { text.to_owned() } else { String::new() };
        let subresource = if reply.status() == http::StatusCode::NOT_FOUND {
            String::new()
        } else {
            own(&info.subresource)
        };
        let labels = [
            own(&info.verb),
            own(&info.group),
            own(&info.version),
            own(&info.resource),
            subresource,
        ];
        let values: Vec<&str> = labels.iter().map(String::as_str).collect();
        let code = reply.status().as_u16().to_string();
        self.requests
            .with_label_values(&[&values[..], &[code.as_str()]].concat())
            .inc();
        if !is_long_running(context) {
            self.seconds
                .with_label_values(&values)
                .observe(since.elapsed().as_secs_f64());
        }
    }
}
