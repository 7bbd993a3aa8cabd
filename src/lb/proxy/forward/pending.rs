//! A request on its way: taken apart once, kept through all attempts.

use std::{future::poll_fn, time::Duration};

use http::{HeaderValue, StatusCode, Version, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Forwarding;
use crate::{
    metrics::Refusal,
    proxy::{check, headers, refuse::Refused, upgrade::Upgrade},
    upstream::{RequestBody, exchange::Sending},
};

/// How long the first chunk of a chunked body is waited for before the request is sent without having seen it.
const FIRST_CHUNK: Duration = Duration::from_secs(1);

/// The request, taken apart, through all its attempts.
pub(super) struct Pending {
    pub(super) parts: Parts,
    /// Absent while an attempt has it, and after an attempt that began to send it.
    pub(super) body: Option<RequestBody>,
    /// Whether there was a body when the request arrived.
    pub(super) has_body: bool,
    pub(super) sending: Option<(Sending, u64)>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) request_id: HeaderValue,
    /// A new one, if the client sent no valid one.
    pub(super) traceparent: Option<[u8; 55]>,
}

impl Forwarding<'_> {
    pub(super) fn pending(&self, parts: Parts, incoming: Incoming, upgrade: Option<Upgrade>) -> Pending {
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
        let request_id =
            headers::given_request_id(&parts.headers, self.trusted).unwrap_or_else(|| new_request_id(&ids));
        let traceparent = (!headers::has_traceparent(&parts.headers)).then(|| headers::traceparent(&ids));
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
}

/// The trace's id: logs and traces are found by one another.
fn new_request_id(ids: &[u8; 24]) -> HeaderValue {
    let mut digits = [0; 32];
    headers::write_hex(&ids[..16], &mut digits);
    HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Sees the first chunk of a chunked body, so that a malformed one is answered here and nothing reaches an endpoint.
pub(super) async fn first_chunk(pending: &mut Pending) -> Result<(), Refused> {
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
