//! Choosing a cluster for one request out of the published shares.
//!
//! The choice is a number x in [0, 1), random or a hash of the client, held against the shares accumulated in the
//! origin's order of preference. When the nearest cluster's share falls from 1.0 to 0.7, only the clients with x ≥ 0.7
//! move, and the same ones return.

use crate::waterfall::{Served, Share};

/// Cumulative shares of one origin, ready for picking.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wheel {
    steps: Vec<(f64, usize)>,
}

/// Sums of shares this close to 1 are 1: the last cluster takes what rounding left.
const ROUNDING: f64 = 1e-9;

impl Wheel {
    /// From shares in order of preference.
    pub fn new(shares: &[Share]) -> Self {
        let mut sum = 0.0;
        let mut steps: Vec<(f64, usize)> = shares
            .iter()
            .map(|share| {
                sum += share.part;
                (sum, share.cluster)
            })
            .collect();
        if let Some(last) = steps.last_mut().filter(|last| last.0 > 1.0 - ROUNDING) {
            last.0 = 1.0;
        }
        Self { steps }
    }

    /// The cluster for `x` in [0, 1); `None` when the request is to be refused (shed, or nobody serves).
    pub fn pick(&self, x: f64) -> Option<usize> {
        self.steps
            .iter()
            .find(|(upto, _)| x < *upto)
            .map(|(_, cluster)| *cluster)
    }

    /// Clusters and their shares, in order of preference.
    pub fn parts(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let before = std::iter::once(0.0).chain(self.steps.iter().map(|(upto, _)| *upto));
        self.steps
            .iter()
            .zip(before)
            .map(|((upto, cluster), before)| (*cluster, upto - before))
    }

    /// Whether nobody serves.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl From<&Served> for Wheel {
    fn from(served: &Served) -> Self {
        Self::new(&served.shares)
    }
}

/// A hash as a number in [0, 1).
pub fn unit(hash: u64) -> f64 {
    // 53 bits are what a f64 holds exactly.
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wheel(parts: &[f64]) -> Wheel {
        Wheel::new(
            &parts
                .iter()
                .enumerate()
                .map(|(cluster, &part)| Share { cluster, part })
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn p1_x_is_held_against_cumulative_shares() {
        let wheel = wheel(&[0.7, 0.3]);
        let picks: Vec<_> = [0.0, 0.699, 0.7, 0.999].iter().map(|&x| wheel.pick(x)).collect();
        assert_eq!(picks, [Some(0), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn what_is_shed_is_refused() {
        let wheel = wheel(&[0.3, 0.2]);
        assert_eq!(wheel.pick(0.49), Some(1));
        assert_eq!(wheel.pick(0.5), None);
        assert_eq!(Wheel::default().pick(0.0), None);
    }

    #[test]
    fn rounding_never_refuses() {
        assert_eq!(wheel(&[0.1; 10]).pick(1.0 - f64::EPSILON), Some(9));
    }

    #[test]
    fn the_greatest_hash_is_below_one() {
        assert!(unit(u64::MAX) < 1.0);
        assert_eq!(unit(0), 0.0);
    }

    proptest! {
        #[test]
        fn only_those_who_must_move_move(a in 0.0f64..1.0, b in 0.0f64..1.0, x in 0.0f64..1.0) {
            let (before, after) = (wheel(&[a, 1.0 - a]).pick(x), wheel(&[b, 1.0 - b]).pick(x));
            prop_assert_eq!(before != after, (x < a) != (x < b));
        }
    }
}
