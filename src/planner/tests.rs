use api::preferences::{ClusterPreferences, Preferences};
use proptest::prelude::*;

use super::*;

fn weight(weight: i64) -> ClusterPreferences {
    ClusterPreferences {
        weight,
        ..ClusterPreferences::default()
    }
}

fn preferences(rebalance: bool, clusters: &[(&str, ClusterPreferences)]) -> Preferences {
    Preferences {
        rebalance,
        clusters: clusters.iter().map(|(name, p)| ((*name).to_owned(), *p)).collect(),
        ..Preferences::default()
    }
}

fn cluster(name: &str) -> ClusterInput {
    ClusterInput {
        name: name.to_owned(),
        ..ClusterInput::default()
    }
}

fn split(replicas: i64, clusters: Vec<ClusterInput>, preferences: &Preferences) -> (Vec<i64>, BTreeMap<String, i64>) {
    let plan = plan(&Input {
        key: "",
        replicas,
        preferences,
        requests: None,
        clusters,
    });
    (plan.replicas.into_values().collect(), plan.overflow)
}

fn named(names: &[&str]) -> Vec<ClusterInput> {
    names.iter().map(|name| cluster(name)).collect()
}

#[test]
fn equal_weights_share_equally_and_the_hash_breaks_ties() {
    let everywhere = preferences(false, &[("*", weight(1))]);
    assert_eq!(split(50, named(&["A", "B", "C"]), &everywhere).0, [16, 17, 17]);
    assert_eq!(split(50, named(&["A", "B"]), &everywhere).0, [25, 25]);
    assert_eq!(split(1, named(&["A", "B", "C", "D"]), &everywhere).0, [0, 0, 0, 1]);
    assert_eq!(split(0, named(&["A", "B"]), &everywhere).0, [0, 0]);
    assert_eq!(split(5, vec![], &everywhere).0, [0; 0]);
}

#[test]
fn running_replicas_stay_where_they_are_unless_rebalancing() {
    let with = |name: &str, current| ClusterInput {
        current: Some(current),
        ..cluster(name)
    };
    let keep = preferences(false, &[("*", weight(1))]);
    assert_eq!(
        split(50, vec![cluster("A"), cluster("B"), with("C", 30)], &keep).0,
        [10, 10, 30]
    );
    assert_eq!(split(50, vec![with("A", 10), with("B", 70)], &keep).0, [0, 50]);
    let rebalance = preferences(true, &[("*", weight(1))]);
    assert_eq!(split(50, vec![with("A", 0), with("B", 50)], &rebalance).0, [25, 25]);
}

#[test]
fn weights_and_maxima_are_kept() {
    let one_two = preferences(false, &[("A", weight(1)), ("B", weight(2))]);
    assert_eq!(split(60, named(&["A", "B", "C"]), &one_two).0, [20, 40, 0]);
    let capped = preferences(
        false,
        &[
            (
                "A",
                ClusterPreferences {
                    weight: 10_000,
                    max_replicas: Some(10),
                    ..Default::default()
                },
            ),
            ("B", weight(1)),
            ("C", weight(1)),
        ],
    );
    assert_eq!(split(50, named(&["A", "B", "C"]), &capped).0, [10, 20, 20]);
    let two_each = preferences(
        false,
        &[(
            "*",
            ClusterPreferences {
                weight: 1,
                max_replicas: Some(2),
                ..Default::default()
            },
        )],
    );
    assert_eq!(split(50, named(&["A", "B", "C"]), &two_each).0, [2, 2, 2]);
}

#[test]
fn capacity_moves_replicas_elsewhere_and_is_reported_as_overflow() {
    let min20 = preferences(
        true,
        &[(
            "*",
            ClusterPreferences {
                weight: 1,
                min_replicas: 20,
                ..Default::default()
            },
        )],
    );
    let full = ClusterInput {
        capacity: Some(10),
        ..cluster("B")
    };
    let (plan, overflow) = split(60, vec![cluster("A"), full], &min20);
    assert_eq!(plan, [50, 10]);
    assert_eq!(overflow, BTreeMap::from([("B".to_owned(), 15)]));
}

#[test]
fn jobs_of_the_original_split_as_there() {
    let everywhere = preferences(false, &[("*", weight(1))]);
    assert_eq!(split(2, named(&["k8s-1", "k8s-2"]), &everywhere).0, [1, 1]);
    let plan = plan(&Input {
        key: "",
        replicas: 7,
        preferences: &everywhere,
        requests: None,
        clusters: named(&["k8s-1", "k8s-2"]),
    });
    assert_eq!(plan.replicas.values().sum::<i64>(), 7);
}

#[test]
fn every_cluster_has_a_reason() {
    let only_a = preferences(false, &[("A", weight(1))]);
    let plan = plan(&Input {
        key: "ns/web",
        replicas: 3,
        preferences: &only_a,
        requests: None,
        clusters: named(&["A", "B"]),
    });
    assert_eq!(plan.reasons["A"], "weight 1 of 1");
    assert_eq!(plan.reasons["B"], "the preferences name neither this cluster nor `*`");
}

#[test]
fn clusters_in_order_are_filled_one_after_the_other() {
    let ordered = Preferences {
        order: vec!["B".into(), "A".into()],
        ..preferences(false, &[("*", weight(1))])
    };
    let limited = |name: &str| ClusterInput {
        capacity: Some(10),
        ..cluster(name)
    };
    assert_eq!(
        split(15, vec![limited("A"), limited("B"), cluster("C")], &ordered).0,
        [5, 10, 0]
    );
    assert_eq!(
        split(25, vec![limited("A"), limited("B"), cluster("C")], &ordered).0,
        [10, 10, 5]
    );
}

#[test]
fn spreading_by_region_gives_regions_equal_shares() {
    let by_region = Preferences {
        spread_by: Some(api::preferences::SpreadBy::Region),
        ..preferences(true, &[("*", weight(1))])
    };
    let of = |name: &str, region: &str| ClusterInput {
        labels: [(api::well_known::LABEL_REGION.to_owned(), region.to_owned())].into(),
        ..cluster(name)
    };
    let clusters = || vec![of("A", "us"), of("B", "us"), of("C", "eu")];
    assert_eq!(split(12, clusters(), &by_region).0, [3, 3, 6]);
    let one_region = Preferences {
        max_groups: Some(1),
        ..by_region.clone()
    };
    assert_eq!(
        split(12, clusters(), &one_region).0.iter().filter(|n| **n > 0).count(),
        1
    );
    let three_regions = Preferences {
        min_groups: Some(3),
        ..by_region
    };
    assert_eq!(split(12, clusters(), &three_regions).0, [0, 0, 0]);
}

#[test]
fn websters_shares_move_nothing_that_runs() {
    let spread = Preferences {
        strategy: api::preferences::SplitStrategy::Spread,
        ..preferences(false, &[("*", weight(1))])
    };
    let with = |name: &str, current| ClusterInput {
        current: Some(current),
        ..cluster(name)
    };
    assert_eq!(
        split(10, vec![with("A", 7), with("B", 1), cluster("C")], &spread).0,
        [7, 2, 1]
    );
    assert_eq!(
        split(4, vec![with("A", 7), with("B", 1), cluster("C")], &spread).0,
        [3, 1, 0]
    );
}

fn any_preferences() -> impl Strategy<Value = ClusterPreferences> {
    (0i64..6, 0i64..8, proptest::option::of(8i64..40)).prop_map(|(weight, min_replicas, max_replicas)| {
        ClusterPreferences {
            weight,
            min_replicas,
            max_replicas,
        }
    })
}

prop_compose! {
    fn any_input()(
        rebalance: bool,
        spread: bool,
        replicas in 0i64..300,
        clusters in proptest::collection::vec(
            (any_preferences(), proptest::option::of(0i64..60), proptest::option::of(0i64..60)), 1..9),
    ) -> (i64, Preferences, Vec<ClusterInput>) {
        let name = |i: usize| format!("c{i}");
        let preferences = Preferences {
            rebalance,
            strategy: if spread { api::preferences::SplitStrategy::Spread } else { Default::default() },
            clusters: clusters.iter().enumerate().map(|(i, (p, ..))| (name(i), *p)).collect(),
            ..Preferences::default()
        };
        let inputs = clusters.iter().enumerate().map(|(i, (_, current, capacity))| ClusterInput {
            name: name(i), current: *current, capacity: *capacity, ..ClusterInput::default()
        }).collect();
        (replicas, preferences, inputs)
    }
}

proptest! {
    #[test]
    fn never_more_than_asked_and_within_maximum_and_capacity((replicas, preferences, clusters) in any_input()) {
        let plan = plan(&Input { key: "ns/x", replicas, preferences: &preferences, requests: None, clusters: clusters.clone() });
        prop_assert!(plan.replicas.values().sum::<i64>() <= replicas);
        for cluster in &clusters {
            let got = plan.replicas[&cluster.name];
            let own = &preferences.clusters[&cluster.name];
            prop_assert!(got >= 0);
            prop_assert!(own.max_replicas.is_none_or(|max| got <= max));
            prop_assert!(cluster.capacity.is_none_or(|capacity| got <= capacity));
        }
    }

    #[test]
    fn replicas_are_left_over_only_when_every_weighted_cluster_is_full((replicas, preferences, clusters) in any_input()) {
        let plan = plan(&Input { key: "ns/x", replicas, preferences: &preferences, requests: None, clusters: clusters.clone() });
        if plan.unplaced(replicas) > 0 {
            for cluster in &clusters {
                let own = &preferences.clusters[&cluster.name];
                let limit = own.max_replicas.unwrap_or(i64::MAX).min(cluster.capacity.unwrap_or(i64::MAX));
                prop_assert!(own.weight == 0 || plan.replicas[&cluster.name] == limit);
            }
        }
    }

    #[test]
    fn minima_hold_while_there_are_replicas((replicas, preferences, clusters) in any_input()) {
        let plan = plan(&Input { key: "ns/x", replicas, preferences: &preferences, requests: None, clusters: clusters.clone() });
        let wanted: i64 = preferences.clusters.values().map(|p| p.min_replicas).sum();
        if wanted <= replicas {
            for cluster in &clusters {
                let min = preferences.clusters[&cluster.name].min_replicas.min(cluster.capacity.unwrap_or(i64::MAX));
                prop_assert!(plan.replicas[&cluster.name] >= min);
            }
        }
    }

    #[test]
    fn planning_its_own_result_changes_nothing((replicas, preferences, clusters) in any_input()) {
        let first = plan(&Input { key: "ns/x", replicas, preferences: &preferences, requests: None, clusters: clusters.clone() });
        let again = clusters.into_iter().map(|c| ClusterInput { current: Some(first.replicas[&c.name]), ..c }).collect();
        let second = plan(&Input { key: "ns/x", replicas, preferences: &preferences, requests: None, clusters: again });
        prop_assert_eq!(first.replicas, second.replicas);
    }
}
