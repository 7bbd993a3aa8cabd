//! What goes beyond Federation v1: ordered filling, spreading over regions or zones, Webster's shares.
//!
//! Objective: the wanted number is placed; limits hold; replicas that run stay where they are unless `rebalance` is on
//! or there are too many; what remains goes where the wishes say. The steps, each on what the one before left over:
//!
//! 1. with `spreadBy`, groups are chosen (those with replicas first, then the roomiest) and share equally;
//! 2. every cluster gets its minimum, and keeps what runs there;
//! 3. clusters named in `order` are filled one after the other;
//! 4. the rest is shared by weight, Webster's way.
//!
//! A cluster's region or zone is its label `topology.kubernetes.io/region` or `/zone`, else what its nodes say (the
//! first zone of several); one without is in no group and gets nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::preferences::{Preferences, SplitStrategy, SpreadBy};
use api::well_known::{LABEL_REGION, LABEL_ZONE};

use crate::v1::Split;
use crate::webster::{Taker, distribute};
use crate::{ClusterInput, Input};

/// Whether the preferences ask for anything that v1 did not know.
pub(crate) fn asked_for(preferences: &Preferences) -> bool {
    preferences.strategy == SplitStrategy::Spread || preferences.spread_by.is_some() || !preferences.order.is_empty()
}

/// A cluster's wishes and limits, resolved.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    index: usize,
    weight: i64,
    min: i64,
    limit: i64,
    keep: i64,
}

pub(crate) fn split(input: &Input<'_>) -> Split {
    let mut replicas = vec![0; input.clusters.len()];
    let candidates: Vec<Candidate> = input
        .clusters
        .iter()
        .enumerate()
        .filter_map(|(index, c)| candidate(input.preferences, index, c))
        .collect();
    match input.preferences.spread_by {
        None => place(input, &candidates, input.replicas, &mut replicas),
        Some(by) => {
            for (group, share) in shares_of_groups(input, by, candidates) {
                place(input, &group, share, &mut replicas);
            }
        }
    }
    Split {
        replicas,
        overflow: vec![0; input.clusters.len()],
    }
}

fn candidate(preferences: &Preferences, index: usize, cluster: &ClusterInput) -> Option<Candidate> {
    let own = preferences.for_cluster(&cluster.name)?;
    let limit = own
        .max_replicas
        .unwrap_or(i64::MAX)
        .min(cluster.capacity.unwrap_or(i64::MAX))
        .max(0);
    let keep = if preferences.rebalance {
        0
    } else {
        cluster.current.unwrap_or(0)
    };
    Some(Candidate {
        index,
        weight: own.weight,
        min: own.min_replicas.min(limit),
        limit,
        keep: keep.min(limit),
    })
}

/// Places a number of replicas over some clusters.
fn place(input: &Input<'_>, candidates: &[Candidate], wanted: i64, replicas: &mut [i64]) {
    let mut left = wanted;
    let mut have: Vec<i64> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let granted = candidate.min.min(left);
        left -= granted;
        have.push(granted);
    }
    left = keep_running(candidates, &mut have, left);
    for name in &input.preferences.order {
        let named = candidates.iter().position(|c| &input.clusters[c.index].name == name);
        if let Some(position) = named {
            let extra = (candidates[position].limit - have[position]).clamp(0, left);
            have[position] += extra;
            left -= extra;
        }
    }
    let takers: Vec<Taker> = candidates
        .iter()
        .zip(&have)
        .map(|(c, have)| Taker {
            weight: c.weight,
            have: *have,
            limit: c.limit,
        })
        .collect();
    for (candidate, got) in candidates.iter().zip(distribute(&takers, left).0) {
        replicas[candidate.index] = got;
    }
}

/// Leaves running replicas where they are; if there are too many, each cluster gives up its fair part.
fn keep_running(candidates: &[Candidate], have: &mut [i64], left: i64) -> i64 {
    let takers: Vec<Taker> = candidates
        .iter()
        .zip(have.iter())
        // A cluster without weight keeps what it has as well, as long as there is enough.
        .map(|(c, have)| Taker {
            weight: c.weight.max(1),
            have: *have,
            limit: c.keep.max(*have),
        })
        .collect();
    let (kept, left) = distribute(&takers, left);
    have.copy_from_slice(&kept);
    left
}

/// The group of a cluster, if its labels tell.
fn group_of(by: SpreadBy, cluster: &ClusterInput) -> Option<&str> {
    let label = match by {
        SpreadBy::Region => LABEL_REGION,
        SpreadBy::Zone => LABEL_ZONE,
    };
    cluster.values(label).into_iter().next()
}

/// Chooses groups and gives each its share of the replicas.
fn shares_of_groups(input: &Input<'_>, by: SpreadBy, candidates: Vec<Candidate>) -> Vec<(Vec<Candidate>, i64)> {
    let mut by_name: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(group) = group_of(by, &input.clusters[candidate.index]) {
            by_name.entry(group).or_default().push(candidate);
        }
    }
    let sum = |group: &[Candidate], of: fn(&Candidate) -> i64| group.iter().map(of).fold(0, i64::saturating_add);
    let mut groups: Vec<(&str, Vec<Candidate>)> =
        by_name.into_iter().filter(|(_, g)| sum(g, |c| c.limit) > 0).collect();
    groups.sort_by_key(|(name, g)| (Reverse(sum(g, |c| c.keep)), Reverse(sum(g, |c| c.limit)), *name));
    let enough = input
        .preferences
        .min_groups
        .is_none_or(|min| i64::try_from(groups.len()).is_ok_and(|n| n >= min));
    if let Some(max) = input.preferences.max_groups.and_then(|max| usize::try_from(max).ok()) {
        groups.truncate(max);
    }
    let takers: Vec<Taker> = groups
        .iter()
        .map(|(_, g)| Taker {
            weight: 1,
            have: 0,
            // Too few groups: nothing new is placed, nothing that runs is taken away.
            limit: if enough {
                sum(g, |c| c.limit)
            } else {
                sum(g, |c| c.keep)
            },
        })
        .collect();
    let shares = distribute(&takers, input.replicas).0;
    groups.into_iter().map(|(_, g)| g).zip(shares).collect()
}
