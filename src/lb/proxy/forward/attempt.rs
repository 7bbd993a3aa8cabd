//! One attempt: the request goes to one endpoint, and the head of its response is awaited.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use hyper::body::Incoming;

use super::{Forwarding, pending::Pending, retry::Tried};
use crate::{
    model::Protocol,
    proxy::headers::Outgoing,
    runtime::Endpoint,
    upstream::{
        Exchange, Failure, RequestBody, connect,
        exchange::{Connection, Sending},
        head::Head,
        waits::{Verdict, Wait},
    },
};

/// A failed attempt.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// `began_ms`: when connecting began.
    Connect {
        error: connect::Error,
        began_ms: u64,
    },
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
pub(super) enum Answer {
    Http1(Head, Box<Exchange>),
    Http2(Response<Incoming>),
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Http1(head, _) => head.status,
            Self::Http2(response) => response.status(),
        }
    }
}

impl Forwarding<'_> {
    /// One attempt. If it fails and the body is intact, `pending` has it again.
    pub(super) async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        pending: &mut Pending,
        tried: &Tried,
    ) -> Result<Answer, AttemptError> {
        let worker = &self.downstream.worker;
        let settings = &self.backend.settings;
        let connect_limit = settings
            .connect_timeout
            .unwrap_or(worker.shared.settings.connect_timeout);
        if settings.protocol == Protocol::H2c {
            return self.attempt_http2(endpoint, pending, connect_limit, tried).await;
        }
        let metrics = &worker.shared.metrics;
        let connection = match worker.pool.take(endpoint.id) {
            Some(connection) => {
                metrics.upstream_reused.inc();
                connection
            }
            None => {
                let stream = self.connect(worker.shared.connector.stream(endpoint, connect_limit), endpoint);
                Connection::new(stream.await?)
            }
        };
        let body = pending.body.take();
        let sending = pending.sending.map_or(Sending::Plain, |(sending, _)| sending);
        let method = pending.parts.method.clone();
        let mut exchange = Exchange::begin(connection, method, body, sending, |head| self.write_head(head, pending));
        let movable = || self.is_movable(pending, tried, endpoint);
        match self.unless_judged(endpoint, movable, |cx| exchange.poll_head(cx)).await {
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

    /// A connection that came about or not: either is known of the endpoint from then on.
    async fn connect<T>(
        &self,
        connecting: impl Future<Output = Result<T, connect::Error>>,
        endpoint: &Endpoint,
    ) -> Result<T, AttemptError> {
        let shared = &self.downstream.worker.shared;
        let began_ms = shared.clock.now_ms();
        let connected = connecting
            .await
            .map_err(|error| AttemptError::Connect { error, began_ms })?;
        shared.metrics.upstream_connects.inc();
        endpoint.connected();
        Ok(connected)
    }

    /// What a poll comes to, or the verdict on the endpoint if that is given first. The endpoint's death counts only if
    /// the request is `movable`: otherwise waiting is the best that can be done.
    async fn unless_judged<T>(
        &self,
        endpoint: &Arc<Endpoint>,
        movable: impl Fn() -> bool,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Verdict> {
        let worker = &self.downstream.worker;
        let now = worker.shared.clock.now_ms();
        let mut wait = Wait::new(&worker.waits, endpoint, now, self.response_limit_ms());
        poll_fn(|cx| match poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => match wait.pending(cx) {
                Some(Verdict::EndpointDead) if !movable() => {
                    wait.insist();
                    Poll::Pending
                }
                Some(verdict) => Poll::Ready(Err(verdict)),
                None => Poll::Pending,
            },
        })
        .await
    }

    async fn attempt_http2(
        &self,
        endpoint: &Arc<Endpoint>,
        pending: &mut Pending,
        connect_limit: Duration,
        tried: &Tried,
    ) -> Result<Answer, AttemptError> {
        let worker = &self.downstream.worker;
        let mut sender = match worker.pool.shared(endpoint.id) {
            Some(sender) => sender,
            None => {
                let connecting = worker.shared.connector.http2(endpoint, connect_limit);
                let sender = self.connect(connecting, endpoint).await?;
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
        let movable = || self.is_movable(pending, tried, endpoint);
        match self.unless_judged(endpoint, movable, |cx| sent.as_mut().poll(cx)).await {
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

    pub(super) fn response_limit_ms(&self) -> u64 {
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
            traceparent: pending.traceparent.as_ref().map(<[u8; 55]>::as_slice),
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
}
