//! Moving replicas without losing any: a cluster shrinks only as far as what is ready elsewhere allows.
//!
//! Growth happens at once. Replicas leave when what is ready elsewhere and stays is what must be available. While it
//! is not, none leave but those that will not become ready: what is known of a cluster is of a moment ago, and a
//! replica that was not ready then may serve by now. So a move is a surge in the new cluster, a wait until it is
//! ready, and a shrink in the old; the same function is asked again after each observation and ends at the target.

use std::collections::BTreeMap;

/// Where a cluster stands and where it is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Replicas it was last told to have; `None` if it has no copy.
    pub current: Option<i64>,
    /// Of them, those that are ready for sure.
    pub ready: i64,
    /// Of them, those that may be ready.
    pub alive: i64,
    /// Of them, those that are not and will not be.
    pub hopeless: i64,
    /// Replicas it is to have in the end.
    pub target: i64,
}

/// The next replica count of every cluster, keeping at least `available` ready if that many are.
#[must_use]
pub(super) fn step(clusters: &BTreeMap<String, Position>, available: i64) -> BTreeMap<String, i64> {
    let ready = |p: &Position| p.ready.clamp(0, p.current.unwrap_or(0).max(0));
    let sure: i64 = clusters.values().map(ready).sum();
    let mut spare = (sure - available).max(0);
    let mut next = BTreeMap::new();
    for (name, position) in clusters {
        let current = position.current.unwrap_or(0);
        let replicas = if position.target >= current {
            position.target
        } else {
            let excess = current - position.target;
            let waiting = current - position.alive.clamp(0, current);
            let leaving = if sure >= available {
                waiting
            } else {
                waiting.min(position.hopeless)
            };
            let idle = excess.min(leaving);
            let taken = (excess - idle).min(spare);
            spare -= taken;
            current - idle - taken
        };
        next.insert(name.clone(), replicas);
    }
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(current: i64, ready: i64, target: i64) -> Position {
        Position {
            current: Some(current),
            ready,
            alive: ready,
            hopeless: 0,
            target,
        }
    }

    fn step_of(clusters: &[(&str, Position)], available: i64) -> Vec<i64> {
        let map = clusters.iter().map(|(n, p)| ((*n).to_owned(), *p)).collect();
        step(&map, available).into_values().collect()
    }

    #[test]
    fn a_move_grows_the_new_cluster_before_it_shrinks_the_old() {
        let fresh = |ready| at(5, ready, 5);
        assert_eq!(
            step_of(
                &[
                    ("a", at(10, 10, 5)),
                    (
                        "b",
                        Position {
                            current: None,
                            ready: 0,
                            alive: 0,
                            hopeless: 0,
                            target: 5
                        }
                    )
                ],
                10
            ),
            [10, 5]
        );
        assert_eq!(step_of(&[("a", at(10, 10, 5)), ("b", fresh(2))], 10), [8, 5]);
        assert_eq!(step_of(&[("a", at(8, 8, 5)), ("b", fresh(5))], 10), [5, 5]);
    }

    #[test]
    fn replicas_that_are_not_ready_leave_when_enough_are() {
        assert_eq!(step_of(&[("a", at(10, 6, 6)), ("b", at(4, 4, 4))], 10), [6, 4]);
        assert_eq!(
            step_of(&[("a", at(10, 6, 6)), ("b", at(0, 0, 4))], 10),
            [10, 4],
            "they may be ready by now"
        );
    }

    #[test]
    fn replicas_that_will_not_become_ready_leave_at_once() {
        let broken = Position {
            hopeless: 3,
            ..at(10, 6, 6)
        };
        assert_eq!(step_of(&[("a", broken), ("b", at(0, 0, 4))], 10), [7, 4]);
    }

    #[test]
    fn a_wanted_scale_down_needs_no_wait() {
        assert_eq!(step_of(&[("a", at(10, 10, 2)), ("b", at(10, 10, 2))], 4), [2, 2]);
    }

    #[test]
    fn ready_replicas_reported_before_a_shrink_took_effect_are_not_counted_twice() {
        // a was told to have 8 but still reports 10 ready.
        assert_eq!(step_of(&[("a", at(8, 10, 5)), ("b", at(5, 2, 5))], 10), [8, 5]);
    }

    #[test]
    fn replicas_that_may_be_ready_are_neither_counted_on_nor_thrown_away() {
        let doubtful = Position {
            alive: 8,
            ..at(8, 5, 5)
        };
        assert_eq!(step_of(&[("a", doubtful), ("b", at(5, 5, 5))], 10), [8, 5]);
        assert_eq!(step_of(&[("a", doubtful), ("b", at(5, 5, 5))], 9), [7, 5]);
    }

    fn positions() -> impl Strategy<Value = BTreeMap<String, Position>> {
        proptest::collection::btree_map("[a-e]", (0..20i64, 0..20i64, 0..20i64), 1..5).prop_map(|all| {
            all.into_iter()
                .map(|(n, (current, ready, target))| (n, at(current, ready.min(current), target)))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn no_step_takes_ready_replicas_below_what_must_be_available(clusters in positions(), available in 0..60i64) {
            let next = step(&clusters, available);
            let before: i64 = clusters.values().map(|p| p.ready).sum();
            // Controllers remove the replicas that are not ready first.
            let after: i64 = clusters.iter().map(|(name, p)| p.ready.min(next[name])).sum();
            prop_assert!(after >= before.min(available), "{clusters:?} -> {next:?}");
        }

        #[test]
        fn steps_reach_the_target_when_everything_becomes_ready(clusters in positions()) {
            let available = clusters.values().map(|p| p.target).sum();
            let mut state = clusters;
            for _ in 0..3 {
                for (name, replicas) in step(&state, available) {
                    if let Some(position) = state.get_mut(&name) {
                        position.current = Some(replicas);
                        position.ready = replicas;
                        position.alive = replicas;
                    }
                }
            }
            for position in state.values() {
                prop_assert_eq!(position.current, Some(position.target));
            }
        }

        #[test]
        fn a_reached_target_is_left_alone(clusters in positions()) {
            let reached: BTreeMap<String, Position> =
                clusters.into_iter().map(|(n, p)| (n, at(p.target, p.target, p.target))).collect();
            let available = reached.values().map(|p| p.target).sum();
            for (name, replicas) in step(&reached, available) {
                prop_assert_eq!(replicas, reached[&name].target);
            }
        }
    }
}
