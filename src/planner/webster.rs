//! Webster's method: the fairest whole shares.
//!
//! The next replica goes to the candidate with the greatest weight per replica it would then be half through with,
//! `weight / (2·have + 1)`. Ties go to the candidate with fewer replicas, then to the one that comes first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// One taker of replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker {
    /// Its share among all weights; 0 takes nothing more.
    pub(crate) weight: i64,
    /// What it has already.
    pub(crate) have: i64,
    /// The most it can have.
    pub(crate) limit: i64,
}

#[derive(PartialEq, Eq)]
struct Claim {
    weight: i64,
    have: i64,
    index: usize,
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        let rate = |claim: &Self, against: &Self| i128::from(claim.weight) * (2 * i128::from(against.have) + 1);
        rate(self, other)
            .cmp(&rate(other, self))
            .then_with(|| other.have.cmp(&self.have))
            .then_with(|| other.index.cmp(&self.index))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Gives out `replicas` one after the other; returns what each taker has in the end and what nobody could take.
pub(crate) fn distribute(takers: &[Taker], mut replicas: i64) -> (Vec<i64>, i64) {
    let mut have: Vec<i64> = takers.iter().map(|t| t.have).collect();
    let mut claims: BinaryHeap<Claim> = takers
        .iter()
        .enumerate()
        .filter(|(_, t)| t.weight > 0 && t.have < t.limit)
        .map(|(index, t)| Claim {
            weight: t.weight,
            have: t.have,
            index,
        })
        .collect();
    while replicas > 0 {
        let Some(Claim { weight, index, .. }) = claims.pop() else {
            break;
        };
        have[index] += 1;
        replicas -= 1;
        if have[index] < takers[index].limit {
            claims.push(Claim {
                weight,
                have: have[index],
                index,
            });
        }
    }
    (have, replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[i64], replicas: i64) -> Vec<i64> {
        let takers: Vec<Taker> = weights
            .iter()
            .map(|w| Taker {
                weight: *w,
                have: 0,
                limit: i64::MAX,
            })
            .collect();
        distribute(&takers, replicas).0
    }

    #[test]
    fn shares_follow_weights() {
        assert_eq!(shares(&[1, 1, 1], 9), [3, 3, 3]);
        assert_eq!(shares(&[1, 2], 9), [3, 6]);
        // An election: 53, 24 and 23 votes for 7 seats.
        assert_eq!(shares(&[53, 24, 23], 7), [3, 2, 2]);
        assert_eq!(shares(&[0, 1], 5), [0, 5]);
    }

    #[test]
    fn limits_hold_and_the_rest_is_reported() {
        let takers = [
            Taker {
                weight: 1,
                have: 0,
                limit: 2,
            },
            Taker {
                weight: 1,
                have: 1,
                limit: 3,
            },
        ];
        assert_eq!(distribute(&takers, 10), (vec![2, 3], 6));
    }
}
