//! Placement of workloads, Jobs and autoscalers.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

const RS: Scaling = Scaling::Replicas {
    preferences: "",
    ordinals: false,
};

fn view(name: &str, replicas: Option<i64>) -> ClusterView {
    let ready = replicas.unwrap_or(0);
    let cluster = ClusterInput {
        name: name.to_owned(),
        ..ClusterInput::default()
    };
    ClusterView {
        replicas,
        ready,
        existing: ready,
        ..ClusterView::new(cluster, Availability::Ready)
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

fn placed(
    scaling: Scaling,
    key: &str,
    total: &Share,
    preferences: &Preferences,
    clusters: &[ClusterView],
) -> Placement {
    place(
        &Demand {
            scaling,
            key,
            total,
            preferences,
            requests: Resources::default(),
        },
        clusters,
    )
}

fn shares(replicas: i64, clusters: &[ClusterView]) -> BTreeMap<String, i64> {
    let preferences = Preferences::equal_shares();
    let placement = placed(RS, "a/web", &Share::of(replicas), &preferences, clusters);
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
    let placement = placed(RS, "a/web", &Share::of(9), &Preferences::equal_shares(), &clusters);
    assert_eq!(placement.wanted, of(&[("a", 3), ("b", 3), ("c", 3)]));
    let lost = ClusterView {
        availability: Availability::Lost,
        ..home("b", 3)
    };
    let fled = placed(
        RS,
        "a/web",
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
        waiting: Some(Waiting {
            all: 2,
            stuck: 2,
            hopeless: 2,
            why: Some("0/3 nodes are available: 3 Insufficient cpu".into()),
        }),
        ..view("a", Some(3))
    };
    assert_eq!(shares(6, &[full, view("b", Some(3))]), of(&[("a", 1), ("b", 5)]));
}

#[test]
fn autoscaled_copies_are_left_alone() {
    let own = ClusterView {
        scaler: Scaler::Member,
        ..view("a", Some(7))
    };
    let preferences = Preferences::equal_shares();
    let placement = placed(RS, "a/web", &Share::of(6), &preferences, &[own, view("b", Some(6))]);
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
    let placement = placed(scaling, "a/db", &Share::of(5), &preferences, &clusters);
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
    let two = placed(scaling, "a/j", &demand, &preferences, &clusters[..2]);
    let mut completions: Vec<_> = two.shares.values().map(|s| (s.replicas, s.completions)).collect();
    completions.sort_unstable();
    assert_eq!(completions, [(Some(1), Some(3)), (Some(1), Some(4))]);
    let three = placed(scaling, "a/j", &demand, &preferences, &clusters);
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
    let placement = placed(
        scaling,
        "a/j",
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
    let placement = placed(scaling, "a/h", &demand, &preferences, &clusters);
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

#[test]
fn a_lost_share_is_spread_over_all_the_others() {
    let settled = |name: &str| ClusterView {
        home: Some(6),
        ..view(name, Some(6))
    };
    let lost = ClusterView {
        availability: Availability::Lost,
        ..settled("b")
    };
    let all = shares(24, &[settled("a"), lost, settled("c"), settled("d")]);
    assert_eq!(all, of(&[("a", 8), ("c", 8), ("d", 8)]));
}

#[test]
fn fewer_may_be_available_while_moving_if_the_preferences_say_so() {
    let preferences = Preferences {
        min_available: Some(api::preferences::Amount::Percent(50)),
        rebalance: true,
        ..Preferences::equal_shares()
    };
    let clusters = [view("a", Some(8)), view("b", None)];
    let placement = placed(RS, "a/web", &Share::of(8), &preferences, &clusters);
    assert_eq!(placement.shares["a"], Share::of(4), "half of eight stay");
    let strict = Preferences {
        min_available: None,
        ..preferences
    };
    let placement = placed(RS, "a/web", &Share::of(8), &strict, &clusters);
    assert_eq!(placement.shares["a"], Share::of(8));
}

#[test]
fn a_maximum_takes_replicas_away_at_once_though_they_run_nowhere_else() {
    let text = r#"{"clusters": {"*": {"weight": 1, "maxReplicas": 2}}}"#;
    let preferences = Preferences::parse(text).expect("good preferences");
    let clusters = [view("a", Some(5)), view("b", Some(5))];
    let placement = placed(RS, "a/web", &Share::of(10), &preferences, &clusters);
    assert_eq!(
        (placement.shares["a"], placement.shares["b"]),
        (Share::of(2), Share::of(2))
    );
}

#[test]
fn a_status_from_before_a_change_is_not_trusted_with_more_than_was_counted_on() {
    // It shrank to 5 and grew to 8 again; the status still tells of ten.
    let stale = ClusterView {
        ready: 10,
        counted: Some(5),
        ..view("a", Some(8))
    };
    let clusters = [stale, view("b", Some(5))];
    let preferences = Preferences::parse(r#"{"clusters": {"a": {"weight": 1}}}"#).expect("good preferences");
    let placement = placed(RS, "a/web", &Share::of(8), &preferences, &clusters);
    assert_eq!(placement.shares["b"], Share::of(3), "only two of b's can be spared");
}

#[test]
fn an_object_for_no_cluster_at_all_goes_everywhere_at_once() {
    let out = |name: &str| ClusterView {
        selected: false,
        ..view(name, Some(3))
    };
    assert_eq!(shares(6, &[out("a"), out("b")]), BTreeMap::new());
}

#[test]
fn a_cordoned_cluster_keeps_its_autoscaler_and_running_jobs() {
    let held = |replicas| ClusterView {
        cluster: ClusterInput {
            name: "a".to_owned(),
            unschedulable: true,
            ..ClusterInput::default()
        },
        ..view("a", replicas)
    };
    let preferences = Preferences::equal_shares();
    let scaling = Scaling::Autoscaler { preferences: "" };
    let bounds = Share {
        min: Some(2),
        max: Some(10),
        ..Share::default()
    };
    let placement = placed(
        scaling,
        "a/h",
        &bounds,
        &preferences,
        &[held(Some(3)), view("b", Some(5))],
    );
    assert_eq!(
        (placement.shares["a"].max, placement.shares["b"].max),
        (Some(3), Some(7))
    );
    let job = Scaling::Job { preferences: "" };
    let total = Share {
        replicas: Some(4),
        completions: Some(8),
        ..Share::default()
    };
    let fresh = placed(job, "a/j", &total, &preferences, &[held(None), view("b", None)]);
    assert_eq!(fresh.shares.keys().collect::<Vec<_>>(), ["b"]);
}
