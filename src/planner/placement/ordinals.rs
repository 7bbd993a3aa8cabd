//! Ordinals of a StatefulSet: every cluster has a contiguous range, and no ordinal is in two clusters.
//!
//! An ordinal is a pod's name and its volume, so a range stays where it is for as long as it can. The first plan lays
//! the ranges out without gaps. A cluster that shrinks gives up its highest ordinals, and the gap stays; one that grows
//! takes what is free above its range, else below it. Only where neither is enough does it get another range, the
//! lowest that is free; the ranges of the others are never touched for its sake. The ranges of clusters that are away
//! are not given to others: nobody knows whether their pods still run.

use std::{collections::BTreeMap, ops::Range};

use super::{ClusterView, Scaler};
use crate::Share;

/// Sets the first ordinal of every share. `base`: the lowest ordinal there may be.
pub(super) fn assign(base: i64, clusters: &[ClusterView], shares: &mut BTreeMap<String, Share>) {
    let mut taken = Taken::default();
    for view in clusters {
        taken.keep(view, base);
    }
    let wanted: Vec<(String, i64)> = shares
        .iter()
        .map(|(name, share)| {
            let own = taken.of(name).map_or(0, len);
            // An autoscaler may take as much as it is allowed to, without asking.
            let allowed = clusters
                .iter()
                .find(|view| view.name() == name)
                .map_or(0, |view| match view.scaler {
                    Scaler::Federated { max, .. } => max,
                    Scaler::Plan | Scaler::Member | Scaler::Elsewhere => 0,
                });
            (name.clone(), share.replicas.unwrap_or(own.max(allowed)).max(0))
        })
        .collect();
    // Those that have pods before those that are new, which can go anywhere.
    let (growing, fresh): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(name, _)| taken.of(name).is_some());
    for (name, count) in growing.into_iter().chain(fresh) {
        let start = taken.place(&name, count, base);
        if let Some(share) = shares.get_mut(&name) {
            share.start = Some(start);
        }
    }
}

fn len(range: &Range<i64>) -> i64 {
    range.end - range.start
}

/// Which cluster has which ordinals.
#[derive(Default)]
struct Taken(BTreeMap<String, Range<i64>>);

impl Taken {
    fn of(&self, name: &str) -> Option<&Range<i64>> {
        self.0.get(name)
    }

    /// Notes what a cluster has, unless it may not have it.
    fn keep(&mut self, view: &ClusterView, base: i64) {
        let (Some(start), Some(count)) = (view.start, view.replicas.filter(|count| *count > 0)) else {
            return;
        };
        let range = start..start + count;
        if start >= base && self.is_free(&range, view.name()) {
            self.0.insert(view.name().to_owned(), range);
        }
    }

    fn is_free(&self, range: &Range<i64>, owner: &str) -> bool {
        let apart = |other: &Range<i64>| range.end <= other.start || other.end <= range.start;
        self.0.iter().all(|(name, other)| name == owner || apart(other))
    }

    /// Finds `count` ordinals for a cluster and returns the first.
    fn place(&mut self, name: &str, count: i64, base: i64) -> i64 {
        let own = self.0.get(name).cloned();
        let start = match &own {
            // What it gives up is still there for a while.
            Some(own) if count <= len(own) => return own.start,
            Some(own) => {
                let lowest = (own.end - count).max(base);
                (lowest..=own.start)
                    .rev()
                    .find(|start| self.is_free(&(*start..start + count), name))
            }
            None => None,
        };
        let start = start.unwrap_or_else(|| self.gap(count, base));
        if count > 0 {
            self.0.insert(name.to_owned(), start..start + count);
        }
        start
    }

    /// The lowest `count` ordinals in a row that nobody has.
    fn gap(&self, count: i64, base: i64) -> i64 {
        let mut ranges: Vec<&Range<i64>> = self.0.values().collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.into_iter().fold(base, |start, range| {
            if start + count <= range.start {
                start
            } else {
                start.max(range.end)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ClusterInput, availability::Availability};

    fn view(name: &str, running: Option<Range<i64>>) -> ClusterView {
        ClusterView {
            replicas: running.as_ref().map(len),
            start: running.map(|r| r.start),
            ..ClusterView::new(
                ClusterInput {
                    name: name.to_owned(),
                    ..ClusterInput::default()
                },
                Availability::Ready,
            )
        }
    }

    /// The ranges that clusters get which have `running` and are to have so many.
    fn assigned(clusters: &[(&str, Option<Range<i64>>, i64)]) -> Vec<Range<i64>> {
        let views: Vec<ClusterView> = clusters
            .iter()
            .map(|(n, running, _)| view(n, running.clone()))
            .collect();
        let mut shares = clusters
            .iter()
            .map(|(n, _, count)| ((*n).to_owned(), Share::of(*count)))
            .collect();
        assign(0, &views, &mut shares);
        let range = |share: &Share| share.start.unwrap()..share.start.unwrap() + share.replicas.unwrap();
        shares.values().map(range).collect()
    }

    #[test]
    fn a_new_set_has_all_ordinals_from_the_first() {
        assert_eq!(
            assigned(&[("a", None, 2), ("b", None, 0), ("c", None, 3)]),
            [0..2, 0..0, 2..5]
        );
    }

    #[test]
    fn nobody_shifts_when_another_cluster_shrinks() {
        assert_eq!(
            assigned(&[("a", Some(0..3), 1), ("b", Some(3..6), 3), ("c", Some(6..9), 3)]),
            [0..1, 3..6, 6..9]
        );
    }

    #[test]
    fn a_cluster_grows_upwards_else_downwards_into_what_is_free() {
        assert_eq!(assigned(&[("a", Some(0..1), 3), ("b", Some(3..6), 3)]), [0..3, 3..6]);
        assert_eq!(
            assigned(&[("a", Some(0..1), 1), ("b", Some(3..6), 5), ("c", Some(6..9), 3)]),
            [0..1, 1..6, 6..9]
        );
    }

    #[test]
    fn one_that_cannot_grow_in_place_moves_and_the_others_stay() {
        assert_eq!(assigned(&[("a", Some(0..3), 4), ("b", Some(3..6), 3)]), [6..10, 3..6]);
    }

    #[test]
    fn a_range_that_is_being_given_up_is_not_given_to_others_yet() {
        assert_eq!(assigned(&[("a", Some(0..3), 1), ("b", None, 2)]), [0..1, 3..5]);
    }

    #[test]
    fn ranges_of_clusters_that_are_away_stay_theirs() {
        let views = [view("away", Some(0..3)), view("b", Some(3..6))];
        let mut shares = BTreeMap::from([("b".to_owned(), Share::of(3)), ("c".to_owned(), Share::of(3))]);
        assign(0, &views, &mut shares);
        assert_eq!((shares["b"].start, shares["c"].start), (Some(3), Some(6)));
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_who_does_not_grow_stays(
            steps in proptest::collection::vec(proptest::collection::vec(0..6i64, 4), 1..8)
        ) {
            let names = ["a", "b", "c", "d"];
            let mut running: Vec<Option<Range<i64>>> = vec![None; 4];
            for counts in steps {
                let clusters: Vec<_> =
                    names.iter().zip(&running).zip(&counts).map(|((n, r), c)| (*n, r.clone(), *c)).collect();
                let next = assigned(&clusters);
                for (i, range) in next.iter().enumerate() {
                    for other in &next[i + 1..] {
                        prop_assert!(range.is_empty() || other.is_empty() || range.end <= other.start || other.end <= range.start);
                    }
                    if let Some(old) = running[i].as_ref().filter(|old| !old.is_empty() && len(range) <= len(old)) {
                        prop_assert_eq!(old.start, range.start);
                    }
                }
                running = next.into_iter().map(Some).collect();
            }
        }
    }
}
