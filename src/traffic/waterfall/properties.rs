//! Properties of the waterfall over random inputs.

use super::*;
use proptest::prelude::*;

fn cluster() -> impl Strategy<Value = Cluster> {
    let capacity = prop_oneof![
        Just(Capacity::Unknown),
        (1.0..500.0).prop_map(Capacity::PerEndpoint),
        (1.0..5000.0).prop_map(Capacity::Total),
    ];
    let state = prop_oneof![9 => Just(State::Ready), 1 => Just(State::Draining)];
    (
        0u32..20,
        0u32..20,
        capacity,
        prop_oneof![Just(1.0), Just(0.0), 0.1..1.0],
        prop_oneof![Just(1.0), 0.1..1.0],
        state,
    )
        .prop_map(|(healthy, ill, capacity, scaler, ramp, state)| Cluster {
            healthy: f64::from(healthy),
            total: f64::from(healthy + ill),
            capacity,
            scaler,
            ramp,
            state,
        })
}

fn origin() -> impl Strategy<Value = Origin> {
    (
        prop_oneof![1 => Just(0.0), 9 => 0.1..5000.0],
        prop::collection::vec(prop::collection::vec(0usize..6, 1..3), 0..5),
    )
        .prop_map(|(demand, tiers)| Origin { demand, tiers })
}

fn options() -> impl Strategy<Value = Options> {
    let overload = prop_oneof![Just(Overload::Spread), Just(Overload::Shed)];
    let panic = prop_oneof![Just(Panic::Nearest), Just(Panic::Fail)];
    (overload, panic).prop_map(|(overload, panic)| Options {
        overload,
        panic,
        ..Options::default()
    })
}

fn load(plan: &Plan, origins: &[Origin], cluster: usize) -> f64 {
    origins
        .iter()
        .zip(&plan.origins)
        .flat_map(|(origin, served)| {
            served
                .shares
                .iter()
                .filter(move |share| share.cluster == cluster)
                .map(|share| share.part * origin.demand)
        })
        .sum()
}

fn capacity(cluster: &Cluster) -> Option<f64> {
    match cluster.room(1.4)? {
        Room::Rate(rate) => Some(rate),
        Room::PartOfOrigin(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn shares_and_shed_make_one(
        clusters in prop::collection::vec(cluster(), 1..6), origins in prop::collection::vec(origin(), 1..5), options in options(),
    ) {
        let plan = plan(&clusters, &origins, &options, &[]);
        for served in &plan.origins {
            let sum: f64 = served.shares.iter().map(|share| share.part).sum::<f64>() + served.shed;
            prop_assert!((sum - 1.0).abs() < 1e-9);
            prop_assert!(served.shares.iter().all(|share| share.part > 0.0 && share.part <= 1.0 + 1e-12));
            prop_assert!(options.overload == Overload::Shed || served.shed == 0.0 || served.shares.is_empty());
        }
    }

    #[test]
    fn no_cluster_gets_more_than_it_can_take_unless_spread_or_panicked(
        clusters in prop::collection::vec(cluster(), 1..6), origins in prop::collection::vec(origin(), 1..5), options in options(),
    ) {
        let plan = plan(&clusters, &origins, &options, &[]);
        if plan.panic() || (plan.overload() && options.overload == Overload::Spread) {
            return Ok(());
        }
        for (index, cluster) in clusters.iter().enumerate() {
            if let Some(capacity) = capacity(cluster) {
                prop_assert!(load(&plan, &origins, index) <= capacity * (1.0 + 1e-6) + 1e-6);
            }
        }
    }

    #[test]
    fn only_eligible_clusters_serve_unless_panicked(
        clusters in prop::collection::vec(cluster(), 1..6), origins in prop::collection::vec(origin(), 1..5),
    ) {
        let plan = plan(&clusters, &origins, &Options::default(), &[]);
        for served in plan.origins.iter().filter(|served| !served.panicked) {
            for share in &served.shares {
                let cluster = &clusters[share.cluster];
                prop_assert!(cluster.state == State::Ready && cluster.healthy > 0.0 && cluster.scaler > 0.0 && !plan.drained[share.cluster]);
            }
        }
    }

    #[test]
    fn at_most_half_of_the_ready_clusters_are_drained(clusters in prop::collection::vec(cluster(), 0..8), before in prop::collection::vec(any::<bool>(), 0..8)) {
        let drained = autodrained(&clusters, &before, &Options::default());
        let ready = clusters.iter().filter(|cluster| cluster.in_service()).count();
        prop_assert!(drained.iter().filter(|drained| **drained).count() <= ready / 2);
    }

    #[test]
    fn a_farther_cluster_gets_traffic_only_when_nearer_ones_are_full(
        rates in prop::collection::vec(1.0f64..1000.0, 2..5), demand in 1.0f64..5000.0,
    ) {
        let clusters: Vec<Cluster> = rates.iter().map(|rate| Cluster { capacity: Capacity::Total(*rate), ..Cluster::of_health(1.0, 1.0) }).collect();
        let origins = [Origin { demand, tiers: (0..clusters.len()).map(|index| vec![index]).collect() }];
        let plan = plan(&clusters, &origins, &Options::default(), &[]);
        for share in &plan.origins[0].shares {
            for (nearer, rate) in rates.iter().enumerate().take(share.cluster) {
                prop_assert!(load(&plan, &origins, nearer) >= rate * (1.0 - 1e-6));
            }
        }
    }

    #[test]
    fn better_health_never_lowers_a_clusters_share(healthy in 3u32..10, more in 1u32..5, demand in 1.0f64..3000.0, known in any::<bool>()) {
        let eu = |healthy: u32| Cluster {
            capacity: if known { Capacity::PerEndpoint(100.0) } else { Capacity::Unknown },
            ..Cluster::of_health(f64::from(healthy.min(10)), 10.0)
        };
        let share = |healthy| {
            let plan = plan(&[eu(healthy), eu(10)], &[Origin { demand, tiers: vec![vec![0], vec![1]] }], &Options::default(), &[]);
            plan.origins[0].shares.iter().find(|share| share.cluster == 0).map_or(0.0, |share| share.part)
        };
        prop_assert!(share(healthy + more) >= share(healthy) - 1e-9);
    }

    #[test]
    fn origins_are_treated_alike_whatever_their_order(
        clusters in prop::collection::vec(cluster(), 1..6), origins in prop::collection::vec(origin(), 2..5),
    ) {
        let forward = plan(&clusters, &origins, &Options::default(), &[]);
        let reversed: Vec<Origin> = origins.iter().rev().cloned().collect();
        let backward = plan(&clusters, &reversed, &Options::default(), &[]);
        for (a, b) in forward.origins.iter().zip(backward.origins.iter().rev()) {
            prop_assert_eq!(a.shares.len(), b.shares.len());
            for (a, b) in a.shares.iter().zip(&b.shares) {
                prop_assert!(a.cluster == b.cluster && (a.part - b.part).abs() < 1e-6);
            }
        }
    }
}
