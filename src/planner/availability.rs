//! Whether a cluster counts when replicas are placed: a state machine over what the probes say.
//!
//! A cluster that stops answering keeps its share for a while (most come back), is then given up, and after
//! its return must stay well for a while before shares go back to it. Flapping moves nothing: a cluster that
//! fails while it is returning is given up again at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How a cluster counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It is planned with.
    Ready,
    /// It does not answer; its share is frozen until it is lost.
    Unreachable {
        /// Since when.
        since: Timestamp,
    },
    /// It is planned without.
    Lost,
    /// It answers again, and is planned without until it has done so for long enough.
    Returning {
        /// Since when.
        since: Timestamp,
    },
}

/// How long what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From unreachable to lost.
    pub lost_after: Duration,
    /// From returning to ready.
    pub return_after: Duration,
}

fn passed(since: Timestamp, now: Timestamp, wait: Duration) -> bool {
    now.duration_since(since) >= signed(wait)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl Availability {
    /// Whether copies can be written there.
    #[must_use]
    pub fn is_reachable(self) -> bool {
        match self {
            Self::Ready | Self::Returning { .. } => true,
            Self::Unreachable { .. } | Self::Lost => false,
        }
    }

    /// The state after an observation.
    #[must_use]
    pub fn step(self, ready: bool, now: Timestamp, patience: Patience) -> Self {
        match self {
            // Ready => Ready | Unreachable
            Self::Ready if ready => self,
            Self::Ready => Self::Unreachable { since: now }.step(false, now, patience),
            // Unreachable => Ready | Unreachable | Lost
            Self::Unreachable { .. } if ready => Self::Ready,
            Self::Unreachable { since } if passed(since, now, patience.lost_after) => Self::Lost,
            Self::Unreachable { .. } => self,
            // Lost => Lost | Returning | Ready
            Self::Lost if ready => Self::Returning { since: now }.step(true, now, patience),
            Self::Lost => self,
            // Returning => Lost | Returning | Ready
            Self::Returning { .. } if !ready => Self::Lost,
            Self::Returning { since } if passed(since, now, patience.return_after) => Self::Ready,
            Self::Returning { .. } => self,
        }
    }

    /// When time alone will change the state.
    #[must_use]
    pub fn deadline(self, patience: Patience) -> Option<Timestamp> {
        let (since, wait) = match self {
            Self::Ready | Self::Lost => return None,
            Self::Unreachable { since } => (since, patience.lost_after),
            Self::Returning { since } => (since, patience.return_after),
        };
        since.checked_add(signed(wait)).ok()
    }

    /// The state a new process starts with: what the conditions of a Cluster say.
    #[must_use]
    pub fn resume(ready: bool, since: Option<Timestamp>, now: Timestamp, patience: Patience) -> Self {
        if ready {
            return Self::Ready;
        }
        Self::Unreachable {
            since: since.unwrap_or(now),
        }
        .step(false, now, patience)
    }
}

/// When a cluster was lost lately. One that comes and goes has to be well for longer each time.
#[derive(Debug, Clone, Default)]
pub struct Losses(Vec<Timestamp>);

impl Losses {
    /// A loss counts for so long.
    const MEMORY: Duration = Duration::from_secs(3600);
    /// The wait is doubled for each loss after the first, at most so often.
    const DOUBLINGS: usize = 5;

    /// Notes a step of a cluster's state.
    pub fn note(&mut self, old: Option<Availability>, new: Availability, now: Timestamp) {
        self.0.retain(|lost| !passed(*lost, now, Self::MEMORY));
        if new == Availability::Lost && old.is_some_and(|old| old != new) {
            self.0.push(now);
        }
    }

    /// How long is waited for this cluster.
    #[must_use]
    pub fn patience(&self, usual: Patience) -> Patience {
        let doublings = self.0.len().saturating_sub(1).min(Self::DOUBLINGS);
        Patience {
            return_after: usual.return_after.saturating_mul(1 << doublings),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        lost_after: Duration::from_secs(60),
        return_after: Duration::from_secs(20),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("valid")
    }

    fn run(observations: &[(i64, bool)]) -> Vec<Availability> {
        let mut state = Availability::Ready;
        observations
            .iter()
            .map(|(second, ready)| {
                state = state.step(*ready, at(*second), PATIENCE);
                state
            })
            .collect()
    }

    #[test]
    fn the_whole_way_out_and_back() {
        assert_eq!(
            run(&[
                (0, true),
                (10, false),
                (69, false),
                (70, false),
                (100, true),
                (119, true),
                (120, true)
            ]),
            [
                Availability::Ready,
                Availability::Unreachable { since: at(10) },
                Availability::Unreachable { since: at(10) },
                Availability::Lost,
                Availability::Returning { since: at(100) },
                Availability::Returning { since: at(100) },
                Availability::Ready,
            ]
        );
    }

    #[test]
    fn a_short_absence_changes_nothing() {
        assert_eq!(run(&[(0, false), (30, true)])[1], Availability::Ready);
    }

    #[test]
    fn flapping_while_returning_gives_no_new_grace() {
        assert_eq!(
            run(&[(0, false), (60, false), (70, true), (75, false)])[3],
            Availability::Lost
        );
    }

    #[test]
    fn a_restart_resumes_from_the_conditions() {
        assert_eq!(
            Availability::resume(false, Some(at(0)), at(59), PATIENCE),
            Availability::Unreachable { since: at(0) }
        );
        assert_eq!(
            Availability::resume(false, Some(at(0)), at(60), PATIENCE),
            Availability::Lost
        );
        assert_eq!(
            Availability::resume(true, Some(at(0)), at(1), PATIENCE),
            Availability::Ready
        );
    }

    #[test]
    fn a_cluster_that_comes_and_goes_moves_replicas_less_and_less_often() {
        let (mut state, mut losses) = (Availability::Ready, Losses::default());
        let mut returned = Vec::new();
        for second in (0..3600).step_by(5) {
            // Away for 70 seconds, well for 50.
            let next = state.step(second % 120 >= 70, at(second), losses.patience(PATIENCE));
            losses.note(Some(state), next, at(second));
            if next == Availability::Ready && state != next {
                returned.push(second);
            }
            state = next;
        }
        assert_eq!(
            returned,
            [90, 230],
            "then it would have to be well for longer than it ever is"
        );
        // An hour without a loss makes it a cluster like any other.
        losses.note(Some(state), Availability::Ready, at(8000));
        assert_eq!(losses.patience(PATIENCE), PATIENCE);
    }

    #[test]
    fn no_patience_means_at_once() {
        let none = Patience {
            lost_after: Duration::ZERO,
            return_after: Duration::ZERO,
        };
        assert_eq!(Availability::Ready.step(false, at(0), none), Availability::Lost);
        assert_eq!(Availability::Lost.step(true, at(0), none), Availability::Ready);
    }
}
