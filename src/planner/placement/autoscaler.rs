//! Autoscalers: minimum and maximum are split by the preferences, and follow the load from there.
//!
//! What a cluster has that does not answer is frozen, and counted until the cluster is lost; one that is returning keeps
//! what it has and is not counted on.
//!
//! What a cluster does not use of its part is lent to clusters that need more than theirs: of the maximum as much as
//! they run and a quarter more, of the minimum where they run more than it. Nothing is remembered but what the copies
//! say: a loan ends with the load that asked for it.

use super::{ClusterView, Demand, Placement};
use crate::{
    ClusterInput, Share, Standing,
    availability::Availability,
    standing,
    webster::{self, Taker},
};

/// Every cluster that gets a maximum of at least 1 gets an autoscaler, with a minimum of at least 1.
pub(super) fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let (mut most, mut least) = (demand.total.max.unwrap_or(1), demand.total.min.unwrap_or(1));
    let mut active = Vec::new();
    for view in clusters.iter().filter(|v| v.selected) {
        let kept = view.replicas.map(|max| Share {
            min: Some(view.min.unwrap_or(1)),
            max: Some(max),
            ..Share::default()
        });
        let why = match (view.availability, kept) {
            (Availability::Ready, _) => {
                active.push(view);
                continue;
            }
            (Availability::Unreachable { .. }, Some(share)) => {
                least -= share.min.unwrap_or(0);
                most -= share.max.unwrap_or(0);
                "the cluster does not answer; its copy stays as it is"
            }
            (Availability::Returning { .. }, Some(_)) => "the cluster is back; its copy stays as it is for a while",
            (Availability::Unreachable { .. } | Availability::Returning { .. }, None) | (Availability::Lost, _) => {
                continue;
            }
        };
        let name = view.name().to_owned();
        placement.shares.extend(kept.map(|share| (name.clone(), share)));
        placement.reasons.insert(name, why.to_owned());
    }
    // What clusters that do not answer keep must not take the copies of the others away.
    let copies = active.iter().filter(|view| view.replicas.is_some()).count();
    most = most.max(i64::try_from(copies).unwrap_or(i64::MAX));
    let max = demand.split(most, active.iter().map(|view| bare(view)).collect());
    active.retain(|view| max.desired(view.name()) > 0);
    let min = demand.split(least, active.iter().map(|view| bare(view)).collect());
    placement.reasons.extend(max.reasons.clone());
    let mut parts: Vec<Part<'_>> = active
        .iter()
        .map(|view| Part::new(demand, view, max.desired(view.name()), min.desired(view.name())))
        .collect();
    let minima = minima(&parts, least);
    for (part, least) in parts.iter_mut().zip(minima) {
        part.least = least;
    }
    let most = lend(&parts.iter().map(Part::claim_of_max).collect::<Vec<_>>());
    let least = lend(
        &parts
            .iter()
            .zip(&most)
            .map(|(part, most)| part.claim_of_min(*most))
            .collect::<Vec<_>>(),
    );
    for ((part, most), least) in parts.iter().zip(most).zip(least) {
        let share = Share {
            min: Some(least),
            max: Some(most),
            ..Share::default()
        };
        let name = part.view.name().to_owned();
        if let Some(text) = loan(most - part.most) {
            placement
                .reasons
                .entry(name.clone())
                .and_modify(|reason| *reason = format!("{reason}; {text}"))
                .or_insert(text);
        }
        placement.shares.insert(name, share);
    }
    placement
}

/// The parts of the minimum. As long as it is needed where it is lent, it stays there: what a cluster that runs just its
/// minimum would run with less is not known, and to try one after the other would never end.
fn minima(parts: &[Part<'_>], total: i64) -> Vec<i64> {
    let told = |part: &Part<'_>| part.view.min.filter(|min| (1..=part.highest_min).contains(min));
    let told: Option<Vec<i64>> = parts.iter().map(told).collect();
    let lent = told.filter(|told| told.iter().sum::<i64>() == total && parts.iter().any(Part::is_busy));
    lent.unwrap_or_else(|| {
        let bounds: Vec<(i64, i64)> = parts.iter().map(|part| (1, part.highest_min)).collect();
        fit(&parts.iter().map(|part| part.least).collect::<Vec<_>>(), total, &bounds)
    })
}

/// How much more or less than its part a cluster has, in words.
fn loan(more: i64) -> Option<String> {
    match more {
        0 => None,
        1.. => Some(format!("its load asks for {more} more than its part of the maximum")),
        _ => Some(format!(
            "it lends {} of its part of the maximum to busier clusters",
            -more
        )),
    }
}

fn bare(view: &ClusterView) -> ClusterInput {
    ClusterInput {
        free: None,
        ..view.fresh()
    }
}

/// A cluster's part by the preferences, and what its autoscaler wants.
struct Part<'a> {
    view: &'a ClusterView,
    most: i64,
    least: i64,
    /// The most that it may have.
    limit: i64,
    /// The most that its minimum may be.
    highest_min: i64,
}

impl<'a> Part<'a> {
    fn new(demand: &Demand<'_>, view: &'a ClusterView, most: i64, least: i64) -> Self {
        let held = matches!(standing(demand.preferences, &bare(view)), Standing::Held(_));
        let own = demand.preferences.for_cluster(view.name());
        let limit = own.and_then(|own| own.max_replicas).unwrap_or(i64::MAX);
        Self {
            view,
            most,
            least,
            limit: if held { most } else { limit.max(most) },
            // Of one that is held its own limit is what it has: the minimum must not be taken from that.
            highest_min: if held { 1 } else { most },
        }
    }

    /// Whether it runs more than it must. To run just that says nothing of the load.
    fn is_busy(&self) -> bool {
        self.view.existing > self.view.min.unwrap_or(self.least)
    }

    fn claim_of_max(&self) -> Claim {
        let runs = self.view.existing;
        Claim {
            part: self.most,
            firm: runs.min(self.limit),
            wish: (runs + (runs + 3) / 4).min(self.limit),
            floor: self.least,
        }
    }

    fn claim_of_min(&self, most: i64) -> Claim {
        // One less than it runs, so that it shows when it does not need that any more.
        let wish = if self.is_busy() {
            (self.view.existing - 1).min(most)
        } else {
            0
        };
        Claim {
            part: self.least,
            firm: 0,
            wish,
            floor: 1,
        }
    }
}

/// What one cluster has of a number that is split, and wants of it.
#[derive(Debug, Clone, Copy)]
struct Claim {
    /// Its part.
    part: i64,
    /// It must not be left with less, if that can be helped.
    firm: i64,
    /// It would like to have so much.
    wish: i64,
    /// It is not left with less for the sake of anybody's wish.
    floor: i64,
}

/// Parts within their bounds whose sum is `total`, as far as the bounds allow; changed as little as that takes.
fn fit(parts: &[i64], total: i64, bounds: &[(i64, i64)]) -> Vec<i64> {
    let clamped: Vec<i64> = parts
        .iter()
        .zip(bounds)
        .map(|(part, (low, high))| (*part).clamp(*low, *high))
        .collect();
    let short = total - clamped.iter().sum::<i64>();
    let pairs = clamped.iter().zip(bounds);
    let room: Vec<Taker> = pairs
        .map(|(part, (low, high))| taker(if short > 0 { high - part } else { part - low }))
        .collect();
    let (changes, _) = webster::distribute(&room, short.abs());
    clamped
        .iter()
        .zip(changes)
        .map(|(part, change)| part + change * short.signum())
        .collect()
}

fn taker(amount: i64) -> Taker {
    Taker {
        weight: amount,
        have: 0,
        limit: amount,
    }
}

/// Lends what is not needed, first for what is firm, then for what is wished for. The sum stays.
fn lend(claims: &[Claim]) -> Vec<i64> {
    let parts: Vec<i64> = claims.iter().map(|claim| claim.part).collect();
    let parts = transfer(
        &parts,
        &claims.iter().map(|c| (c.firm, c.floor.max(c.firm))).collect::<Vec<_>>(),
    );
    transfer(
        &parts,
        &claims
            .iter()
            .map(|c| (c.wish, c.floor.max(c.firm).max(c.wish)))
            .collect::<Vec<_>>(),
    )
}

/// Moves from those that have more than they keep to those that have less than they need, in proportion.
fn transfer(parts: &[i64], claims: &[(i64, i64)]) -> Vec<i64> {
    let pairs = || parts.iter().zip(claims);
    let missing: Vec<Taker> = pairs().map(|(part, (need, _))| taker((need - part).max(0))).collect();
    let spare: Vec<Taker> = pairs().map(|(part, (_, keep))| taker((part - keep).max(0))).collect();
    let sum = |takers: &[Taker]| takers.iter().map(|taker| taker.limit).sum::<i64>();
    let moved = sum(&missing).min(sum(&spare));
    let (gained, _) = webster::distribute(&missing, moved);
    let (given, _) = webster::distribute(&spare, moved);
    let changes = gained.iter().zip(given).map(|(gained, given)| gained - given);
    parts.iter().zip(changes).map(|(part, change)| part + change).collect()
}

#[cfg(test)]
mod tests {
    use api::preferences::Preferences;
    use proptest::prelude::*;

    use super::*;
    use crate::{Resources, placement::Scaling};

    /// An autoscaler's copy that was told a minimum and a maximum, and wants `runs` replicas.
    fn copy(name: &str, told: Option<(i64, i64)>, runs: i64) -> ClusterView {
        ClusterView {
            replicas: told.map(|(_, max)| max),
            min: told.map(|(min, _)| min),
            existing: runs,
            ..ClusterView::new(
                ClusterInput {
                    name: name.to_owned(),
                    ..ClusterInput::default()
                },
                Availability::Ready,
            )
        }
    }

    fn placed(min: i64, max: i64, clusters: &[ClusterView]) -> Vec<(i64, i64)> {
        let total = Share {
            min: Some(min),
            max: Some(max),
            ..Share::default()
        };
        let demand = Demand {
            scaling: Scaling::Autoscaler { preferences: "" },
            key: "a/web",
            total: &total,
            preferences: &Preferences::equal_shares(),
            requests: Resources::default(),
        };
        let placement = place(&demand, clusters);
        placement
            .shares
            .values()
            .map(|s| (s.min.unwrap(), s.max.unwrap()))
            .collect()
    }

    #[test]
    fn without_load_minimum_and_maximum_are_split_by_the_preferences() {
        assert_eq!(
            placed(4, 20, &[copy("a", None, 0), copy("b", None, 0)]),
            [(2, 10), (2, 10)]
        );
    }

    #[test]
    fn a_busy_cluster_gets_what_an_idle_one_does_not_use() {
        let now = placed(4, 20, &[copy("a", Some((2, 10)), 10), copy("b", Some((2, 10)), 2)]);
        assert_eq!(now, [(3, 13), (1, 7)], "room for a quarter more than it runs");
    }

    #[test]
    fn what_runs_is_not_cut_for_the_sake_of_others() {
        let now = placed(2, 20, &[copy("a", Some((1, 12)), 12), copy("b", Some((1, 8)), 8)]);
        assert_eq!(now.iter().map(|(_, max)| *max).collect::<Vec<_>>(), [12, 8]);
    }

    #[test]
    fn a_loan_ends_with_the_load() {
        assert_eq!(
            placed(4, 20, &[copy("a", Some((3, 13)), 3), copy("b", Some((1, 7)), 1)]),
            [(2, 10), (2, 10)]
        );
    }

    #[test]
    fn what_a_cluster_that_does_not_answer_may_run_is_not_given_away() {
        let silent = ClusterView {
            availability: Availability::Unreachable {
                since: jiff::Timestamp::UNIX_EPOCH,
            },
            ..copy("b", Some((2, 10)), 10)
        };
        assert_eq!(
            placed(4, 20, &[copy("a", Some((2, 10)), 10), silent]),
            [(2, 10), (2, 10)]
        );
    }

    proptest! {
        #[test]
        fn sums_are_kept_and_the_same_load_changes_nothing(
            min in 3..10i64, more in 0..40i64, loads in proptest::collection::vec(0..60i64, 3)
        ) {
            let max = min + more;
            let names = ["a", "b", "c"];
            let mut told: Vec<Option<(i64, i64)>> = vec![None; 3];
            let mut before = Vec::new();
            for _ in 0..12 {
                // A member's autoscaler keeps to what it was told.
                let views: Vec<ClusterView> = names
                    .iter()
                    .zip(&told)
                    .zip(&loads)
                    .map(|((name, told), load)| {
                        let runs = told.map_or(0, |(min, max)| (*load).clamp(min, max));
                        copy(name, *told, runs)
                    })
                    .collect();
                let now = placed(min, max, &views);
                prop_assert_eq!(now.iter().map(|(_, max)| max).sum::<i64>(), max);
                prop_assert_eq!(now.iter().map(|(min, _)| min).sum::<i64>(), min);
                prop_assert!(now.iter().all(|(min, max)| 1 <= *min && min <= max), "{:?}", now);
                before = told;
                told = now.into_iter().map(Some).collect();
            }
            prop_assert_eq!(before, told, "it comes to rest");
        }
    }
}
