//! Publishing a configuration: a new snapshot that keeps the endpoints, shares and origins of the old one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderValue;
use traffic::control::{Control, Tuning};

use super::{
    Backend, Clock, Endpoint, Member, Snapshot,
    endpoint::{Address, Identity},
    origin::Origins,
    snapshot::Cluster,
    steer::{self, Occasion},
};
use crate::{
    metrics::Metrics,
    model::{self, Config},
};

static NEXT_ENDPOINT: AtomicU64 = AtomicU64::new(1);

/// The snapshot of `config`, taking over from `old` what is in both.
pub fn snapshot(config: Config, old: &Snapshot, tuning: &Tuning, metrics: &Metrics, clock: &Clock) -> Snapshot {
    let names: Vec<Arc<str>> = config
        .clusters
        .iter()
        .map(|cluster| Arc::clone(&cluster.name))
        .collect();
    let points: Vec<_> = config.clusters.iter().map(|cluster| cluster.point).collect();
    let origins = old
        .origins
        .as_ref()
        .filter(|origins| origins.is_for(&names, &points))
        .map(Arc::clone);
    let same_clusters = origins.is_some();
    let origins = origins.unwrap_or_else(|| Arc::new(Origins::new(names, points)));
    let known: HashMap<&Identity, &Arc<Endpoint>> = old
        .backends
        .iter()
        .flat_map(|backend| backend.members.iter().flatten())
        .flat_map(|member| &member.endpoints)
        .map(|endpoint| (&endpoint.identity, endpoint))
        .collect();
    let old_backends: HashMap<&str, &Arc<Backend>> =
        old.backends.iter().map(|backend| (&*backend.key, backend)).collect();
    let mut backends = Vec::new();
    for backend in config.backends {
        let before = old_backends.get(&*backend.key).filter(|_| same_clusters);
        let mut members: Vec<Option<Member>> = vec![None; config.clusters.len()];
        for member in &backend.members {
            members[member.cluster] = Some(build_member(
                &backend,
                member,
                &config.clusters[member.cluster],
                &known,
                metrics,
                clock,
            ));
        }
        let control = before.map_or_else(|| Control::new(tuning.clone()), |before| before.control.lock().clone());
        let built = Backend::new(backend.key, backend.problem, backend.settings, members, control);
        if let Some(before) = before {
            built.table.store(before.table.load_full());
        }
        backends.push(Arc::new(built));
    }
    let clusters = config
        .clusters
        .into_iter()
        .map(|cluster| Cluster {
            header: HeaderValue::from_str(&cluster.name).unwrap_or_else(|_| HeaderValue::from_static("unnamed")),
            name: cluster.name,
            scaler: cluster.scaler,
            draining: cluster.draining,
        })
        .collect();
    let snapshot = Snapshot {
        generation: old.generation + 1,
        routes: config.routes,
        targets: config.targets,
        backends,
        clusters,
        origins: Some(Arc::clone(&origins)),
    };
    for backend in &snapshot.backends {
        steer::plan(backend, &snapshot, &origins, clock.tick(), Occasion::Replan, None);
    }
    snapshot
}

fn build_member(
    backend: &model::Backend,
    member: &model::Member,
    cluster: &model::Cluster,
    known: &HashMap<&Identity, &Arc<Endpoint>>,
    metrics: &Metrics,
    clock: &Clock,
) -> Member {
    let endpoints = member
        .endpoints
        .iter()
        .map(|endpoint| {
            let identity = Identity {
                address: Address::new(&endpoint.host, endpoint.port),
                protocol: backend.settings.protocol,
                backend: Arc::clone(&backend.key),
            };
            known.get(&identity).map_or_else(
                || {
                    let id = NEXT_ENDPOINT.fetch_add(1, Relaxed);
                    Arc::new(Endpoint::new(
                        id,
                        identity,
                        Arc::clone(&cluster.name),
                        clock.now_ms(),
                        !cluster.offline,
                    ))
                },
                |known| Arc::clone(known),
            )
        })
        .collect();
    Member {
        endpoints,
        ready: member.ready,
        total: member.total,
        counters: metrics.member(&backend.key, &cluster.name),
    }
}
