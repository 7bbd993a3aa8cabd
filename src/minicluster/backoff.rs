//! Exponential backoff with jitter.

use std::time::Duration;

/// Delays that double from a first to a greatest, each drawn from the upper half of its step, so
/// that many who failed together do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    greatest: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `first` and doubles up to `greatest`.
    pub(crate) fn new(first: Duration, greatest: Duration) -> Self {
        Self {
            first,
            greatest,
            failures: 0,
        }
    }

    /// The delay after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let delay = step(self.first, self.greatest, self.failures);
        self.failures += 1;
        delay.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `first` doubled `failures` times, at most `greatest`.
pub(crate) fn step(first: Duration, greatest: Duration, failures: u32) -> Duration {
    2_u32
        .checked_pow(failures)
        .and_then(|factor| first.checked_mul(factor))
        .map_or(greatest, |delay| delay.min(greatest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_greatest() {
        let steps: Vec<u64> = [0, 1, 2, 10, 100]
            .iter()
            .map(|failures| step(Duration::from_secs(10), Duration::from_secs(300), *failures).as_secs())
            .collect();
        assert_eq!(steps, [10, 20, 40, 300, 300]);
    }
}
