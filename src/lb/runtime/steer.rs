//! Steering: from measured demand and health to published shares, by the control loop of `traffic`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use traffic::{
    control::Sample,
    pick::Wheel,
    waterfall::{Capacity, Cluster, State},
};

use super::{
    Backend, Snapshot,
    origin::{Origin, Origins},
};

/// Shares of all origins of a backend, by origin id.
#[derive(Debug, Default)]
pub struct Table {
    /// `None` for origins that never asked for this backend.
    pub rows: Vec<Option<Arc<Row>>>,
    /// Clusters that are drained for ill health.
    pub drained: Vec<bool>,
}

/// Shares of one origin.
#[derive(Debug)]
pub struct Row {
    /// Requests since the last tick.
    pub requests: Arc<AtomicU64>,
    /// Where they go.
    pub wheel: Wheel,
    /// What was refused or panicked, for logs and metrics.
    pub shed: f64,
}

/// The clusters as the waterfall sees them for a backend.
pub fn clusters_for(backend: &Backend, snapshot: &Snapshot) -> Vec<Cluster> {
    snapshot
        .clusters
        .iter()
        .zip(&backend.members)
        .map(|(cluster, member)| {
            let (healthy, total) = member.as_ref().map_or((0.0, 0.0), |member| {
                let total = if member.endpoints.is_empty() { 0.0 } else { member.total };
                (member.ready.min(total) * member.usable_part(), total)
            });
            Cluster {
                capacity: backend
                    .settings
                    .max_rps_per_endpoint
                    .map_or(Capacity::Unknown, Capacity::PerEndpoint),
                scaler: cluster.scaler,
                state: if cluster.draining {
                    State::Draining
                } else {
                    State::Ready
                },
                ..Cluster::of_health(healthy, total)
            }
        })
        .collect()
}

/// Why a backend is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The regular tick: demand is sampled.
    Tick,
    /// Health changed, or an origin asked for the first time: demand stays.
    Replan,
}

/// Plans a backend and publishes its table. `newcomer` is an origin that has no row yet.
pub fn plan(
    backend: &Backend,
    snapshot: &Snapshot,
    origins: &Origins,
    now: Duration,
    occasion: Occasion,
    newcomer: Option<&Origin>,
) {
    let mut control = backend.control.lock();
    let table = backend.table.load();
    let known = origins.all();
    let mut samples = Vec::new();
    let mut counters: Vec<Option<Arc<AtomicU64>>> = vec![None; known.len()];
    for origin in &known {
        let row = table.rows.get(origin.id).and_then(Option::as_ref);
        let asked = newcomer.is_some_and(|newcomer| newcomer.id == origin.id);
        let Some(requests) = row
            .map(|row| Arc::clone(&row.requests))
            .or_else(|| asked.then(Arc::default))
        else {
            continue;
        };
        let sampled = (occasion == Occasion::Tick).then(|| requests.swap(0, Relaxed));
        samples.push(Sample {
            key: origin.id,
            requests: sampled,
            tiers: origin.tiers.clone(),
        });
        counters[origin.id] = Some(requests);
    }
    let clusters = clusters_for(backend, snapshot);
    let plan = control.tick(now, &clusters, &samples, &backend.options);
    let mut rows: Vec<Option<Arc<Row>>> = vec![None; known.len()];
    for (sample, served) in samples.iter().zip(&plan.origins) {
        rows[sample.key] = counters[sample.key].take().map(|requests| {
            Arc::new(Row {
                requests,
                wheel: Wheel::from(served),
                shed: served.shed,
            })
        });
    }
    backend.table.store(Arc::new(Table {
        rows,
        drained: plan.drained,
    }));
}
