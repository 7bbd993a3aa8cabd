//! Jobs: parallelism and completions, each split by itself.

use super::{ClusterView, Demand, Placement};
use crate::{ClusterInput, Share, availability::Availability};

/// A running shard keeps its completions, which cannot be changed; the rest is planned over the other clusters.
pub(super) fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    let clusters: Vec<&ClusterView> = clusters.iter().filter(|v| v.selected).collect();
    let started: Vec<&ClusterView> = clusters.iter().copied().filter(|v| v.replicas.is_some()).collect();
    let taken: i64 = started.iter().filter_map(|v| v.completions).sum();
    let mut placement = Placement::default();
    for view in &started {
        let share = Share {
            replicas: view.replicas,
            completions: view.completions,
            ..Share::default()
        };
        placement.shares.insert(view.name().to_owned(), share);
    }
    let short = demand.total.completions.is_some_and(|all| taken < all);
    if started.is_empty() || short {
        start(demand, &clusters, &started, &mut placement);
    } else {
        rescale(demand, &started, &mut placement);
    }
    placement
}

fn is_ready(view: &&ClusterView) -> bool {
    view.availability == Availability::Ready
}

/// Splits the parallelism anew over the shards there are.
fn rescale(demand: &Demand<'_>, started: &[&ClusterView], placement: &mut Placement) {
    let parallelism = demand.total.replicas.unwrap_or(1);
    // Where a shard is, it stays: cordons and taints are for those that have not started.
    let inputs = started.iter().copied().filter(is_ready).map(|view| ClusterInput {
        name: view.name().to_owned(),
        ..ClusterInput::default()
    });
    let plan = demand.split(parallelism, inputs.collect());
    for (name, share) in &mut placement.shares {
        // A shard without workers would never end.
        if let Some(planned) = plan.replicas.get(name) {
            share.replicas = Some(if parallelism > 0 { (*planned).max(1) } else { 0 });
        }
    }
}

/// Starts shards for the completions that nobody has yet.
fn start(demand: &Demand<'_>, clusters: &[&ClusterView], started: &[&ClusterView], placement: &mut Placement) {
    let parallelism = demand.total.replicas.unwrap_or(1);
    let workers: i64 = started.iter().filter_map(|v| v.replicas).sum();
    let taken: i64 = started.iter().filter_map(|v| v.completions).sum();
    let fresh: Vec<&ClusterView> = clusters
        .iter()
        .copied()
        .filter(is_ready)
        .filter(|v| v.replicas.is_none())
        .collect();
    let missing = if started.is_empty() {
        parallelism
    } else {
        (parallelism - workers).max(1)
    };
    let plan = demand.split(missing, fresh.iter().map(|v| v.fresh()).collect());
    let working: Vec<ClusterInput> = fresh
        .iter()
        .filter(|v| parallelism == 0 || plan.desired(v.name()) > 0)
        .map(|v| v.fresh())
        .collect();
    let completions = demand
        .total
        .completions
        .map(|all| demand.split(all - taken, working.iter().map(without_room).collect()));
    for cluster in &working {
        let share = Share {
            replicas: Some(plan.desired(&cluster.name)),
            completions: completions.as_ref().map(|c| c.desired(&cluster.name)),
            ..Share::default()
        };
        if share.completions != Some(0) {
            placement.shares.insert(cluster.name.clone(), share);
        }
    }
    placement.reasons.extend(plan.reasons);
}

// Completions run one after the other: the room limits the workers only.
fn without_room(cluster: &ClusterInput) -> ClusterInput {
    ClusterInput {
        free: None,
        ..cluster.clone()
    }
}
