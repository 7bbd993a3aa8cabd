//! A circuit breaker per API server, so that requests to a dead one fail at once instead of
//! holding a worker until their timeout.
//!
//! Closed: requests flow. Open: none do until a time. Half-open: one probe decides.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Consecutive failures that open the breaker: more than a restart of a server loses at once per worker.
pub const FAILURES_TO_OPEN: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests flow; this many failed in a row.
    Closed {
        /// Consecutive failures.
        failures: u32,
    },
    /// No requests until `until`; `opened` times in a row.
    Open {
        /// When a probe is allowed.
        until: Instant,
        /// How often it opened without a success between.
        opened: u32,
    },
    /// One request is on its way; the others wait for its outcome, at most until `until`.
    HalfOpen {
        /// When another probe is allowed, should the first never report.
        until: Instant,
        /// How often it opened without a success between.
        opened: u32,
    },
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Go.
    Go,
    /// Not before this much time.
    Wait(Duration),
}

fn pause(opened: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2u32.saturating_pow(opened.saturating_sub(1).min(16)))
        .min(LONGEST_PAUSE)
}

/// Asks for permission: the new state, and the answer.
#[must_use]
pub fn ask(state: State, now: Instant) -> (State, Permit) {
    match state {
        // Closed => Closed
        State::Closed { .. } => (state, Permit::Go),
        // Open => Open | HalfOpen
        State::Open { until, opened } | State::HalfOpen { until, opened } if now >= until => (
            State::HalfOpen {
                until: now + pause(opened),
                opened,
            },
            Permit::Go,
        ),
        // HalfOpen => HalfOpen
        State::Open { until, .. } | State::HalfOpen { until, .. } => (state, Permit::Wait(until - now)),
    }
}

/// Reports a request that the server answered, in whatever way.
#[must_use]
pub fn succeeded() -> State {
    State::Closed { failures: 0 }
}

/// Reports a request without an answer.
#[must_use]
pub fn failed(state: State, now: Instant) -> State {
    match state {
        // Closed => Closed | Open
        State::Closed { failures } if failures + 1 < FAILURES_TO_OPEN => State::Closed { failures: failures + 1 },
        State::Closed { .. } => State::Open {
            until: now + pause(1),
            opened: 1,
        },
        // A straggler from before it opened says nothing new.
        // Open => Open
        State::Open { .. } => state,
        // HalfOpen => Open
        State::HalfOpen { opened, .. } => State::Open {
            until: now + pause(opened + 1),
            opened: opened + 1,
        },
    }
}

/// A breaker shared by all requests to one server.
#[derive(Debug)]
pub struct Breaker(Mutex<State>);

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(succeeded()))
    }
}

impl Breaker {
    /// Whether a request may go now.
    #[must_use]
    pub fn permit(&self) -> Permit {
        let mut state = self.0.lock();
        let (next, permit) = ask(*state, Instant::now());
        *state = next;
        permit
    }

    /// Takes the outcome of a request: whether the server answered.
    pub fn record(&self, answered: bool) {
        let mut state = self.0.lock();
        *state = if answered {
            succeeded()
        } else {
            failed(*state, Instant::now())
        };
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> State {
        (0..FAILURES_TO_OPEN).fold(succeeded(), |state, _| failed(state, now))
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_consecutive_failures_only() {
        let now = Instant::now();
        let four = (1..FAILURES_TO_OPEN).fold(succeeded(), |state, _| failed(state, now));
        assert_eq!(ask(four, now).1, Permit::Go);
        assert_eq!(ask(opened(now), now).1, Permit::Wait(FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn lets_one_probe_through_and_closes_on_its_success() {
        let now = Instant::now();
        let later = now + FIRST_PAUSE;
        let (half, permit) = ask(opened(now), later);
        assert_eq!(permit, Permit::Go);
        assert!(
            matches!(ask(half, later).1, Permit::Wait(_)),
            "a second request waits for the probe"
        );
        assert_eq!(ask(succeeded(), later).1, Permit::Go);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_waits_twice_as_long() {
        let now = Instant::now();
        let later = now + FIRST_PAUSE;
        let (half, _) = ask(opened(now), later);
        assert_eq!(ask(failed(half, later), later).1, Permit::Wait(FIRST_PAUSE * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_reports_does_not_lock_it_for_ever() {
        let now = Instant::now();
        let (half, _) = ask(opened(now), now + FIRST_PAUSE);
        assert_eq!(ask(half, now + FIRST_PAUSE * 3).1, Permit::Go);
    }
}
