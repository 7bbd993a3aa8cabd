//! The server: what all requests share, and the way of one request through it.

pub mod listen;
pub mod load;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use apimachinery::{
    duration::{self, DurationError},
    status::Status,
};
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    authn::Credentials,
    discovery::{self, Discovery},
    errors,
    handlers::{self, Context},
    openapi::OpenApi,
    outgoing_tls::OutgoingTls,
    registry::{Registry, write::Warnings},
    reply::{self, Reply},
    request::{Accepted, Format, Query, RequestInfo, body, negotiate::Offer},
};

use load::Load;

/// What all requests share.
pub struct Server {
    /// Kinds and their objects.
    pub registry: Arc<Registry>,
    /// Discovery documents.
    pub discovery: Discovery,
    /// Who clients are, and what they may do.
    pub access: Access,
    /// URL that clients are told.
    pub url: String,
    /// OpenAPI documents.
    pub openapi: OpenApi,
    /// Health checks.
    pub health: telemetry::Health,
    /// Metrics.
    pub metrics: telemetry::Metrics,
    /// Limits and measures of requests.
    pub load: Load,
    /// Cancelled when the server stops: watches end then.
    pub stopping: CancellationToken,
    /// How long a request that is no watch may take.
    pub request_timeout: Duration,
    /// TLS to kubelets and pods.
    pub outgoing_tls: OutgoingTls,
}

/// The Kubernetes version this server speaks as.
pub const GIT_VERSION: &str = "v1.36.2";

impl Server {
    /// Serves one request of a connection.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>, certificates: &[CertificateDer<'static>]) -> Reply {
        let since = Instant::now();
        let (mut parts, incoming) = request.into_parts();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let audit_id = parts.headers.get("audit-id").cloned().unwrap_or_else(new_audit_id);
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
        let credentials = Credentials {
            certificate: certificates.first().map(AsRef::as_ref),
            authorization: parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()),
        };
        let admitted = self.access.admit(credentials, &parts.headers, &info).await;
        let context = Arc::new(Context {
            server: self.clone(),
            method: parts.method,
            info,
            raw_query: parts.uri.query().unwrap_or_default().to_owned(),
            query,
            headers: parts.headers,
            user: admitted.as_ref().ok().cloned().unwrap_or_default(),
            warnings: Warnings::default(),
            now: Timestamp::now(),
            upgrade: Mutex::new(upgrade),
        });
        let reply = match admitted {
            Ok(_) => self.answer(&context, incoming).await,
            Err(status) => refuse(&context, &status),
        };
        self.load.answered(&context, since, &reply);
        let reply = self.load.hold(&context, reply);
        finish(&context, reply, audit_id)
    }

    async fn answer(&self, context: &Arc<Context>, incoming: Incoming) -> Reply {
        let Some(_turn) = self.load.turn(context).await else {
            let status = Status::too_many_requests("too many requests, please try again later", 1);
            return refuse(context, &status);
        };
        let limit = match self.time_for(context) {
            Ok(limit) => limit,
            Err(error) => {
                let text = format!("invalid timeout specified in the request URL - {error}");
                return refuse(context, &errors::bad_request(text));
            }
        };
        let work = AssertUnwindSafe(self.dispatch(context.clone(), incoming)).catch_unwind();
        let result = tokio::time::timeout(limit, work).await;
        match result {
            Ok(Ok(Ok(reply))) => reply,
            Ok(Ok(Err(status))) => refuse(context, &status),
            Ok(Err(_panic)) => {
                tracing::error!(path = context.info.path, "a handler panicked");
                let text = "This request caused apiserver to panic. Look in the logs for details.";
                refuse(context, &errors::internal(text))
            }
            Err(_elapsed) => refuse(context, &timed_out()),
        }
    }

    /// How long a request may take: as long as it asks for, but not longer than any may.
    fn time_for(&self, context: &Context) -> Result<Duration, DurationError> {
        let asked = context.query.text("timeout");
        if asked.is_empty() || load::is_long_running(context) {
            return Ok(self.request_timeout);
        }
        let nanos = u64::try_from(duration::parse_nanos(asked)?).unwrap_or(0);
        let asked = Some(Duration::from_nanos(nanos)).filter(|asked| !asked.is_zero());
        Ok(asked.map_or(self.request_timeout, |asked| asked.min(self.request_timeout)))
    }

    async fn dispatch(&self, context: Arc<Context>, incoming: Incoming) -> Result<Reply, Status> {
        let info = &context.info;
        if info.is_resource {
            if !self.registry.serves(&info.group, &info.version) {
                let known = self.registry.group_versions().iter().any(|gv| gv.group == info.group);
                return if known {
                    Err(crate::errors::unknown_resource())
                } else {
                    Ok(not_found())
                };
            }
            let bytes = if matches!(context.method, Method::GET | Method::HEAD) {
                Bytes::new()
            } else {
                body::read(incoming).await?
            };
            return handlers::serve(context, bytes).await;
        }
        if let Some(answer) = discovery::serve::serve(&context) {
            return answer;
        }
        if let Some((endpoint, single)) = telemetry::Endpoint::parse(info.path.trim_end_matches('/')) {
            let answer = self.health.answer(endpoint, single, &context.raw_query).await;
            return Ok(reply::text(answer.code, answer.body));
        }
        if info.path.starts_with("/openapi/") {
            let answer = self
                .openapi
                .answer(&info.path, Some(&context.raw_query), &context.headers);
            return Ok(answer.map_or_else(not_found, |reply| reply.map(reply::boxed)));
        }
        if let Some(reply) = handlers::reviews::openid(&context) {
            return Ok(reply);
        }
        match info.path.as_str() {
            "/metrics" => Ok(reply::bytes(
                200,
                telemetry::Metrics::CONTENT_TYPE,
                self.metrics.encode(),
            )),
            "/" => Ok(discovery::serve::root(&context)),
            "/version" | "/version/" => version(&context),
            _ => Ok(not_found()),
        }
    }
}

fn not_found() -> Reply {
    reply::text(404, "404 page not found\n")
}

fn version(context: &Context) -> Result<Reply, Status> {
    context.accepted(Offer::Plain).ok();
    let version = json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
        "gitTreeState": "clean",
        "buildDate": "2026-06-01T00:00:00Z",
        "goVersion": "go1.26.0",
        "compiler": "gc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    });
    let content = serde_json::to_vec_pretty(&version).map_err(errors::internal)?;
    Ok(reply::bytes(200, "application/json", content))
}

fn timed_out() -> Status {
    Status::failure(
        504,
        "Timeout",
        "Timeout: request did not complete within the allotted timeout",
    )
    .with_details(apimachinery::status::StatusDetails::default())
}

fn new_audit_id() -> HeaderValue {
    HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("none"))
}

/// An error, in the format the client asked for as far as that goes.
fn refuse(context: &Context, status: &Status) -> Reply {
    let accepted = context.accepted(Offer::Plain);
    // Who accepts no form there is, is answered like a person. `application/*` is one, but not to the router.
    let unreadable = accepted.is_err() && !context.header(header::ACCEPT).contains("application/*");
    let pretty = context.pretty() || unreadable || (status.code == 406 && status.details.is_none());
    let format = accepted.map_or(Format::Json, |accepted: Accepted| accepted.format);
    reply::status(status, format, pretty)
}

/// Adds what every answer has.
fn finish(context: &Context, mut reply: Reply, audit_id: HeaderValue) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static("audit-id"), audit_id);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    add_priority_headers(headers);
    for text in context.warnings.take() {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
    if context.method == Method::HEAD {
        *reply.body_mut() = reply::body(Bytes::new());
    }
    reply
}

/// Clients log which flow schema served them; there is one here.
fn add_priority_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        ("x-kubernetes-pf-flowschema-uid", "c0a9d7a4-27d6-5a3a-8f64-0d4f2a6f0f01"),
        (
            "x-kubernetes-pf-prioritylevel-uid",
            "c0a9d7a4-27d6-5a3a-8f64-0d4f2a6f0f02",
        ),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
