//! The cases of the specification, by their numbers, and Envoy's priority table.

use super::*;

const US: usize = 0;
const EU: usize = 1;
const TOK: usize = 2;

fn known(healthy: f64, total: f64, per_endpoint: f64) -> Cluster {
    Cluster {
        capacity: Capacity::PerEndpoint(per_endpoint),
        ..Cluster::of_health(healthy, total)
    }
}

fn origin(demand: f64, order: &[usize]) -> Origin {
    Origin {
        demand,
        tiers: order.iter().map(|&cluster| vec![cluster]).collect(),
    }
}

fn run(clusters: &[Cluster], origins: &[Origin]) -> Plan {
    plan(clusters, origins, &Options::default(), &[])
}

fn part(plan: &Plan, origin: usize, cluster: usize) -> f64 {
    plan.origins[origin]
        .shares
        .iter()
        .find(|share| share.cluster == cluster)
        .map_or(0.0, |share| share.part)
}

#[track_caller]
fn assert_parts(plan: &Plan, origin: usize, expected: &[(usize, f64)]) {
    for &(cluster, expected) in expected {
        let part = part(plan, origin, cluster);
        assert!(
            (part - expected).abs() < 5e-5,
            "cluster {cluster} gets {part}, not {expected}"
        );
    }
    assert_eq!(plan.origins[origin].shares.len(), expected.len());
}

fn of_health(healthy: &[f64]) -> Vec<Cluster> {
    healthy
        .iter()
        .map(|&healthy| Cluster::of_health(healthy, 100.0))
        .collect()
}

#[test]
fn s2_an_origin_leaves_when_less_than_five_sevenths_are_healthy() {
    assert_parts(
        &run(&of_health(&[100.0, 71.0]), &[origin(1.0, &[EU, US])]),
        0,
        &[(EU, 0.994), (US, 0.006)],
    );
    assert_parts(
        &run(&of_health(&[100.0, 72.0]), &[origin(1.0, &[EU, US])]),
        0,
        &[(EU, 1.0)],
    );
}

#[test]
fn s3_half_healthy_keeps_seven_tenths() {
    assert_parts(
        &run(&of_health(&[100.0, 50.0]), &[origin(1.0, &[EU, US])]),
        0,
        &[(EU, 0.7), (US, 0.3)],
    );
}

#[test]
fn s6_known_capacity_keeps_traffic_home_while_there_is_room() {
    let clusters = [known(10.0, 10.0, 100.0), known(5.0, 10.0, 100.0)];
    assert_parts(&run(&clusters, &[origin(400.0, &[EU, US])]), 0, &[(EU, 1.0)]);
}

#[test]
fn s7_what_does_not_fit_spills() {
    let clusters = [known(10.0, 10.0, 100.0), known(5.0, 10.0, 100.0)];
    assert_parts(
        &run(&clusters, &[origin(800.0, &[EU, US])]),
        0,
        &[(EU, 0.625), (US, 0.375)],
    );
}

#[test]
fn s10_overload_is_spread_evenly() {
    let clusters = [known(1.0, 1.0, 100.0), known(1.0, 1.0, 100.0)];
    let plan = run(&clusters, &[origin(300.0, &[EU, US]), origin(50.0, &[US, EU])]);
    assert_parts(&plan, 0, &[(EU, 0.58333), (US, 0.41667)]);
    assert_parts(&plan, 1, &[(US, 1.0)]);
    assert!(plan.overload());
    let load = |cluster| 300.0 * part(&plan, 0, cluster) + 50.0 * part(&plan, 1, cluster);
    assert!((load(EU) - 175.0).abs() < 1e-6 && (load(US) - 175.0).abs() < 1e-6);
}

#[test]
fn s11_overload_is_shed_when_asked_for() {
    let clusters = [known(1.0, 1.0, 100.0), known(1.0, 1.0, 100.0)];
    let options = Options {
        overload: Overload::Shed,
        ..Options::default()
    };
    let plan = plan(
        &clusters,
        &[origin(300.0, &[EU, US]), origin(50.0, &[US, EU])],
        &options,
        &[],
    );
    assert_parts(&plan, 0, &[(EU, 0.33333), (US, 0.16667)]);
    assert!((plan.origins[0].shed - 0.5).abs() < 1e-9);
    assert_parts(&plan, 1, &[(US, 1.0)]);
    assert_eq!(plan.origins[1].shed, 0.0);
}

#[test]
fn s13_a_cluster_scaled_to_nothing_draining_or_empty_gets_nothing() {
    let us = Cluster::of_health(10.0, 10.0);
    for eu in [
        Cluster {
            scaler: 0.0,
            ..us.clone()
        },
        Cluster {
            state: State::Draining,
            ..us.clone()
        },
        Cluster::of_health(0.0, 0.0),
    ] {
        let plan = run(&[us.clone(), eu], &[origin(1.0, &[EU, US])]);
        assert_parts(&plan, 0, &[(US, 1.0)]);
        assert!(!plan.panic() && !plan.overload());
    }
}

#[test]
fn s16_at_most_half_of_the_clusters_are_drained_the_illest_first() {
    let plan = run(
        &[Cluster::of_health(1.0, 10.0), Cluster::of_health(2.0, 10.0)],
        &[origin(1.0, &[US, EU])],
    );
    assert_eq!(plan.drained, [true, false]);
    assert_parts(&plan, 0, &[(EU, 1.0)]);
}

#[test]
fn a_drained_cluster_returns_at_the_upper_threshold() {
    let at = |healthy| run_drained(&[Cluster::of_health(10.0, 10.0), Cluster::of_health(healthy, 100.0)]);
    assert_eq!(at(25.0), [false, true]);
    assert_eq!(at(34.0), [false, true]);
    assert_eq!(at(35.0), [false, false]);
    assert_eq!(
        run(&[Cluster::of_health(10.0, 10.0), Cluster::of_health(25.0, 100.0)], &[]).drained,
        [false, false]
    );
}

fn run_drained(clusters: &[Cluster]) -> Vec<bool> {
    plan(clusters, &[], &Options::default(), &[false, true]).drained
}

#[test]
fn s18_clusters_of_a_tier_share_by_capacity() {
    let clusters = [
        known(10.0, 10.0, 100.0),
        known(10.0, 10.0, 30.0),
        known(10.0, 10.0, 10.0),
    ];
    let frankfurt = Origin {
        demand: 200.0,
        tiers: vec![vec![1, 2], vec![0]],
    };
    assert_parts(&run(&clusters, &[frankfurt]), 0, &[(1, 0.75), (2, 0.25)]);
}

#[test]
fn locals_are_served_before_overflow_from_elsewhere() {
    let clusters = [known(1.0, 1.0, 100.0), known(1.0, 1.0, 100.0), known(1.0, 1.0, 1000.0)];
    let plan = run(
        &clusters,
        &[origin(250.0, &[EU, US, TOK]), origin(100.0, &[US, EU, TOK])],
    );
    assert_parts(&plan, 0, &[(EU, 0.4), (TOK, 0.6)]);
    assert_parts(&plan, 1, &[(US, 1.0)]);
}

#[test]
fn an_over_asked_cluster_grants_pro_rata() {
    let clusters = [known(1.0, 1.0, 1000.0), known(1.0, 1.0, 90.0)];
    let plan = run(&clusters, &[origin(60.0, &[EU, US]), origin(120.0, &[EU, US])]);
    assert_parts(&plan, 0, &[(EU, 0.5), (US, 0.5)]);
    assert_parts(&plan, 1, &[(EU, 0.5), (US, 0.5)]);
}

#[test]
fn nobody_eligible_panics_to_the_nearest_ready_or_fails() {
    let dead = [
        Cluster::of_health(0.0, 10.0),
        Cluster {
            state: State::Draining,
            ..Cluster::of_health(10.0, 10.0)
        },
    ];
    let panicked = run(&dead, &[origin(1.0, &[EU, US])]);
    assert_parts(&panicked, 0, &[(US, 1.0)]);
    assert!(panicked.panic() && !panicked.no_backend());

    let failed = plan(
        &dead,
        &[origin(1.0, &[EU, US])],
        &Options {
            panic: Panic::Fail,
            ..Options::default()
        },
        &[],
    );
    assert!(failed.no_backend() && !failed.panic());
    assert_eq!(
        failed.origins[0],
        Served {
            shed: 1.0,
            ..Served::default()
        }
    );

    assert!(run(&[Cluster::of_health(0.0, 0.0)], &[origin(1.0, &[0])]).no_backend());
}

#[test]
fn an_origin_without_demand_gets_the_shares_of_its_first_request() {
    let clusters = [known(10.0, 10.0, 100.0), known(1.0, 1.0, 100.0)];
    let plan = run(&clusters, &[origin(100.0, &[EU, US]), origin(0.0, &[US, EU])]);
    assert_parts(&plan, 0, &[(EU, 1.0)]);
    assert_parts(&plan, 1, &[(US, 1.0)]);
    assert_parts(&run(&clusters, &[origin(0.0, &[EU, US])]), 0, &[(EU, 1.0)]);
}

#[test]
fn utilisation_bounds_a_cluster_when_it_tells_anything() {
    let busy = |load, utilization| Cluster {
        capacity: Capacity::Utilization { load, utilization },
        ..Cluster::of_health(10.0, 10.0)
    };
    let clusters = [Cluster::of_health(10.0, 10.0), busy(100.0, 0.8)];
    assert_parts(&run(&clusters, &[origin(200.0, &[EU, US])]), 0, &[(EU, 0.5), (US, 0.5)]);
    let clusters = [Cluster::of_health(10.0, 10.0), busy(100.0, 0.04)];
    assert_parts(&run(&clusters, &[origin(20_000.0, &[EU, US])]), 0, &[(EU, 1.0)]);
}

#[test]
fn one_origin_and_unknown_capacities_give_envoys_priority_table() {
    let table: &[(&[f64], &[f64])] = &[
        (&[72.0, 100.0], &[1.0, 0.0]),
        (&[71.0, 100.0], &[0.994, 0.006]),
        (&[50.0, 50.0], &[0.7, 0.3]),
        (&[25.0, 100.0], &[0.35, 0.65]),
        (&[25.0, 25.0], &[0.5, 0.5]),
        (&[25.0, 25.0, 100.0], &[0.35, 0.35, 0.30]),
        (&[25.0, 25.0, 20.0], &[0.35714, 0.35714, 0.28571]),
        (&[5.0, 65.0], &[0.07143, 0.92857]),
    ];
    let options = Options {
        drain_below: 0.0,
        ..Options::default()
    };
    for (healthy, loads) in table {
        let order: Vec<usize> = (0..healthy.len()).collect();
        let plan = plan(&of_health(healthy), &[origin(1.0, &order)], &options, &[]);
        for (cluster, load) in loads.iter().enumerate() {
            assert!((part(&plan, 0, cluster) - load).abs() < 5e-5, "{healthy:?}: {plan:?}");
        }
    }
}

#[test]
fn a_ramp_lets_a_cluster_return_slowly() {
    let clusters = [
        Cluster::of_health(10.0, 10.0),
        Cluster {
            ramp: 0.1,
            ..Cluster::of_health(10.0, 10.0)
        },
    ];
    assert_parts(&run(&clusters, &[origin(1.0, &[EU, US])]), 0, &[(EU, 0.1), (US, 0.9)]);
}
