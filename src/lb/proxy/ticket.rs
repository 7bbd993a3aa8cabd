//! What is remembered of a request until its response has gone, then logged and counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Request, Uri, Version, header};
use http_body::Body;

use super::client::Client;
use crate::{
    access_log::Entry,
    runtime::{Backend, Endpoint},
    serve::{conn::Downstream, worker::Worker},
    upstream::body::Progress,
};

/// Status in the log when the client left before there was an answer.
const CLIENT_LEFT: u16 = 499;

/// The record of one request. Dropping it ends the request.
#[derive(Debug)]
pub struct Ticket {
    /// Who serves it.
    pub worker: Arc<Worker>,
    downstream: Arc<Downstream>,
    started: Instant,
    client: Arc<Client>,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    /// X-Request-Id as forwarded.
    pub request_id: Option<HeaderValue>,
    /// Ingress of the route.
    pub route: Option<Arc<str>>,
    /// The backend whose active count it is in.
    backend: Option<Arc<Backend>>,
    /// The endpoint whose in-flight count it is in.
    endpoint: Option<Arc<Endpoint>>,
    /// Whether a retry of the budget is used.
    retrying: bool,
    /// Status of the answer.
    pub status: u16,
    /// Whether the request came with a body.
    has_body: bool,
    /// How much of the body has been taken.
    pub body: Option<Arc<Progress>>,
    /// Bytes of the response body.
    pub sent: u64,
    /// Time to the response's head.
    pub upstream: Option<Duration>,
    /// Attempts after the first.
    pub retries: u32,
    /// What went wrong.
    pub error: Option<String>,
}

impl Ticket {
    /// A request begins. The ticket is handed from hand to hand until the response has gone: boxed, that is cheap.
    pub fn new<B: Body>(downstream: &Arc<Downstream>, request: &Request<B>, client: Arc<Client>) -> Box<Self> {
        let worker = Arc::clone(&downstream.worker);
        worker.shared.metrics.requests_active.inc();
        downstream.begin_request();
        let logged = worker.log.is_on();
        let header = |name| {
            if logged {
                request.headers().get(name).cloned()
            } else {
                None
            }
        };
        Box::new(Self {
            started: Instant::now(),
            client,
            method: request.method().clone(),
            uri: if logged { request.uri().clone() } else { Uri::default() },
            version: request.version(),
            host: header(header::HOST),
            user_agent: header(header::USER_AGENT),
            request_id: None,
            route: None,
            backend: None,
            endpoint: None,
            retrying: false,
            status: CLIENT_LEFT,
            has_body: !request.body().is_end_stream(),
            body: None,
            sent: 0,
            upstream: None,
            retries: 0,
            error: None,
            downstream: Arc::clone(downstream),
            worker,
        })
    }

    fn received(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.received())
    }

    /// It goes to a backend.
    pub fn enter(&mut self, backend: &Arc<Backend>) {
        backend.begin();
        self.backend = Some(Arc::clone(backend));
    }

    /// It goes to an endpoint, instead of the one before.
    pub fn attempt(&mut self, endpoint: &Arc<Endpoint>) {
        self.leave_endpoint();
        endpoint.begin();
        self.endpoint = Some(Arc::clone(endpoint));
    }

    /// It takes a retry out of the backend's budget; false if there is none.
    pub fn take_retry(&mut self) -> bool {
        let Some(backend) = &self.backend else { return false };
        if !self.retrying && !backend.begin_retry() {
            self.worker.shared.metrics.retries_refused.inc();
            return false;
        }
        self.retrying = true;
        true
    }

    fn leave_endpoint(&mut self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.end();
        }
    }

    fn log(&self, duration: Duration) {
        let entry = Entry {
            client: self.client.address_header.to_str().unwrap_or_default(),
            source: self.client.location.source.name(),
            country: self.client.location.country.as_deref(),
            method: self.method.as_str(),
            scheme: if self.downstream.is_tls { "https" } else { "http" },
            host: self
                .uri
                .authority()
                .map(|authority| authority.as_str())
                .or(text(&self.host))
                .unwrap_or_default(),
            path: self.uri.path_and_query().map_or("", |path| path.as_str()),
            protocol: match self.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
            user_agent: text(&self.user_agent),
            request_id: text(&self.request_id),
            route: self.route.as_deref(),
            cluster: self.endpoint.as_ref().map(|endpoint| &*endpoint.cluster),
            endpoint: self.endpoint.as_ref().map(|endpoint| &*endpoint.shown),
            status: self.status,
            received: self.received(),
            sent: self.sent,
            duration,
            upstream: self.upstream,
            retries: self.retries,
            error: self.error.as_deref(),
        };
        self.worker.log.log(jiff::Timestamp::now(), &entry);
    }
}

/// A field as text, if it is.
fn text(value: &Option<HeaderValue>) -> Option<&str> {
    value.as_ref()?.to_str().ok()
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave_endpoint();
        if let Some(backend) = &self.backend {
            backend.end();
            if self.retrying {
                backend.end_retry();
            }
        }
        let body_taken = !self.has_body || self.body.as_ref().is_some_and(|body| body.is_complete());
        self.downstream.end_request(body_taken);
        let duration = self.started.elapsed();
        let metrics = &self.worker.shared.metrics;
        metrics.requests_active.dec();
        metrics.duration.observe(duration.as_secs_f64());
        metrics.sent_bytes.inc_by(self.sent);
        if self.has_body {
            metrics.received_bytes.inc_by(self.received());
        }
        if self.worker.log.is_on() {
            self.log(duration);
        }
    }
}
