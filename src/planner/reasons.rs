//! Why a cluster got its number: what `kubefed plan` and events say.

use std::collections::BTreeMap;

use api::preferences::ClusterPreferences;

use crate::{ClusterInput, Input, v1::Split};

pub(crate) fn explain(input: &Input<'_>, outcome: &Split) -> BTreeMap<String, String> {
    let weights: i64 = input
        .clusters
        .iter()
        .filter_map(|c| input.preferences.for_cluster(&c.name))
        .map(|p| p.weight)
        .sum();
    input
        .clusters
        .iter()
        .enumerate()
        .map(|(i, cluster)| {
            let reason = match input.preferences.for_cluster(&cluster.name) {
                None => "the preferences name neither this cluster nor `*`".to_owned(),
                Some(preferences) => reason(
                    cluster,
                    preferences,
                    weights,
                    outcome.replicas[i],
                    outcome.overflow[i],
                    input,
                ),
            };
            (cluster.name.clone(), reason)
        })
        .collect()
}

fn reason(
    cluster: &ClusterInput,
    preferences: &ClusterPreferences,
    weights: i64,
    replicas: i64,
    overflow: i64,
    input: &Input<'_>,
) -> String {
    let mut parts = Vec::new();
    if preferences.weight == 0 {
        parts.push("weight 0: no share beyond its minimum".to_owned());
    } else {
        parts.push(format!("weight {} of {weights}", preferences.weight));
    }
    if preferences.min_replicas > 0 && replicas <= preferences.min_replicas {
        parts.push(format!("minimum {}", preferences.min_replicas));
    }
    if preferences.max_replicas.is_some_and(|max| replicas >= max) {
        parts.push(format!("at its maximum of {replicas}"));
    }
    if let Some(capacity) = cluster.capacity.filter(|capacity| replicas >= *capacity) {
        parts.push(format!("no room for more than {capacity}"));
    }
    if overflow > 0 {
        parts.push(format!("{overflow} more would be its share but do not fit"));
    }
    if !input.preferences.rebalance
        && let Some(current) = cluster.current.filter(|current| *current > 0 && *current <= replicas)
    {
        parts.push(format!("keeps the {current} it has"));
    }
    if replicas == 0 && preferences.weight > 0 && overflow == 0 && parts.len() == 1 {
        parts.push("no replicas left for it".to_owned());
    }
    parts.join("; ")
}
