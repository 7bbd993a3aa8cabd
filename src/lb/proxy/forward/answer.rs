//! The response: an endpoint's, or a sentence of ours saying why there is none.

use http::{HeaderName, Response, StatusCode, header, request::Parts};

use super::{
    Forwarding,
    attempt::{Answer, AttemptError},
    pending::Pending,
};
use crate::{
    metrics::Refusal,
    model::Affinity,
    proxy::{
        refuse::{self, Refused},
        response::ResponseBody,
        select::Choice,
        ticket::Ticket,
        upgrade,
    },
    runtime::Endpoint,
    upstream::{Failure, body, waits::Verdict},
};

/// Says which cluster answered.
static X_LB_CLUSTER: HeaderName = HeaderName::from_static("x-lb-cluster");

impl Forwarding<'_> {
    pub(super) fn answer(
        &self,
        answer: Answer,
        choice: &Choice,
        pending: Pending,
        mut ticket: Box<Ticket>,
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
                        Err(ticket) => return self.unasked_upgrade(&pending.parts, ticket),
                    }
                } else {
                    ResponseBody::http1(exchange, choice.endpoint.id, ticket)
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
        headers.insert(&X_LB_CLUSTER, self.snapshot.clusters[choice.cluster].header.clone());
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

    fn unasked_upgrade(&self, parts: &Parts, ticket: Box<Ticket>) -> Response<ResponseBody> {
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

    pub(super) fn shed(&self, parts: &Parts, ticket: Box<Ticket>) -> Response<ResponseBody> {
        let message = format!("service {} is at its capacity in all clusters", self.backend.key);
        let refused = Refused {
            retry_after: Some(1),
            ..refuse::unavailable(Refusal::Shed, message)
        };
        refused.respond(&parts.headers, ticket)
    }

    pub(super) fn nobody(&self, parts: &Parts, ticket: Box<Ticket>) -> Response<ResponseBody> {
        let message = format!("service {} has no ready endpoints in any cluster", self.backend.key);
        refuse::unavailable(Refusal::NoBackend, message).respond(&parts.headers, ticket)
    }

    /// The answer when the last attempt failed.
    pub(super) fn failed(
        &self,
        error: &AttemptError,
        endpoint: &Endpoint,
        parts: &Parts,
        mut ticket: Box<Ticket>,
    ) -> Response<ResponseBody> {
        ticket.error = Some(detail(error));
        let refused = match error {
            AttemptError::Exchange {
                failure: Failure::Request { source },
                ..
            } => bad_body(source),
            _ => {
                let (status, refusal, message) = blame(error);
                let message = format!(
                    "an endpoint of service {} in cluster {} {message}",
                    self.backend.key, endpoint.cluster
                );
                Refused {
                    status,
                    ..refuse::unavailable(refusal, message)
                }
            }
        };
        refused.respond(&parts.headers, ticket)
    }
}

/// What is logged of a failure.
fn detail(error: &AttemptError) -> String {
    match error {
        AttemptError::Connect { error, .. } => crate::chain(error),
        AttemptError::Exchange { failure, reused } => {
            let kept = if *reused { " (kept connection)" } else { "" };
            crate::chain(failure) + kept
        }
        AttemptError::Http2 { error, .. } => crate::chain(error),
        AttemptError::Verdict(Verdict::TimedOut) => "timed out".to_owned(),
        AttemptError::Verdict(Verdict::EndpointDead) => "endpoint is dead".to_owned(),
    }
}

/// What a client is told of an endpoint's failure.
fn blame(error: &AttemptError) -> (StatusCode, Refusal, &'static str) {
    match error {
        AttemptError::Connect { .. } => (StatusCode::SERVICE_UNAVAILABLE, Refusal::Upstream, "cannot be reached"),
        AttemptError::Exchange { .. } | AttemptError::Http2 { .. } => {
            (StatusCode::BAD_GATEWAY, Refusal::Upstream, "gave no valid answer")
        }
        AttemptError::Verdict(Verdict::TimedOut) => {
            (StatusCode::GATEWAY_TIMEOUT, Refusal::Timeout, "did not answer in time")
        }
        AttemptError::Verdict(Verdict::EndpointDead) => {
            (StatusCode::BAD_GATEWAY, Refusal::Upstream, "died before it answered")
        }
    }
}

fn bad_body(error: &body::Error) -> Refused {
    let (status, message) = match error {
        body::Error::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the request body arrives too slowly"),
        body::Error::Read { .. } => (StatusCode::BAD_REQUEST, "the request body is malformed or incomplete"),
    };
    Refused {
        status,
        refusal: Refusal::BadRequest,
        message: message.to_owned(),
        close: true,
        retry_after: None,
    }
}
