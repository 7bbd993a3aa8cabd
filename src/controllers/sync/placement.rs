//! Which cluster is to have what of a federated object. Pure: the planner's answer, with frozen, lost and
//! returning clusters, autoscaled copies and the order of moves taken into account.

use std::collections::BTreeMap;

use api::preferences::Preferences;
use client::Key;
use planner::{ClusterInput, Input};

use super::{
    kinds::Scaling,
    moves::{self, Position},
    share::Share,
};
use crate::cluster::availability::Availability;

/// What is known of one selected cluster.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How it counts.
    pub availability: Availability,
    /// Replicas (or parallelism) the copy was told to have; `None` if there is no copy.
    pub replicas: Option<i64>,
    /// Completions the copy was told to have.
    pub completions: Option<i64>,
    /// Replicas that are ready.
    pub ready: i64,
    /// Replicas that exist.
    pub existing: i64,
    /// Pods that wait for a place, and those of them that have waited too long; `None` if not counted.
    pub waiting: Option<(i64, i64)>,
    /// Whether an autoscaler in the member decides the number of replicas.
    pub autoscaled: bool,
    /// Its share when last all clusters were there.
    pub home: Option<i64>,
}

impl ClusterView {
    // What it is to keep if it can: its share as last planned with all clusters, so that replicas which fled from a
    // lost cluster go home. Of an object we have not placed ourselves, what runs there.
    fn current(&self) -> Option<i64> {
        if self.home.is_some() {
            return self.home;
        }
        let replicas = self.replicas?;
        match self.waiting {
            Some((waiting, _)) if replicas != self.ready => Some((self.existing - waiting).max(0)),
            Some(_) | None => Some(replicas),
        }
    }

    fn capacity(&self) -> Option<i64> {
        let replicas = self.replicas?;
        let (_, stuck) = self.waiting?;
        (replicas != self.ready && stuck > 0).then(|| (replicas - stuck).max(0))
    }
}

/// The outcome: a share per cluster that is to have a copy, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// What each cluster has to have now. A cluster that is not here has no copy.
    pub shares: BTreeMap<String, Share>,
    /// Where the replicas are to be in the end; moves may still be going on.
    pub wanted: BTreeMap<String, i64>,
    /// Why, per cluster, in words.
    pub reasons: BTreeMap<String, String>,
    /// The shares when last all clusters were there.
    pub home: BTreeMap<String, i64>,
}

impl Placement {
    /// Whether replicas are still on their way.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.wanted.iter().any(|(name, wanted)| {
            self.shares
                .get(name)
                .and_then(|s| s.replicas)
                .is_some_and(|replicas| replicas != *wanted)
        })
    }
}

fn split(key: &Key, replicas: i64, preferences: &Preferences, clusters: Vec<ClusterInput>) -> planner::Plan {
    planner::plan(&Input {
        key: key.as_str(),
        replicas: replicas.max(0),
        preferences,
        clusters,
    })
}

fn input(view: &ClusterView) -> ClusterInput {
    ClusterInput {
        name: view.name.clone(),
        labels: view.labels.clone(),
        current: None,
        capacity: None,
    }
}

/// Places an object. `clusters` are those that its selector admits.
#[must_use]
pub fn place(
    scaling: Scaling,
    key: &Key,
    demand: &Share,
    preferences: &Preferences,
    clusters: &[ClusterView],
) -> Placement {
    match scaling {
        Scaling::Copy => Placement {
            shares: clusters.iter().map(|c| (c.name.clone(), Share::default())).collect(),
            ..Placement::default()
        },
        Scaling::Replicas { ordinals, .. } => {
            let mut placement = replicas(key, demand.replicas.unwrap_or(1), preferences, clusters);
            if ordinals {
                let mut next = demand.start.unwrap_or(0);
                for share in placement.shares.values_mut() {
                    share.start = Some(next);
                    next += share.replicas.unwrap_or(0);
                }
            }
            placement
        }
        Scaling::Job { .. } => job(key, demand, preferences, clusters),
        Scaling::Autoscaler { .. } => autoscaler(key, demand, preferences, clusters),
    }
}

fn replicas(key: &Key, demand: i64, preferences: &Preferences, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let mut remaining = demand;
    let mut active = Vec::new();
    for view in clusters {
        match view.availability {
            _ if view.autoscaled => {
                placement.shares.insert(view.name.clone(), Share::default());
                placement
                    .reasons
                    .insert(view.name.clone(), "an autoscaler of the cluster decides".to_owned());
            }
            Availability::Ready => active.push(view),
            Availability::Unreachable { .. } => {
                let frozen = view.replicas.unwrap_or(0);
                remaining -= frozen;
                placement.shares.insert(view.name.clone(), Share::of(frozen));
                placement.wanted.insert(view.name.clone(), frozen);
                placement.reasons.insert(
                    view.name.clone(),
                    "the cluster does not answer; its share is kept for now".to_owned(),
                );
            }
            Availability::Lost => {
                placement.reasons.insert(
                    view.name.clone(),
                    "the cluster is lost; its share runs elsewhere".to_owned(),
                );
            }
            Availability::Returning { .. } => {
                // What it still runs stays until its share is decided; it is not counted on.
                placement
                    .shares
                    .insert(view.name.clone(), Share::of(view.replicas.unwrap_or(0)));
                placement.reasons.insert(
                    view.name.clone(),
                    "the cluster is back; it gets its share once it has been well for a while".to_owned(),
                );
            }
        }
    }
    let inputs = active
        .iter()
        .map(|v| ClusterInput {
            current: v.current(),
            capacity: v.capacity(),
            ..input(v)
        })
        .collect();
    let plan = split(key, remaining, preferences, inputs);
    let targets: BTreeMap<String, Position> = active
        .iter()
        .map(|v| {
            (
                v.name.clone(),
                Position {
                    current: v.replicas,
                    ready: v.ready,
                    target: plan.desired(&v.name),
                },
            )
        })
        .collect();
    let total: i64 = targets.values().map(|p| p.target).sum();
    let available = preferences
        .min_available
        .map_or(remaining.max(0), |amount| amount.of(remaining.max(0)));
    for (name, replicas) in moves::step(&targets, available.min(total)) {
        placement.shares.insert(name, Share::of(replicas));
    }
    placement
        .wanted
        .extend(targets.into_iter().map(|(name, position)| (name, position.target)));
    placement.reasons.extend(plan.reasons);
    let absent = |v: &ClusterView| matches!(v.availability, Availability::Lost | Availability::Returning { .. });
    placement.home = if clusters.iter().any(absent) {
        clusters
            .iter()
            .filter_map(|v| Some((v.name.clone(), v.home?)))
            .collect()
    } else {
        placement.wanted.clone()
    };
    placement
}

/// A running shard keeps its completions, which cannot be changed; the rest is planned over the other clusters.
fn job(key: &Key, demand: &Share, preferences: &Preferences, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let parallelism = demand.replicas.unwrap_or(1);
    let started: Vec<&ClusterView> = clusters.iter().filter(|v| v.replicas.is_some()).collect();
    let ready = |v: &&ClusterView| v.availability == Availability::Ready;
    if !started.is_empty() {
        for view in &started {
            placement.shares.insert(
                view.name.clone(),
                Share {
                    replicas: view.replicas,
                    completions: view.completions,
                    ..Share::default()
                },
            );
        }
        let taken: i64 = started.iter().filter_map(|v| v.completions).sum();
        let lost = demand.completions.is_some_and(|all| taken < all);
        if !lost {
            let plan = split(
                key,
                parallelism,
                preferences,
                started.iter().copied().filter(ready).map(input).collect(),
            );
            for (name, share) in &mut placement.shares {
                // A shard without workers would never end.
                if let Some(planned) = plan.replicas.get(name) {
                    share.replicas = Some(if parallelism > 0 { (*planned).max(1) } else { 0 });
                }
            }
            return placement;
        }
    }
    let fresh: Vec<&ClusterView> = clusters.iter().filter(ready).filter(|v| v.replicas.is_none()).collect();
    let workers: i64 = started.iter().filter_map(|v| v.replicas).sum();
    let plan = split(
        key,
        if started.is_empty() {
            parallelism
        } else {
            (parallelism - workers).max(1)
        },
        preferences,
        fresh.iter().copied().map(input).collect(),
    );
    let working: Vec<ClusterInput> = fresh
        .iter()
        .filter(|v| parallelism == 0 || plan.desired(&v.name) > 0)
        .map(|v| input(v))
        .collect();
    let taken: i64 = started.iter().filter_map(|v| v.completions).sum();
    let completions = demand
        .completions
        .map(|all| split(key, all - taken, preferences, working.clone()));
    for cluster in &working {
        let share = Share {
            replicas: Some(plan.desired(&cluster.name)),
            completions: completions.as_ref().map(|c| c.desired(&cluster.name)),
            ..Share::default()
        };
        if share.completions != Some(0) {
            placement.shares.insert(cluster.name.clone(), share);
        }
    }
    placement.reasons.extend(plan.reasons);
    placement
}

/// Every cluster that gets a maximum of at least 1 gets an autoscaler, with a minimum of at least 1.
fn autoscaler(key: &Key, demand: &Share, preferences: &Preferences, clusters: &[ClusterView]) -> Placement {
    let mut placement = Placement::default();
    let (frozen, active): (Vec<&ClusterView>, Vec<&ClusterView>) = clusters
        .iter()
        .partition(|v| matches!(v.availability, Availability::Unreachable { .. }));
    let counted = |view: &&ClusterView| view.availability == Availability::Ready;
    let inputs: Vec<ClusterInput> = active.iter().filter(|v| counted(v)).map(|v| input(v)).collect();
    let max = split(key, demand.max.unwrap_or(1), preferences, inputs.clone());
    let bounded: Vec<ClusterInput> = inputs.into_iter().filter(|c| max.desired(&c.name) > 0).collect();
    let min = split(key, demand.min.unwrap_or(1), preferences, bounded.clone());
    for cluster in bounded {
        let most = max.desired(&cluster.name);
        let least = min.desired(&cluster.name).clamp(1, most);
        placement.shares.insert(
            cluster.name,
            Share {
                min: Some(least),
                max: Some(most),
                ..Share::default()
            },
        );
    }
    for view in frozen {
        placement.reasons.insert(
            view.name.clone(),
            "the cluster does not answer; its copy stays as it is".to_owned(),
        );
    }
    placement.reasons.extend(max.reasons);
    placement
}

/// The placement in words: `9 replicas: asia 3, europe 3, us 3`.
#[must_use]
pub fn sentence(placement: &Placement, unit: &str) -> String {
    let total: i64 = placement.wanted.values().sum();
    let parts: Vec<String> = placement.wanted.iter().map(|(name, n)| format!("{name} {n}")).collect();
    format!("{total} {unit}: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const RS: Scaling = Scaling::Replicas {
        preferences: "",
        ordinals: false,
    };

    fn view(name: &str, replicas: Option<i64>) -> ClusterView {
        let ready = replicas.unwrap_or(0);
        ClusterView {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            availability: Availability::Ready,
            replicas,
            completions: None,
            ready,
            existing: ready,
            waiting: None,
            autoscaled: false,
            home: None,
        }
    }

    fn unreachable(view: ClusterView) -> ClusterView {
        ClusterView {
            availability: Availability::Unreachable {
                since: Timestamp::UNIX_EPOCH,
            },
            ..view
        }
    }

    fn shares(replicas: i64, clusters: &[ClusterView]) -> BTreeMap<String, i64> {
        let preferences = Preferences::equal_shares();
        let placement = place(RS, &Key::from("a/web"), &Share::of(replicas), &preferences, clusters);
        placement
            .shares
            .into_iter()
            .filter_map(|(n, s)| Some((n, s.replicas?)))
            .collect()
    }

    fn of(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
        pairs.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect()
    }

    #[test]
    fn new_objects_are_split_at_once() {
        assert_eq!(
            shares(9, &[view("a", None), view("b", None), view("c", None)]),
            of(&[("a", 3), ("b", 3), ("c", 3)])
        );
    }

    #[test]
    fn a_cluster_without_a_share_gets_the_object_with_zero_replicas() {
        let all = shares(1, &[view("a", None), view("b", None)]);
        assert_eq!(all.len(), 2);
        assert_eq!(all.values().sum::<i64>(), 1);
    }

    #[test]
    fn scaling_up_while_a_cluster_is_unreachable_keeps_its_share() {
        let clusters = [view("a", Some(3)), unreachable(view("b", Some(3))), view("c", Some(3))];
        assert_eq!(shares(15, &clusters), of(&[("a", 6), ("b", 3), ("c", 6)]));
    }

    #[test]
    fn a_lost_cluster_is_planned_without_and_a_returning_one_keeps_what_it_runs() {
        let lost = ClusterView {
            availability: Availability::Lost,
            ..view("b", Some(3))
        };
        let clusters = [view("a", Some(3)), lost.clone(), view("c", Some(3))];
        let all = shares(9, &clusters);
        assert_eq!(all.values().sum::<i64>(), 9);
        assert!(!all.contains_key("b"));
        let back = ClusterView {
            availability: Availability::Returning {
                since: Timestamp::UNIX_EPOCH,
            },
            ..lost
        };
        let all = shares(9, &[view("a", Some(4)), back, view("c", Some(5))]);
        assert_eq!(all, of(&[("a", 4), ("b", 3), ("c", 5)]));
    }

    #[test]
    fn shares_go_home_when_a_lost_cluster_is_back() {
        let home = |name: &str, replicas: i64| ClusterView {
            home: Some(3),
            ..view(name, Some(replicas))
        };
        let clusters = [home("a", 5), home("b", 3), home("c", 4)];
        let placement = place(
            RS,
            &Key::from("a/web"),
            &Share::of(9),
            &Preferences::equal_shares(),
            &clusters,
        );
        assert_eq!(placement.wanted, of(&[("a", 3), ("b", 3), ("c", 3)]));
        let lost = ClusterView {
            availability: Availability::Lost,
            ..home("b", 3)
        };
        let fled = place(
            RS,
            &Key::from("a/web"),
            &Share::of(9),
            &Preferences::equal_shares(),
            &[home("a", 3), lost, home("c", 3)],
        );
        assert_eq!(
            fled.home,
            of(&[("a", 3), ("b", 3), ("c", 3)]),
            "remembered while it is away"
        );
        assert_eq!(fled.wanted.values().sum::<i64>(), 9);
    }

    #[test]
    fn pods_that_stay_unschedulable_move_elsewhere() {
        let full = ClusterView {
            ready: 1,
            existing: 3,
            waiting: Some((2, 2)),
            ..view("a", Some(3))
        };
        assert_eq!(shares(6, &[full, view("b", Some(3))]), of(&[("a", 1), ("b", 5)]));
    }

    #[test]
    fn autoscaled_copies_are_left_alone() {
        let own = ClusterView {
            autoscaled: true,
            ..view("a", Some(7))
        };
        let preferences = Preferences::equal_shares();
        let placement = place(
            RS,
            &Key::from("a/web"),
            &Share::of(6),
            &preferences,
            &[own, view("b", Some(6))],
        );
        assert_eq!(placement.shares["a"], Share::default());
        assert_eq!(placement.shares["b"], Share::of(6));
    }

    #[test]
    fn ordinals_are_contiguous() {
        let scaling = Scaling::Replicas {
            preferences: "",
            ordinals: true,
        };
        let preferences = Preferences::equal_shares();
        let clusters = [view("a", None), view("b", None), view("c", None)];
        let placement = place(scaling, &Key::from("a/db"), &Share::of(5), &preferences, &clusters);
        let mut next = 0;
        for share in placement.shares.values() {
            assert_eq!(share.start, Some(next));
            next += share.replicas.unwrap_or(0);
        }
        assert_eq!(next, 5);
    }

    #[test]
    fn jobs_are_planned_twice_and_no_shard_has_completions_without_workers() {
        let scaling = Scaling::Job { preferences: "" };
        let preferences = Preferences::equal_shares();
        let demand = Share {
            replicas: Some(2),
            completions: Some(7),
            ..Share::default()
        };
        let clusters = [view("k8s-1", None), view("k8s-2", None), view("k8s-3", None)];
        let two = place(scaling, &Key::from("a/j"), &demand, &preferences, &clusters[..2]);
        let mut completions: Vec<_> = two.shares.values().map(|s| (s.replicas, s.completions)).collect();
        completions.sort_unstable();
        assert_eq!(completions, [(Some(1), Some(3)), (Some(1), Some(4))]);
        let three = place(scaling, &Key::from("a/j"), &demand, &preferences, &clusters);
        assert_eq!(three.shares.len(), 2, "the third would never complete");
        assert_eq!(three.shares.values().filter_map(|s| s.completions).sum::<i64>(), 7);
    }

    #[test]
    fn a_running_shard_keeps_its_completions() {
        let scaling = Scaling::Job { preferences: "" };
        let preferences = Preferences::equal_shares();
        let demand = Share {
            replicas: Some(4),
            completions: Some(8),
            ..Share::default()
        };
        let shard = |name: &str| ClusterView {
            completions: Some(4),
            ..view(name, Some(2))
        };
        let placement = place(
            scaling,
            &Key::from("a/j"),
            &demand,
            &preferences,
            &[shard("a"), shard("b"), view("c", None)],
        );
        let expected = Share {
            replicas: Some(2),
            completions: Some(4),
            ..Share::default()
        };
        assert_eq!(
            placement.shares,
            BTreeMap::from([("a".to_owned(), expected), ("b".to_owned(), expected)])
        );
    }

    #[test]
    fn autoscalers_get_at_least_one_replica_each_and_none_where_the_maximum_does_not_reach() {
        let scaling = Scaling::Autoscaler { preferences: "" };
        let preferences = Preferences::equal_shares();
        let demand = Share {
            min: Some(1),
            max: Some(2),
            ..Share::default()
        };
        let clusters = [view("a", None), view("b", None), view("c", None)];
        let placement = place(scaling, &Key::from("a/h"), &demand, &preferences, &clusters);
        assert_eq!(placement.shares.len(), 2);
        assert!(placement.shares.values().all(|s| s.min == Some(1) && s.max == Some(1)));
    }

    proptest! {
        #[test]
        fn a_settled_placement_is_its_own_plan(replicas in 0..200i64, clusters in 1..6usize) {
            let names = ["a", "b", "c", "d", "e"];
            let fresh: Vec<_> = names[..clusters].iter().map(|n| view(n, None)).collect();
            let first = shares(replicas, &fresh);
            prop_assert_eq!(first.values().sum::<i64>(), replicas);
            let settled: Vec<_> = first.iter().map(|(n, r)| view(n, Some(*r))).collect();
            prop_assert_eq!(shares(replicas, &settled), first);
        }

        #[test]
        fn a_frozen_cluster_changes_nothing_for_the_others(replicas in 0..200i64, clusters in 2..6usize) {
            let names = ["a", "b", "c", "d", "e"];
            let fresh: Vec<_> = names[..clusters].iter().map(|n| view(n, None)).collect();
            let first = shares(replicas, &fresh);
            let mut settled: Vec<_> = first.iter().map(|(n, r)| view(n, Some(*r))).collect();
            settled[0] = unreachable(settled[0].clone());
            prop_assert_eq!(shares(replicas, &settled), first);
        }
    }
}
