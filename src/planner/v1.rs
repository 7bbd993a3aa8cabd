//! The split of Federation v1, to the replica.
//!
//! Clusters are taken heaviest first, ties broken by the FNV-1 hash of cluster name and object key, so that the
//! odd replicas of many objects do not all land in the same cluster. Three passes:
//!
//! 1. every cluster gets its minimum, as far as replicas and its capacity go;
//! 2. unless rebalancing is asked for, clusters keep what runs there already (an advance on their share);
//! 3. rounds: what remains is shared by weight, rounded up; a share first uses up the cluster's advance; a cluster
//!    that reaches its maximum or capacity is out; until nothing remains or nothing moves.
//!
//! Known edges, kept because the plans must equal the original's: the maximum does not limit the first pass, only
//! what a round adds (admission refuses a minimum above the maximum); a negative capacity makes a negative plan
//! (callers clamp); with `rebalance` the overflow repeats replicas that were placed elsewhere.
//!
//! The original walks maps and re-allocates in every round; here clusters are indices into flat arrays, so that ten
//! thousand clusters and a million replicas are planned in milliseconds.

use api::preferences::ClusterPreferences;

use crate::Input;

/// Replicas and overflow, by index of the cluster in the input.
pub(crate) struct Split {
    pub(crate) replicas: Vec<i64>,
    pub(crate) overflow: Vec<i64>,
}

struct Candidate<'a> {
    index: usize,
    preferences: &'a ClusterPreferences,
    hash: u32,
}

/// The 32-bit FNV-1 hash (multiply, then xor: not 1a).
fn fnv1(parts: [&str; 2]) -> u32 {
    parts
        .iter()
        .flat_map(|part| part.bytes())
        .fold(0x811c_9dc5, |hash: u32, byte| {
            hash.wrapping_mul(0x0100_0193) ^ u32::from(byte)
        })
}

/// `remaining * weight / sum`, rounded up, without overflow.
fn share(remaining: i64, weight: i64, sum: i64) -> i64 {
    let up = (i128::from(remaining) * i128::from(weight) + i128::from(sum) - 1) / i128::from(sum);
    i64::try_from(up).unwrap_or(i64::MAX)
}

pub(crate) fn split(input: &Input<'_>) -> Split {
    let clusters = &input.clusters;
    let mut replicas = vec![0; clusters.len()];
    let mut overflow = vec![0; clusters.len()];
    let mut candidates: Vec<Candidate<'_>> = clusters
        .iter()
        .enumerate()
        .filter_map(|(index, cluster)| {
            let preferences = input.preferences.for_cluster(&cluster.name)?;
            Some(Candidate {
                index,
                preferences,
                hash: fnv1([&cluster.name, input.key]),
            })
        })
        .collect();
    candidates.sort_by_key(|c| (std::cmp::Reverse(c.preferences.weight), c.hash));

    let mut remaining = input.replicas;
    for Candidate { index, preferences, .. } in &candidates {
        let fits = clusters[*index].capacity.unwrap_or(i64::MAX);
        let granted = preferences.min_replicas.min(remaining).min(fits);
        remaining -= granted;
        replicas[*index] = granted;
    }

    let mut advance = vec![0; clusters.len()];
    if !input.preferences.rebalance {
        for Candidate { index, preferences, .. } in &candidates {
            let planned = replicas[*index];
            let Some(current) = clusters[*index].current.filter(|current| *current > planned) else {
                continue;
            };
            let keep = current
                .min(preferences.max_replicas.unwrap_or(i64::MAX))
                .min(clusters[*index].capacity.unwrap_or(i64::MAX));
            let extra = (keep - planned).min(remaining).max(0);
            remaining -= extra;
            advance[*index] = extra;
            replicas[*index] = planned + extra;
        }
    }

    let mut moved = true;
    while moved && remaining > 0 {
        moved = false;
        let weights: i64 = candidates.iter().map(|c| c.preferences.weight).sum();
        if weights <= 0 {
            break;
        }
        let at_start = remaining;
        candidates.retain(|Candidate { index, preferences, .. }| {
            let start = replicas[*index];
            let due = share(at_start, preferences.weight, weights).min(remaining);
            let from_advance = due.min(advance[*index]);
            advance[*index] -= from_advance;
            let mut total = start + due - from_advance;
            let mut full = false;
            if let Some(max) = preferences.max_replicas.filter(|max| total > *max) {
                total = max;
                full = true;
            }
            if let Some(capacity) = clusters[*index].capacity.filter(|capacity| total > *capacity) {
                overflow[*index] = total - capacity;
                total = capacity;
                full = true;
            }
            remaining -= total - start;
            replicas[*index] = total;
            moved |= from_advance > 0 || total > start;
            !full
        });
    }

    if !input.preferences.rebalance {
        for over in &mut overflow {
            *over = (*over).min(remaining).max(0);
        }
    }
    Split { replicas, overflow }
}
