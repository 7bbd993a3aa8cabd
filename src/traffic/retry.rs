//! Whether a failed request may be sent again, and how many may at once.
//!
//! The decision is a pure table over where the failure came from and what the endpoint can have seen of the request.
//! A request that an endpoint may have acted upon is never sent twice.

/// Who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureOrigin {
    /// The client: it went away or sent nonsense.
    Downstream,
    /// The endpoint.
    Upstream,
    /// We did.
    Internal,
}

/// What the endpoint can have seen, as far as sending again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// It may have acted on the request.
    Never,
    /// No connection came about: nothing was sent.
    NotConnected,
    /// It refused without acting (503).
    NotYetSent,
    /// A connection kept from an earlier request closed before any byte of the response:
    /// most likely it was closed before the request arrived.
    ReusedConnection,
    /// It was sent, and the endpoint has been found dead since.
    Abandoned,
}

impl RetryClass {
    /// Whether sending again counts against the [`budget`] and the number of attempts: the endpoint has seen the request,
    /// and a request that makes endpoints fail must not wander through all of them. A request that reached nobody, or
    /// nobody alive, is no load on anyone: however many there are, they move on.
    pub fn is_limited(self) -> bool {
        matches!(self, Self::Never | Self::NotYetSent | Self::ReusedConnection)
    }
}

/// What is known of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Nothing of the body has been consumed, or there is none.
    pub body_intact: bool,
    /// The method is idempotent (RFC 9110 §9.2.2), so that a second arrival does no harm.
    pub idempotent: bool,
}

/// What to do with the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try the next cluster in order.
    Retry,
    /// Report it.
    GiveUp,
}

/// The table. `attempts_left` only ever turns a retry down, of those that are limited.
pub fn decide(origin: FailureOrigin, class: RetryClass, replay: Replay, attempts_left: bool) -> Decision {
    let permitted = match (origin, class) {
        (FailureOrigin::Downstream | FailureOrigin::Internal, _) | (FailureOrigin::Upstream, RetryClass::Never) => {
            false
        }
        (FailureOrigin::Upstream, RetryClass::NotConnected | RetryClass::NotYetSent) => replay.body_intact,
        (FailureOrigin::Upstream, RetryClass::ReusedConnection | RetryClass::Abandoned) => {
            replay.body_intact && replay.idempotent
        }
    };
    if permitted && (attempts_left || !class.is_limited()) {
        Decision::Retry
    } else {
        Decision::GiveUp
    }
}

/// Retries that may be in flight however few requests there are.
pub const LEAST_RETRIES: u32 = 3;

/// How many retries may be in flight while `active` requests are: a fifth, at least [`LEAST_RETRIES`].
/// So an outage multiplies load by 1.2 at most.
pub fn budget(active: u32) -> u32 {
    (active / 5).max(LEAST_RETRIES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{GiveUp, Retry};
    use FailureOrigin::{Downstream, Internal, Upstream};
    use RetryClass::{Abandoned, Never, NotConnected, NotYetSent, ReusedConnection};

    #[test]
    fn the_whole_table() {
        // (origin, class) and the decision for (intact, idempotent), (intact, not), (consumed, idempotent), (consumed, not).
        let table = [
            (Downstream, Never, [GiveUp; 4]),
            (Downstream, NotYetSent, [GiveUp; 4]),
            (Downstream, ReusedConnection, [GiveUp; 4]),
            (Internal, Never, [GiveUp; 4]),
            (Internal, NotYetSent, [GiveUp; 4]),
            (Internal, ReusedConnection, [GiveUp; 4]),
            (Downstream, NotConnected, [GiveUp; 4]),
            (Downstream, Abandoned, [GiveUp; 4]),
            (Upstream, Never, [GiveUp; 4]),
            (Upstream, NotConnected, [Retry, Retry, GiveUp, GiveUp]),
            (Upstream, NotYetSent, [Retry, Retry, GiveUp, GiveUp]),
            (Upstream, ReusedConnection, [Retry, GiveUp, GiveUp, GiveUp]),
            (Upstream, Abandoned, [Retry, GiveUp, GiveUp, GiveUp]),
        ];
        let replays = [(true, true), (true, false), (false, true), (false, false)];
        for (origin, class, expected) in table {
            for ((body_intact, idempotent), expected) in replays.into_iter().zip(expected) {
                let replay = Replay {
                    body_intact,
                    idempotent,
                };
                assert_eq!(
                    decide(origin, class, replay, true),
                    expected,
                    "{origin:?} {class:?} {replay:?}"
                );
                let used_up = if matches!(class, NotConnected | Abandoned) {
                    expected
                } else {
                    GiveUp
                };
                assert_eq!(decide(origin, class, replay, false), used_up);
            }
        }
    }

    #[test]
    fn a_fifth_of_the_active_requests_and_at_least_three() {
        assert_eq!(budget(50), 10);
        assert_eq!(budget(4), 3);
        assert_eq!(budget(0), 3);
    }
}
