//! What a failed attempt says about its endpoint, and whether and where the request is sent again.

use std::time::Duration;

use http::StatusCode;
use traffic::retry::{self, Decision, FailureOrigin, Replay, RetryClass};

use super::{
    Forwarding,
    attempt::{Answer, AttemptError},
    pending::Pending,
};
use crate::{
    proxy::{select::Choice, ticket::Ticket},
    runtime::Endpoint,
    upstream::{Failure, connect, waits::Verdict},
};

/// Attempts for one request that endpoints may have seen, the first one included.
const MOST_ATTEMPTS: u32 = 3;
/// Endpoints that a request is offered to, in search of one that can be connected to.
const MOST_ENDPOINTS: usize = 10;
/// How long a request waits for a connection to an endpoint that died in the meantime: it may have been found dead because
/// of the same full queue.
const CONNECT_PATIENCE_MS: u64 = 10_000;

/// What an attempt came to, as far as another one is concerned.
pub(super) struct Outcome {
    origin: FailureOrigin,
    class: RetryClass,
    /// Connecting took too long.
    no_connection_yet: bool,
}

impl Forwarding<'_> {
    /// Lets the endpoint's record know what happened, and says what kind of failure it was.
    pub(super) fn note(&self, choice: &Choice, attempted: &Result<Answer, AttemptError>, took: Duration) -> Outcome {
        let counters = self.member(choice.cluster).map(|member| &member.counters);
        match attempted {
            Ok(answer) => {
                if let Some(counters) = counters {
                    counters.responded(answer.status().as_u16());
                }
                Outcome {
                    origin: FailureOrigin::Upstream,
                    class: self.note_answer(choice, answer.status(), took),
                    no_connection_yet: false,
                }
            }
            Err(error) => {
                if let Some(counters) = counters {
                    counters.failures.inc();
                }
                let (origin, class) = self.note_failure(&choice.endpoint, error);
                let timed_out = |error: &connect::Error| matches!(error, connect::Error::TimedOut { .. });
                Outcome {
                    origin,
                    class,
                    no_connection_yet: matches!(error, AttemptError::Connect { error, .. } if timed_out(error)),
                }
            }
        }
    }

    fn note_answer(&self, choice: &Choice, status: StatusCode, took: Duration) -> RetryClass {
        let shared = &self.downstream.worker.shared;
        let endpoint = &choice.endpoint;
        if endpoint.answered(shared.clock.now_ms(), took, status.is_server_error(), &shared.outlier) {
            shared.eject(&self.backend, choice.cluster, endpoint);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            RetryClass::NotYetSent
        } else {
            RetryClass::Never
        }
    }

    fn note_failure(&self, endpoint: &Endpoint, error: &AttemptError) -> (FailureOrigin, RetryClass) {
        let shared = &self.downstream.worker.shared;
        let class = match error {
            AttemptError::Connect { began_ms, .. } => {
                shared.connect_failed(endpoint, *began_ms);
                RetryClass::NotConnected
            }
            AttemptError::Exchange {
                failure: Failure::Request { .. },
                ..
            } => return (FailureOrigin::Downstream, RetryClass::Never),
            AttemptError::Exchange {
                failure: Failure::Closed { answered: false, .. },
                ..
            } => {
                // The other connections are as likely to be dead.
                self.downstream.worker.pool.clear(endpoint.id);
                shared.suspect();
                RetryClass::ReusedConnection
            }
            AttemptError::Exchange { .. } => RetryClass::Never,
            AttemptError::Http2 { sent: false, .. } => RetryClass::NotConnected,
            AttemptError::Http2 { sent: true, .. } => {
                shared.suspect();
                RetryClass::ReusedConnection
            }
            AttemptError::Verdict(Verdict::EndpointDead) => RetryClass::Abandoned,
            AttemptError::Verdict(Verdict::TimedOut) => {
                shared.suspect();
                RetryClass::Never
            }
        };
        (FailureOrigin::Upstream, class)
    }

    /// Where to try again, if at all.
    pub(super) fn decide(
        &self,
        outcome: &Outcome,
        pending: &Pending,
        tried: &mut Tried,
        choice: &Choice,
        ticket: &mut Ticket,
    ) -> Option<Choice> {
        let replay = Replay {
            body_intact: pending.has_body == pending.body.is_some(),
            idempotent: pending.parts.method.is_idempotent(),
        };
        let attempts_left = ticket.retries + 1 < MOST_ATTEMPTS;
        if retry::decide(outcome.origin, outcome.class, replay, attempts_left) == Decision::GiveUp {
            return None;
        }
        tried.add(choice);
        let order = self.client.origin.as_ref()?;
        let elsewhere = if tried.endpoints.len() < MOST_ENDPOINTS {
            self.next(order, &tried.clusters, &tried.endpoints, rand::random())
        } else {
            None
        };
        let again = || {
            let keep_on = outcome.no_connection_yet && self.may_yet_connect(&choice.endpoint, tried);
            keep_on.then(|| choice.clone())
        };
        let next = elsewhere.or_else(again)?;
        if outcome.class.is_limited() && !ticket.take_retry() {
            return None;
        }
        ticket.retries += 1;
        ticket.worker.shared.metrics.retries.inc();
        Some(next)
    }

    /// Whether a request that waits for a dead endpoint is better off elsewhere.
    pub(super) fn is_movable(&self, pending: &Pending, tried: &Tried, endpoint: &Endpoint) -> bool {
        let Some(order) = self.client.origin.as_ref() else {
            return false;
        };
        let mut avoid = tried.endpoints.clone();
        avoid.push(endpoint.id);
        !pending.has_body
            && pending.parts.method.is_idempotent()
            && self.next(order, &tried.clusters, &avoid, rand::random()).is_some()
    }

    /// Whether an endpoint that cannot be connected to now may be in a moment, with nobody else to turn to: a queue that
    /// is full has room again soon. One that was dead when the request came is not waited for.
    fn may_yet_connect(&self, endpoint: &Endpoint, tried: &Tried) -> bool {
        let waited = self
            .downstream
            .worker
            .shared
            .clock
            .now_ms()
            .saturating_sub(tried.since_ms);
        match endpoint.dead_at_ms() {
            None => waited < self.response_limit_ms(),
            Some(dead_at_ms) => dead_at_ms > tried.since_ms && waited < CONNECT_PATIENCE_MS,
        }
    }
}

/// What has been tried for a request, in vain.
#[derive(Debug)]
pub(super) struct Tried {
    since_ms: u64,
    pub(super) clusters: Vec<usize>,
    pub(super) endpoints: Vec<u64>,
}

impl Tried {
    /// Nothing yet; the request came at `now_ms`.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            clusters: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    fn add(&mut self, choice: &Choice) {
        self.clusters.push(choice.cluster);
        if !self.endpoints.contains(&choice.endpoint.id) {
            self.endpoints.push(choice.endpoint.id);
        }
    }
}
