//! Why a cluster got its number: what `kubefed plan` and events say.

use std::collections::BTreeMap;

use api::preferences::ClusterPreferences;

use crate::{ClusterInput, Input, admit::Considered, standing::Standing};

pub(crate) fn explain(input: &Input<'_>, considered: &Considered) -> BTreeMap<String, String> {
    let weights: i64 = input
        .clusters
        .iter()
        .zip(&considered.standings)
        .filter(|(_, standing)| !matches!(standing, Standing::Out(_)))
        .filter_map(|(c, _)| input.preferences.for_cluster(&c.name))
        .map(|p| p.weight)
        .sum();
    input
        .clusters
        .iter()
        .enumerate()
        .map(|(i, cluster)| {
            let reason = match (input.preferences.for_cluster(&cluster.name), &considered.standings[i]) {
                (None, _) => "the preferences name neither this cluster nor `*`".to_owned(),
                (Some(_), Standing::Out(why)) => why.clone(),
                (Some(preferences), standing) => {
                    let mut parts: Vec<String> = standing.reason().map(str::to_owned).into_iter().collect();
                    parts.extend(share(cluster, preferences, weights, i, input, considered));
                    parts.join("; ")
                }
            };
            (cluster.name.clone(), reason)
        })
        .collect()
}

fn share(
    cluster: &ClusterInput,
    preferences: &ClusterPreferences,
    weights: i64,
    index: usize,
    input: &Input<'_>,
    considered: &Considered,
) -> Vec<String> {
    let replicas = considered.outcome.replicas[index];
    let overflow = considered.outcome.overflow[index];
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
    match considered.room[index] {
        Some((most, scarce)) if replicas >= most => parts.push(format!("no room for more than {most} ({scarce})")),
        None if input.preferences.capacity_aware => parts.push("its free room is not known".to_owned()),
        _ => {}
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
    parts
}
