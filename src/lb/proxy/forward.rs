//! Forwarding a request: attempts, retries, the answer.

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use traffic::retry::{self, Decision, FailureOrigin, Replay, RetryClass};

use super::{
    check,
    client::Client,
    headers::{self, Outgoing, hex},
    refuse::{self, Refused},
    response::ResponseBody,
    select::{Choice, First},
    ticket::Ticket,
    upgrade::{self, Upgrade},
};
use crate::{
    metrics::Refusal,
    model::{Affinity, Protocol},
    runtime::{Backend, Endpoint, Snapshot},
    serve::conn::Downstream,
    upstream::{
        Exchange, Failure, RequestBody, connect,
        exchange::{Connection, Sending},
        head::Head,
        waits::{Verdict, Wait},
    },
};

/// Attempts for one request, the first one included.
const MOST_ATTEMPTS: u32 = 3;
/// How long the first chunk of a chunked body is waited for before the request is sent without having seen it.
const FIRST_CHUNK: Duration = Duration::from_secs(1);

/// What forwarding needs to know.
pub struct Forwarding<'a> {
    /// The client's connection.
    pub downstream: &'a Arc<Downstream>,
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The service port.
    pub backend: Arc<Backend>,
    /// The client.
    pub client: Arc<Client>,
    /// Whether the peer may speak for others.
    pub trusted: bool,
    /// Host the request was routed by.
    pub host: &'a str,
}

/// A failed attempt.
#[derive(Debug)]
enum AttemptError {
    Connect(connect::Error),
    /// `reused`: the connection had carried another request before.
    Exchange {
        failure: Failure,
        reused: bool,
    },
    Http2 {
        error: hyper::Error,
        sent: bool,
    },
    Verdict(Verdict),
}

/// An endpoint's answer.
enum Answer {
    Http1(Head, Box<Exchange>),
    Http2(Response<Incoming>),
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Self::Http1(head, _) => head.status,
            Self::Http2(response) => response.status(),
        }
    }
}

/// The request, taken apart, through all its attempts.
struct Pending {
    parts: Parts,
    body: Option<RequestBody>,
    has_body: bool,
    sending: Option<(Sending, u64)>,
    upgrade: Option<Upgrade>,
    request_id: HeaderValue,
    traceparent: Option<String>,
}

impl Forwarding<'_> {
    /// Forwards a request and answers it.
    pub async fn run(&self, mut request: Request<Incoming>, mut ticket: Ticket) -> Response<ResponseBody> {
        let upgrade = upgrade::wanted(&mut request);
        let (parts, incoming) = request.into_parts();
        let mut pending = self.pending(parts, incoming, upgrade);
        ticket.received = pending.body.as_ref().map(RequestBody::received);
        ticket.request_id = Some(pending.request_id.clone());
        ticket.enter(&self.backend);
        if let Err(refused) = first_chunk(&mut pending).await {
            return refused.respond(&pending.parts.headers, ticket);
        }
        let random = rand::random();
        let sticky = self.sticky(&pending.parts);
        let mut choice = match self.first(random, sticky.clone()) {
            First::Chosen(choice) => choice,
            First::Shed => return self.shed(&pending.parts, ticket),
            First::Nobody => return self.nobody(&pending.parts, ticket),
        };
        let mut tried = Vec::new();
        loop {
            ticket.attempt(&choice.endpoint);
            tried.push(choice.cluster);
            let began = Instant::now();
            let attempted = self.attempt(&choice.endpoint, &mut pending).await;
            let (origin, class) = self.note(&choice, &attempted, began.elapsed());
            let Some(next) = self.decide(origin, class, &pending, &tried, &choice, &mut ticket) else {
                return match attempted {
                    Ok(answer) => {
                        ticket.upstream = Some(began.elapsed());
                        let set_cookie = sticky.is_none_or(|sticky| sticky.endpoint.id != choice.endpoint.id);
                        self.answer(answer, &choice, pending, ticket, set_cookie)
                    }
                    Err(error) => self.failed(&error, &choice.endpoint, &pending.parts, ticket),
                };
            };
            choice = next;
        }
    }

    fn pending(&self, parts: Parts, incoming: Incoming, upgrade: Option<Upgrade>) -> Pending {
        let has_body = !incoming.is_end_stream();
        // An HTTP/2 stream may stay open for hours without a byte; over HTTP/1.1 a slow body holds a connection.
        let least_rate = if parts.version == Version::HTTP_2 {
            0
        } else {
            self.downstream.worker.shared.settings.least_body_rate
        };
        let sending = has_body.then(|| {
            incoming
                .size_hint()
                .exact()
                .map_or((Sending::Chunked, 0), |length| (Sending::Plain, length))
        });
        let ids: [u8; 24] = rand::random();
        let request_id = headers::given_request_id(&parts.headers, self.trusted)
            .or_else(|| HeaderValue::try_from(hex(&ids[..16])).ok())
            .unwrap_or_else(|| HeaderValue::from_static("-"));
        let traceparent = (!headers::has_traceparent(&parts.headers))
            .then(|| format!("00-{}-{}-00", hex(&ids[..16]), hex(&ids[16..])));
        Pending {
            body: has_body.then(|| RequestBody::new(incoming, least_rate)),
            has_body,
            sending,
            upgrade,
            request_id,
            traceparent,
            parts,
        }
    }

    fn sticky(&self, parts: &Parts) -> Option<Choice> {
        if self.backend.settings.affinity != Affinity::Cookie {
            return None;
        }
        let found = self
            .downstream
            .worker
            .shared
            .signer
            .find(&parts.headers, self.snapshot, &self.backend.members);
        found.map(|(cluster, endpoint)| Choice {
            cluster,
            endpoint: Arc::clone(endpoint),
        })
    }

    /// One attempt. If it fails and the body is intact, `pending` has it again.
    async fn attempt(&self, endpoint: &Arc<Endpoint>, pending: &mut Pending) -> Result<Answer, AttemptError> {
        let worker = &self.downstream.worker;
        let settings = &self.backend.settings;
        let connect_limit = settings
            .connect_timeout
            .unwrap_or(worker.shared.settings.connect_timeout);
        if settings.protocol == Protocol::H2c {
            return self.attempt_http2(endpoint, pending, connect_limit).await;
        }
        let metrics = &worker.shared.metrics;
        let connection = match worker.pool.take(endpoint.id) {
            Some(connection) => {
                metrics.upstream_reused.inc();
                connection
            }
            None => {
                let stream = worker
                    .shared
                    .connector
                    .stream(endpoint, connect_limit)
                    .await
                    .map_err(AttemptError::Connect)?;
                metrics.upstream_connects.inc();
                Connection::new(stream)
            }
        };
        let body = pending.body.take();
        let sending = pending.sending.map_or(Sending::Plain, |(sending, _)| sending);
        let method = pending.parts.method.clone();
        let mut exchange = Exchange::begin(connection, method, body, sending, |head| self.write_head(head, pending));
        let mut wait = Wait::new(
            &worker.waits,
            endpoint,
            worker.shared.clock.now_ms(),
            self.response_limit_ms(),
        );
        let result = poll_fn(|cx| match exchange.poll_head(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => wait
                .pending(cx)
                .map_or(Poll::Pending, |verdict| Poll::Ready(Err(verdict))),
        })
        .await;
        match result {
            Ok(Ok(head)) => Ok(Answer::Http1(head, Box::new(exchange))),
            Ok(Err(failure)) => {
                let reused = exchange.reused();
                pending.body = exchange.into_intact_body();
                Err(AttemptError::Exchange { failure, reused })
            }
            Err(verdict) => {
                pending.body = exchange.into_intact_body();
                Err(AttemptError::Verdict(verdict))
            }
        }
    }

    async fn attempt_http2(
        &self,
        endpoint: &Arc<Endpoint>,
        pending: &mut Pending,
        connect_limit: Duration,
    ) -> Result<Answer, AttemptError> {
        let worker = &self.downstream.worker;
        let mut sender = match worker.pool.shared(endpoint.id) {
            Some(sender) => sender,
            None => {
                let sender = worker
                    .shared
                    .connector
                    .http2(endpoint, connect_limit)
                    .await
                    .map_err(AttemptError::Connect)?;
                worker.shared.metrics.upstream_connects.inc();
                worker.pool.share(endpoint.id, sender.clone());
                sender
            }
        };
        let mut request = Request::new(pending.body.take().unwrap_or_else(RequestBody::empty));
        *request.method_mut() = pending.parts.method.clone();
        *request.version_mut() = Version::HTTP_2;
        let path = pending.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.original_host(&pending.parts);
        if let Ok(uri) = http::Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(path)
            .build()
        {
            *request.uri_mut() = uri;
        }
        self.outgoing(pending, true).emit(|name, value| {
            if let (Ok(name), Ok(value)) = (
                header::HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            ) {
                request.headers_mut().append(name, value);
            }
        });
        let mut sent = std::pin::pin!(sender.try_send_request(request));
        let mut wait = Wait::new(
            &worker.waits,
            endpoint,
            worker.shared.clock.now_ms(),
            self.response_limit_ms(),
        );
        let result = poll_fn(|cx| match sent.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => wait
                .pending(cx)
                .map_or(Poll::Pending, |verdict| Poll::Ready(Err(verdict))),
        })
        .await;
        match result {
            Ok(Ok(response)) => Ok(Answer::Http2(response)),
            Ok(Err(mut failed)) => {
                let returned = failed.take_message().map(Request::into_body);
                let sent = returned.is_none();
                pending.body = returned.filter(|_| pending.has_body);
                Err(AttemptError::Http2 {
                    error: failed.into_error(),
                    sent,
                })
            }
            Err(verdict) => Err(AttemptError::Verdict(verdict)),
        }
    }

    fn response_limit_ms(&self) -> u64 {
        let limit = self
            .backend
            .settings
            .response_timeout
            .unwrap_or(self.downstream.worker.shared.settings.response_timeout);
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
    }

    /// The host as the client wrote it: endpoints must see the same name and port.
    fn original_host<'r>(&'r self, parts: &'r Parts) -> &'r str {
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        let field = || parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        authority.or_else(field).unwrap_or(self.host)
    }

    fn outgoing<'r>(&'r self, pending: &'r Pending, http2: bool) -> Outgoing<'r> {
        Outgoing {
            headers: &pending.parts.headers,
            client: &self.client,
            trusted: self.trusted,
            peer: &self.downstream.peer_text,
            scheme: if self.downstream.is_tls { "https" } else { "http" },
            host: self.original_host(&pending.parts),
            request_id: pending.request_id.to_str().unwrap_or_default(),
            traceparent: pending.traceparent.as_deref(),
            upgrade: pending.upgrade.as_ref().map(|upgrade| &upgrade.protocol),
            body: pending.sending,
            http2,
        }
    }

    fn write_head(&self, head: &mut Vec<u8>, pending: &Pending) {
        head.extend_from_slice(pending.parts.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(
            pending
                .parts
                .uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .as_bytes(),
        );
        head.extend_from_slice(b" HTTP/1.1\r\n");
        self.outgoing(pending, false).emit(|name, value| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        });
        head.extend_from_slice(b"\r\n");
    }

    /// Lets the endpoint's record know what happened, and says what kind of failure it was.
    fn note(
        &self,
        choice: &Choice,
        attempted: &Result<Answer, AttemptError>,
        took: Duration,
    ) -> (FailureOrigin, RetryClass) {
        let shared = &self.downstream.worker.shared;
        let endpoint = &choice.endpoint;
        let counters = self.member(choice.cluster).map(|member| &member.counters);
        match attempted {
            Ok(answer) => {
                let status = answer.status();
                if let Some(counters) = counters {
                    counters.responded(status.as_u16());
                }
                if endpoint.answered(shared.clock.now_ms(), took, status.is_server_error(), &shared.outlier) {
                    shared.eject(&self.backend, choice.cluster, endpoint);
                }
                let class = if status == StatusCode::SERVICE_UNAVAILABLE {
                    RetryClass::NotYetSent
                } else {
                    RetryClass::Never
                };
                return (FailureOrigin::Upstream, class);
            }
            Err(_) => {
                if let Some(counters) = counters {
                    counters.failures.inc();
                }
            }
        }
        let Err(error) = attempted else {
            return (FailureOrigin::Internal, RetryClass::Never);
        };
        match error {
            AttemptError::Connect(_) => {
                shared.unreachable(endpoint);
                (FailureOrigin::Upstream, RetryClass::NotYetSent)
            }
            AttemptError::Exchange {
                failure: Failure::Request { .. },
                ..
            } => (FailureOrigin::Downstream, RetryClass::Never),
            AttemptError::Exchange {
                failure: Failure::Closed { answered: false, .. },
                ..
            } => {
                // The other connections are as likely to be dead.
                self.downstream.worker.pool.clear(endpoint.id);
                shared.suspect(endpoint);
                (FailureOrigin::Upstream, RetryClass::ReusedConnection)
            }
            AttemptError::Exchange { .. } => (FailureOrigin::Upstream, RetryClass::Never),
            AttemptError::Http2 { sent: false, .. } => (FailureOrigin::Upstream, RetryClass::NotYetSent),
            AttemptError::Http2 { sent: true, .. } => {
                shared.suspect(endpoint);
                (FailureOrigin::Upstream, RetryClass::ReusedConnection)
            }
            AttemptError::Verdict(Verdict::EndpointFailed) => (FailureOrigin::Upstream, RetryClass::ReusedConnection),
            AttemptError::Verdict(Verdict::TimedOut) => {
                shared.suspect(endpoint);
                (FailureOrigin::Upstream, RetryClass::Never)
            }
        }
    }

    /// Where to try again, if at all.
    fn decide(
        &self,
        origin: FailureOrigin,
        class: RetryClass,
        pending: &Pending,
        tried: &[usize],
        choice: &Choice,
        ticket: &mut Ticket,
    ) -> Option<Choice> {
        let replay = Replay {
            body_intact: pending.has_body == pending.body.is_some(),
            idempotent: pending.parts.method.is_idempotent(),
        };
        let attempts_left = ticket.retries + 1 < MOST_ATTEMPTS;
        if retry::decide(origin, class, replay, attempts_left, true) == Decision::GiveUp {
            return None;
        }
        let order = self.client.origin.as_ref()?;
        let next = self.next(order, tried, Some(choice.endpoint.id), rand::random())?;
        if !ticket.retry() {
            return None;
        }
        ticket.retries += 1;
        ticket.worker.shared.metrics.retries.inc();
        Some(next)
    }

    fn answer(
        &self,
        answer: Answer,
        choice: &Choice,
        pending: Pending,
        mut ticket: Ticket,
        set_cookie: bool,
    ) -> Response<ResponseBody> {
        ticket.status = answer.status().as_u16();
        let (mut head, body) = match answer {
            Answer::Http1(head, exchange) => {
                let mut response = Response::new(());
                *response.status_mut() = head.status;
                *response.headers_mut() = head.headers;
                let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
                    match upgrade::tunnel(pending.upgrade, *exchange, &mut response, ticket) {
                        Ok(body) => body,
                        Err(ticket) => return self.unasked_upgrade(&pending.parts, *ticket),
                    }
                } else {
                    ResponseBody::http1(*exchange, Arc::clone(&choice.endpoint), ticket)
                };
                (response, body)
            }
            Answer::Http2(response) => {
                let (parts, incoming) = response.into_parts();
                let mut response = Response::new(());
                *response.status_mut() = parts.status;
                *response.headers_mut() = parts.headers;
                (response, ResponseBody::http2(incoming, ticket))
            }
        };
        let headers = head.headers_mut();
        headers.insert("x-lb-cluster", self.snapshot.clusters[choice.cluster].header.clone());
        if self.backend.settings.affinity == Affinity::Cookie && set_cookie {
            let cookie = self
                .downstream
                .worker
                .shared
                .signer
                .set_cookie(&choice.endpoint, self.downstream.is_tls);
            if let Some(cookie) = cookie {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        head.map(|()| body)
    }

    fn unasked_upgrade(&self, parts: &Parts, ticket: Ticket) -> Response<ResponseBody> {
        let message = format!(
            "an endpoint of {} switched protocols without being asked",
            self.backend.key
        );
        let refused = Refused {
            status: StatusCode::BAD_GATEWAY,
            ..refuse::unavailable(Refusal::Upstream, message)
        };
        refused.respond(&parts.headers, ticket)
    }

    fn shed(&self, parts: &Parts, ticket: Ticket) -> Response<ResponseBody> {
        let message = format!("service {} is at its capacity in all clusters", self.backend.key);
        let refused = Refused {
            retry_after: Some(1),
            ..refuse::unavailable(Refusal::Shed, message)
        };
        refused.respond(&parts.headers, ticket)
    }

    fn nobody(&self, parts: &Parts, ticket: Ticket) -> Response<ResponseBody> {
        let message = format!("service {} has no ready endpoints in any cluster", self.backend.key);
        refuse::unavailable(Refusal::NoBackend, message).respond(&parts.headers, ticket)
    }

    fn failed(
        &self,
        error: &AttemptError,
        endpoint: &Endpoint,
        parts: &Parts,
        mut ticket: Ticket,
    ) -> Response<ResponseBody> {
        let (status, refusal, message, detail) = match error {
            AttemptError::Connect(error) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Upstream,
                "cannot be reached",
                crate::chain(error),
            ),
            AttemptError::Exchange {
                failure: failure @ Failure::Request { source },
                ..
            } => {
                let (status, message) = match source {
                    crate::upstream::body::Error::TooSlow => {
                        (StatusCode::REQUEST_TIMEOUT, "the request body arrives too slowly")
                    }
                    crate::upstream::body::Error::Read { .. } => {
                        (StatusCode::BAD_REQUEST, "the request body is malformed or incomplete")
                    }
                };
                ticket.error = Some(crate::chain(failure));
                let refused = Refused {
                    status,
                    refusal: Refusal::BadRequest,
                    message: message.to_owned(),
                    close: true,
                    retry_after: None,
                };
                return refused.respond(&parts.headers, ticket);
            }
            AttemptError::Exchange { failure, reused } => {
                let kept = if *reused { " (kept connection)" } else { "" };
                (
                    StatusCode::BAD_GATEWAY,
                    Refusal::Upstream,
                    "gave no valid answer",
                    crate::chain(failure) + kept,
                )
            }
            AttemptError::Http2 { error, .. } => (
                StatusCode::BAD_GATEWAY,
                Refusal::Upstream,
                "gave no valid answer",
                crate::chain(error),
            ),
            AttemptError::Verdict(Verdict::TimedOut) => (
                StatusCode::GATEWAY_TIMEOUT,
                Refusal::Timeout,
                "did not answer in time",
                "timed out".to_owned(),
            ),
            AttemptError::Verdict(Verdict::EndpointFailed) => (
                StatusCode::BAD_GATEWAY,
                Refusal::Upstream,
                "failed while it was answering",
                "endpoint failed".to_owned(),
            ),
        };
        ticket.error = Some(detail);
        let message = format!(
            "an endpoint of service {} in cluster {} {message}",
            self.backend.key, endpoint.cluster
        );
        let refused = Refused {
            status,
            ..refuse::unavailable(refusal, message)
        };
        refused.respond(&parts.headers, ticket)
    }
}

/// Sees the first chunk of a chunked body, so that a malformed one is answered here and nothing reaches an endpoint.
async fn first_chunk(pending: &mut Pending) -> Result<(), Refused> {
    if pending.parts.version == Version::HTTP_2 || !check::is_chunked(&pending.parts.headers) {
        return Ok(());
    }
    let Some(body) = pending.body.as_mut() else {
        return Ok(());
    };
    // A client that waits for the response before it sends gets its way after a while.
    match tokio::time::timeout(FIRST_CHUNK, poll_fn(|cx| body.poll_first(cx))).await {
        Ok(Err(_)) => Err(Refused {
            status: StatusCode::BAD_REQUEST,
            refusal: Refusal::BadRequest,
            message: "the request body is malformed".to_owned(),
            close: true,
            retry_after: None,
        }),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}
