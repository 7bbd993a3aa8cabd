//! Exponential backoff with jitter.

use std::time::Duration;

/// Delays that double from `base` up to `max`, each shortened by a random part of up to a half,
/// so that many clients that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub base: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(5),
            max: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The delay before attempt number `failures` + 1. `random` is in 0..1.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doubled = self
            .base
            .saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(31)));
        let full = doubled.min(self.max);
        full.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// [`Backoff::delay`] with the thread's random source.
    #[must_use]
    pub fn jittered(&self, failures: u32) -> Duration {
        self.delay(failures, rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_maximum_and_never_exceed_it() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(5));
        assert_eq!(backoff.delay(2, 0.0), Duration::from_millis(10));
        assert_eq!(backoff.delay(5, 0.0), Duration::from_millis(80));
        assert_eq!(backoff.delay(100, 0.0), Duration::from_secs(60));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(30));
    }
}
