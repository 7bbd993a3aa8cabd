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
    upstream::{Failure, waits::Verdict},
};

/// Attempts for one request, the first one included.
const MOST_ATTEMPTS: u32 = 3;

impl Forwarding<'_> {
    /// Lets the endpoint's record know what happened, and says what kind of failure it was.
    pub(super) fn note(
        &self,
        choice: &Choice,
        attempted: &Result<Answer, AttemptError>,
        took: Duration,
    ) -> (FailureOrigin, RetryClass) {
        let counters = self.member(choice.cluster).map(|member| &member.counters);
        match attempted {
            Ok(answer) => {
                if let Some(counters) = counters {
                    counters.responded(answer.status().as_u16());
                }
                (FailureOrigin::Upstream, self.note_answer(choice, answer.status(), took))
            }
            Err(error) => {
                if let Some(counters) = counters {
                    counters.failures.inc();
                }
                self.note_failure(&choice.endpoint, error)
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
    pub(super) fn decide(
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
}
