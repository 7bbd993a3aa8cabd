//! How long a large plan takes: ten thousand clusters, a million replicas, weights, limits and capacities mixed.

use std::time::Instant;

use api::preferences::{ClusterPreferences, Preferences};
use planner::{ClusterInput, Input, plan};

const CLUSTERS: usize = 10_000;
const REPLICAS: i64 = 1_000_000;

/// A fixed sequence that looks random: the same plan in every run.
fn scattered(i: usize, modulus: i64) -> i64 {
    let mixed = (i as u64)
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
        >> 33;
    i64::try_from(mixed).unwrap_or(0) % modulus
}

fn main() {
    let name = |i: usize| format!("cluster-{i}");
    let own = |i: usize| ClusterPreferences {
        weight: 1 + scattered(i, 100),
        min_replicas: scattered(i + 1, 5),
        max_replicas: i.is_multiple_of(3).then(|| 50 + scattered(i + 2, 100)),
    };
    let preferences = Preferences {
        clusters: (0..CLUSTERS).map(|i| (name(i), own(i))).collect(),
        ..Preferences::default()
    };
    let clusters: Vec<ClusterInput> = (0..CLUSTERS)
        .map(|i| ClusterInput {
            name: name(i),
            current: (i % 2 == 0).then(|| scattered(i + 3, 150)),
            capacity: (i % 5 == 0).then(|| 20 + scattered(i + 4, 200)),
            ..ClusterInput::default()
        })
        .collect();
    let mut times: Vec<f64> = (0..20)
        .map(|_| {
            let clusters = clusters.clone();
            let began = Instant::now();
            let outcome = plan(&Input {
                key: "default/web",
                replicas: REPLICAS,
                preferences: &preferences,
                requests: None,
                clusters,
            });
            let time = began.elapsed().as_secs_f64() * 1000.0;
            assert_eq!(outcome.unplaced(REPLICAS), 0);
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "plan of {REPLICAS} replicas over {CLUSTERS} clusters: median {:.1} ms, slowest {:.1} ms",
        times[10], times[19]
    );
}
