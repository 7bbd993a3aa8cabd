//! Answers of the load balancer's own: short, in the form the client asked for, saying what and where.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{response::ResponseBody, ticket::Ticket};
use crate::{
    metrics::Refusal,
    model::{Problem, explain},
    runtime::Backend,
};

/// An answer that is not an endpoint's.
#[derive(Debug)]
pub struct Refused {
    /// Status.
    pub status: StatusCode,
    /// What is counted and named in `X-LB-Error`.
    pub refusal: Refusal,
    /// One sentence for people.
    pub message: String,
    /// The connection cannot be used any further.
    pub close: bool,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
}

impl Refused {
    /// The response; `asked` are the request's headers.
    pub fn respond(self, asked: &HeaderMap, mut ticket: Box<Ticket>) -> Response<ResponseBody> {
        ticket.worker.shared.metrics.refused(self.refusal);
        ticket.status = self.status.as_u16();
        ticket.error.get_or_insert_with(|| self.message.clone());
        let wants_json = asked
            .get_all(header::ACCEPT)
            .iter()
            .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/json")));
        let (kind, text) = if wants_json {
            let body = serde_json::json!({"error": self.message, "reason": self.refusal.name(), "status": self.status.as_u16()});
            ("application/json", format!("{body}\n"))
        } else {
            ("text/plain; charset=utf-8", format!("{}\n", self.message))
        };
        let mut response = Response::new(ResponseBody::full(Bytes::from(text), ticket));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert("x-lb-error", HeaderValue::from_static(self.refusal.name()));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer if a backend cannot be served at all.
pub fn unserved(backend: &Backend) -> Option<Refused> {
    let message = match &backend.problem {
        Some(problem @ (Problem::ServiceNotFound | Problem::PortNotFound | Problem::NotAService)) => {
            explain(&backend.key, problem)
        }
        None if backend.has_endpoints() => return None,
        None => format!("service {} has no endpoints in any cluster", backend.key),
    };
    Some(unavailable(Refusal::NoBackend, message))
}

/// 503.
pub fn unavailable(refusal: Refusal, message: String) -> Refused {
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        refusal,
        message,
        close: false,
        retry_after: None,
    }
}
