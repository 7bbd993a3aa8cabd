//! Ejecting endpoints that answer badly, from what real requests saw of them.
//!
//! Five server errors in a row eject at once; a sweep also ejects endpoints whose success rate is far below the others'.
//! Ejection lasts longer each time, and never takes more than a tenth of the endpoints (but may always take one).

use std::time::Duration;

/// Thresholds, with the values operators know from Envoy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Server errors in a row that eject.
    pub consecutive_errors: u32,
    /// Length of the first ejection; the n-th lasts n times as long.
    pub base_ejection: Duration,
    /// Longest ejection.
    pub longest_ejection: Duration,
    /// Greatest part of the endpoints that is ejected at once.
    pub greatest_part: f64,
    /// Endpoints with enough requests that the success rate needs to mean something.
    pub least_endpoints: usize,
    /// Requests an endpoint needs in a sweep for its success rate to count.
    pub least_requests: u64,
    /// Standard deviations below the mean that eject.
    pub deviations: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            base_ejection: Duration::from_secs(30),
            longest_ejection: Duration::from_secs(300),
            greatest_part: 0.1,
            least_endpoints: 5,
            least_requests: 100,
            deviations: 1.9,
        }
    }
}

impl Policy {
    /// How many of `endpoints` may be ejected at once.
    pub fn most_ejected(&self, endpoints: usize) -> usize {
        ((endpoints as f64 * self.greatest_part) as usize).max(1)
    }

    /// How long the `ejections`-th ejection (from 1) lasts.
    pub fn ejection(&self, ejections: u32) -> Duration {
        self.base_ejection
            .saturating_mul(ejections.max(1))
            .min(self.longest_ejection)
    }

    /// Which endpoints' success rates are outliers, given (successes, requests) of each in one sweep.
    pub fn outliers(&self, seen: &[(u64, u64)]) -> Vec<usize> {
        let rates: Vec<(usize, f64)> = seen
            .iter()
            .enumerate()
            .filter(|(_, (_, requests))| *requests >= self.least_requests.max(1))
            .map(|(index, (successes, requests))| (index, 100.0 * *successes as f64 / *requests as f64))
            .collect();
        if rates.len() < self.least_endpoints {
            return Vec::new();
        }
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
        let threshold = mean - self.deviations * variance.sqrt();
        rates
            .into_iter()
            .filter(|(_, rate)| *rate < threshold)
            .map(|(index, _)| index)
            .collect()
    }
}

/// One endpoint's record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    errors_in_a_row: u32,
    ejections: u32,
    ejected_until: Option<Duration>,
}

impl Record {
    /// Notes an answer; true if the endpoint is to be ejected now (the caller asks [`Policy::most_ejected`] and calls [`Self::eject`]).
    pub fn answered(&mut self, server_error: bool, policy: &Policy) -> bool {
        self.errors_in_a_row = if server_error {
            self.errors_in_a_row.saturating_add(1)
        } else {
            0
        };
        self.ejected_until.is_none() && self.errors_in_a_row >= policy.consecutive_errors
    }

    /// Ejects it at `now`.
    pub fn eject(&mut self, now: Duration, policy: &Policy) {
        self.ejections = self.ejections.saturating_add(1);
        self.ejected_until = Some(now + policy.ejection(self.ejections));
        self.errors_in_a_row = 0;
    }

    /// Lets it back when its time is over, and forgets an ejection for every sweep it behaved; true while it is ejected.
    pub fn sweep(&mut self, now: Duration) -> bool {
        match self.ejected_until {
            Some(until) if now < until => true,
            Some(_) => {
                self.ejected_until = None;
                false
            }
            None => {
                self.ejections = self.ejections.saturating_sub(1);
                false
            }
        }
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_errors_in_a_row_eject_and_a_success_between_does_not() {
        let (policy, mut record) = (Policy::default(), Record::default());
        for _ in 0..4 {
            assert!(!record.answered(true, &policy));
        }
        assert!(!record.answered(false, &policy));
        for _ in 0..4 {
            assert!(!record.answered(true, &policy));
        }
        assert!(record.answered(true, &policy));
    }

    #[test]
    fn ejections_grow_to_a_cap_and_shrink_with_good_behaviour() {
        let (policy, mut record) = (Policy::default(), Record::default());
        record.eject(seconds(0), &policy);
        assert!(record.sweep(seconds(29)));
        assert!(!record.sweep(seconds(30)));
        record.eject(seconds(40), &policy);
        assert!(record.sweep(seconds(99)));
        assert!(!record.sweep(seconds(100)));
        assert!(!record.sweep(seconds(110)));
        record.eject(seconds(120), &policy);
        assert!(record.sweep(seconds(179)) && !record.sweep(seconds(180)));
        assert_eq!(policy.ejection(50), seconds(300));
    }

    #[test]
    fn a_tenth_may_be_ejected_but_always_one() {
        let policy = Policy::default();
        assert_eq!(policy.most_ejected(3), 1);
        assert_eq!(policy.most_ejected(40), 4);
    }

    #[test]
    fn a_success_rate_far_below_the_mean_is_an_outlier() {
        let policy = Policy::default();
        assert_eq!(
            policy.outliers(&[(100, 100), (100, 100), (100, 100), (100, 100), (50, 100)]),
            [4]
        );
        assert!(
            policy
                .outliers(&[(100, 100), (100, 100), (100, 100), (50, 100)])
                .is_empty(),
            "too few endpoints"
        );
        assert!(
            policy
                .outliers(&[(99, 99), (99, 99), (99, 99), (99, 99), (0, 99)])
                .is_empty(),
            "too few requests"
        );
        assert!(policy.outliers(&[(90, 100); 6]).is_empty());
    }
}
