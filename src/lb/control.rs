//! The loop that turns measured demand and health into published shares, once a second and whenever health changes.

use std::{sync::Arc, time::Duration};

use traffic::outlier;

use crate::{
    runtime::{
        Snapshot,
        steer::{self, Occasion},
    },
    serve::Shared,
};

/// Regular ticks.
const TICK: Duration = Duration::from_secs(1);
/// Every how many ticks endpoints' answers are compared and ejections end.
const OUTLIER_TICKS: u64 = 10;
/// Every how many ticks gauges are set.
const GAUGE_TICKS: u64 = 5;

/// Runs until the process stops.
pub async fn run(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u64;
    loop {
        let occasion = tokio::select! {
            _ = interval.tick() => Occasion::Tick,
            () = shared.replan.notified() => Occasion::Replan,
        };
        let snapshot = shared.snapshot.load_full();
        if occasion == Occasion::Tick {
            ticks += 1;
            if ticks.is_multiple_of(OUTLIER_TICKS) {
                sweep_outliers(&snapshot, shared.clock.tick(), &shared.outlier);
            }
            if ticks.is_multiple_of(GAUGE_TICKS) {
                set_gauges(&shared, &snapshot);
            }
        }
        plan(&shared, &snapshot, occasion);
    }
}

fn plan(shared: &Shared, snapshot: &Snapshot, occasion: Occasion) {
    let Some(origins) = &snapshot.origins else { return };
    let now = shared.clock.tick();
    for backend in &snapshot.backends {
        // A backend nobody asked for has nothing to publish.
        if backend.table.load().rows.iter().any(Option::is_some) {
            steer::plan(backend, snapshot, origins, now, occasion, None);
        }
    }
}

fn sweep_outliers(snapshot: &Snapshot, now: Duration, policy: &outlier::Policy) {
    for backend in &snapshot.backends {
        for member in backend.members.iter().flatten() {
            let seen: Vec<(u64, u64)> = member.endpoints.iter().map(|endpoint| endpoint.take_seen()).collect();
            for endpoint in &member.endpoints {
                endpoint.sweep(now);
            }
            let most = policy.most_ejected(member.endpoints.len());
            for index in policy.outliers(&seen) {
                let ejected = member.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
                if ejected < most && !member.endpoints[index].is_ejected() {
                    member.endpoints[index].eject(now, policy);
                }
            }
        }
    }
}

fn set_gauges(shared: &Shared, snapshot: &Snapshot) {
    let metrics = &shared.metrics;
    metrics.reset_gauges();
    metrics
        .config_generation
        .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
    let origins = snapshot
        .origins
        .as_ref()
        .map(|origins| origins.all())
        .unwrap_or_default();
    for backend in &snapshot.backends {
        for (cluster, member) in snapshot.clusters.iter().zip(&backend.members) {
            for endpoint in member.iter().flat_map(|member| &member.endpoints) {
                let state = match (endpoint.is_healthy(), endpoint.is_ejected()) {
                    (false, _) => "unhealthy",
                    (true, true) => "ejected",
                    (true, false) => "healthy",
                };
                metrics.endpoints(&backend.key, &cluster.name, state).inc();
            }
        }
        let table = backend.table.load();
        for origin in &origins {
            let Some(row) = table.rows.get(origin.id).and_then(Option::as_ref) else {
                continue;
            };
            for (cluster, part) in row.wheel.parts() {
                metrics
                    .share(&backend.key, &origin.name, &snapshot.clusters[cluster].name)
                    .set(part);
            }
        }
    }
}
