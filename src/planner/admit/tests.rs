//! Requirements, taints, cordons and room: who is considered, and with what.

use api::preferences::Toleration;
use proptest::prelude::*;

use super::*;
use crate::{Plan, Resources, Taint, plan};

fn cluster(name: &str) -> ClusterInput {
    ClusterInput {
        name: name.to_owned(),
        ..ClusterInput::default()
    }
}

fn wishes(json: &str) -> Preferences {
    Preferences::parse(json).expect("good preferences")
}

fn running(name: &str, replicas: i64) -> ClusterInput {
    ClusterInput {
        current: Some(replicas),
        ..cluster(name)
    }
}

fn tainted(base: ClusterInput, effect: &str) -> ClusterInput {
    ClusterInput {
        taints: vec![Taint {
            key: "maintenance".to_owned(),
            value: "disks".to_owned(),
            effect: effect.to_owned(),
        }],
        ..base
    }
}

fn cordoned(base: ClusterInput) -> ClusterInput {
    ClusterInput {
        unschedulable: true,
        ..base
    }
}

fn planned(replicas: i64, preferences: &Preferences, clusters: Vec<ClusterInput>) -> Plan {
    plan(&Input {
        key: "ns/web",
        replicas,
        preferences,
        requests: Some(Resources {
            cpu: 500,
            memory: 1 << 20,
            pods: 1,
        }),
        clusters,
    })
}

fn numbers(plan: &Plan) -> Vec<i64> {
    plan.replicas.values().copied().collect()
}

#[test]
fn a_cordoned_cluster_keeps_what_it_has_and_gets_no_more() {
    let plan = planned(
        12,
        &Preferences::equal_shares(),
        vec![running("a", 3), cordoned(running("b", 3)), running("c", 3)],
    );
    assert_eq!(plan.replicas["b"], 3);
    assert_eq!(numbers(&plan).iter().sum::<i64>(), 12);
    assert!(
        plan.reasons["b"].starts_with("it is cordoned and gets no new replicas"),
        "{:?}",
        plan.reasons
    );
    let fresh = planned(
        4,
        &Preferences::equal_shares(),
        vec![cluster("a"), cordoned(cluster("b"))],
    );
    assert_eq!((numbers(&fresh), fresh.overflow.len()), (vec![4, 0], 0));
}

#[test]
fn a_minimum_does_not_force_replicas_into_a_cordoned_cluster() {
    let plan = planned(
        4,
        &wishes(r#"{"clusters": {"*": {"weight": 1, "minReplicas": 2}}}"#),
        vec![cluster("a"), cordoned(cluster("b"))],
    );
    assert_eq!(numbers(&plan), [4, 0]);
}

#[test]
fn taints_mean_what_they_mean_on_nodes() {
    let equal = Preferences::equal_shares();
    let clusters = |effect| vec![running("a", 2), tainted(running("b", 2), effect)];
    let stays = planned(8, &equal, clusters("NoSchedule"));
    assert_eq!(numbers(&stays), [6, 2]);
    let goes = planned(8, &equal, clusters("NoExecute"));
    assert_eq!(numbers(&goes), [8, 0]);
    assert_eq!(
        goes.reasons["b"],
        "its taint maintenance=disks:NoExecute is not tolerated"
    );
    let tolerant = Preferences {
        tolerations: vec![Toleration {
            key: "maintenance".to_owned(),
            exists: true,
            ..Toleration::default()
        }],
        ..equal
    };
    assert_eq!(numbers(&planned(8, &tolerant, clusters("NoExecute"))), [4, 4]);
}

#[test]
fn a_cluster_that_prefers_none_gets_what_fits_nowhere_else() {
    let equal = Preferences::equal_shares();
    let small = |name| ClusterInput {
        capacity: Some(3),
        ..cluster(name)
    };
    let enough = planned(3, &equal, vec![small("a"), tainted(cluster("b"), "PreferNoSchedule")]);
    assert_eq!(numbers(&enough), [3, 0]);
    let short = planned(5, &equal, vec![small("a"), tainted(cluster("b"), "PreferNoSchedule")]);
    assert_eq!(numbers(&short).iter().sum::<i64>(), 5);
    assert!(short.replicas["b"] >= 2 && short.reasons["b"].contains("last resort"));
}

#[test]
fn requirements_see_labels_region_and_every_zone() {
    let at = |name: &str, region: &str, zones: &[&str]| ClusterInput {
        region: region.to_owned(),
        zones: zones.iter().map(|z| (*z).to_owned()).collect(),
        ..cluster(name)
    };
    let clusters = || {
        vec![
            at("eu", "europe-west1", &["europe-west1-b", "europe-west1-c"]),
            at("us", "us-east1", &["us-east1-b"]),
        ]
    };
    for (require, expected) in [
        (
            r#"[{"key":"topology.kubernetes.io/region","operator":"In","values":["europe-west1"]}]"#,
            [4, 0],
        ),
        (
            r#"[{"key":"topology.kubernetes.io/zone","operator":"In","values":["europe-west1-c"]}]"#,
            [4, 0],
        ),
        (
            r#"[{"key":"topology.kubernetes.io/zone","operator":"NotIn","values":["europe-west1-c"]}]"#,
            [0, 4],
        ),
        (r#"[{"key":"gpu","operator":"Exists"}]"#, [0, 0]),
    ] {
        let text = format!(r#"{{"clusters": {{"*": {{"weight": 1}}}}, "require": {require}}}"#);
        let plan = planned(4, &wishes(&text), clusters());
        assert_eq!(numbers(&plan), expected, "{require}");
        if expected[1] == 0 {
            assert!(plan.reasons["us"].contains("requirement"), "{:?}", plan.reasons);
        }
    }
}

#[test]
fn capacity_awareness_gives_no_more_than_there_is_room_for() {
    let aware = wishes(r#"{"clusters": {"*": {"weight": 1}}, "capacityAware": true}"#);
    let with = |name: &str, cpu: i64, running: Option<i64>| ClusterInput {
        current: running,
        free: Some(Resources {
            cpu,
            memory: 1 << 40,
            pods: 100,
        }),
        ..cluster(name)
    };
    let plan = planned(9, &aware, vec![with("a", 1000, None), with("b", 100_000, None)]);
    assert_eq!(numbers(&plan), [2, 7]);
    assert!(
        plan.reasons["a"].contains("no room for more than 2 (cpu)"),
        "{:?}",
        plan.reasons
    );
    // What runs there is part of what is requested.
    let full = planned(9, &aware, vec![with("a", 0, Some(4)), with("b", 100_000, Some(5))]);
    assert_eq!(numbers(&full), [4, 5]);
    let unknown = planned(2, &aware, vec![cluster("a"), cluster("b")]);
    assert_eq!(numbers(&unknown), [1, 1]);
    assert!(unknown.reasons["a"].contains("its free room is not known"));
}

#[test]
fn the_extended_strategies_see_the_same_limits() {
    for text in [
        r#"{"clusters": {"*": {"weight": 1}}, "strategy": "spread"}"#,
        r#"{"clusters": {"*": {"weight": 1}}, "order": ["b", "a"]}"#,
    ] {
        let plan = planned(
            6,
            &wishes(text),
            vec![
                running("a", 1),
                cordoned(running("b", 1)),
                tainted(running("c", 1), "NoExecute"),
            ],
        );
        assert_eq!(numbers(&plan), [5, 1, 0], "{text}");
    }
}

fn any_cluster() -> impl Strategy<Value = (Option<i64>, u8, bool, i64)> {
    (proptest::option::of(0..20i64), 0..4u8, any::<bool>(), 0..12_000i64)
}

proptest! {
    #[test]
    fn closed_clusters_gain_nothing_and_room_is_respected(
        replicas in 0..100i64,
        rebalance: bool,
        all in proptest::collection::vec(any_cluster(), 1..6),
    ) {
        let effects = ["", "NoSchedule", "NoExecute", "PreferNoSchedule"];
        let clusters: Vec<ClusterInput> = all
            .iter()
            .enumerate()
            .map(|(i, (current, effect, unschedulable, cpu))| {
                let base = ClusterInput {
                    current: *current,
                    unschedulable: *unschedulable,
                    free: Some(Resources { cpu: *cpu, memory: 1 << 40, pods: 1000 }),
                    ..cluster(&format!("c{i}"))
                };
                match effects[usize::from(*effect)] {
                    "" => base,
                    effect => tainted(base, effect),
                }
            })
            .collect();
        let preferences = Preferences { capacity_aware: true, rebalance, ..Preferences::equal_shares() };
        let plan = planned(replicas, &preferences, clusters.clone());
        prop_assert!(numbers(&plan).iter().sum::<i64>() <= replicas);
        for cluster in &clusters {
            let got = plan.replicas[&cluster.name];
            let has = cluster.current.unwrap_or(0);
            let fits = has + cluster.free.expect("given").cpu / 500;
            prop_assert!(got <= fits, "{}: {got} of {fits}", cluster.name);
            prop_assert!(!plan.reasons[&cluster.name].is_empty());
            match standing(&preferences, cluster) {
                Standing::Out(_) => prop_assert_eq!(plan.desired(&cluster.name), 0),
                Standing::Held(_) => prop_assert!(plan.desired(&cluster.name) <= has),
                Standing::Open | Standing::Reluctant(_) => {}
            }
        }
    }

    #[test]
    fn what_is_open_everywhere_is_planned_as_if_nothing_were_known(
        replicas in 0..200i64,
        currents in proptest::collection::vec(proptest::option::of(0..50i64), 1..6),
    ) {
        let bare: Vec<ClusterInput> = currents
            .iter()
            .enumerate()
            .map(|(i, current)| ClusterInput { current: *current, ..cluster(&format!("c{i}")) })
            .collect();
        let known = bare
            .iter()
            .map(|c| ClusterInput {
                region: "r".to_owned(),
                zones: vec!["z".to_owned()],
                free: Some(Resources::default()),
                ..c.clone()
            })
            .collect();
        let equal = Preferences::equal_shares();
        prop_assert_eq!(planned(replicas, &equal, bare), planned(replicas, &equal, known));
    }
}
