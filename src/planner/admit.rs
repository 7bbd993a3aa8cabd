//! Which clusters a split is made over, and how much each may take.
//!
//! The splits themselves know only weights, limits and capacities. A cluster that is out is not given to them; one
//! that is held becomes one with a maximum of what it has; free room becomes a capacity. Clusters that are a last
//! resort are held at first, and opened if replicas are left over. Where nothing of this applies, the split sees its
//! input as it is.

use std::borrow::Cow;

use api::preferences::{ClusterPreferences, Preferences};

use crate::standing::{Standing, standing};
use crate::v1::{self, Split};
use crate::{ClusterInput, Input, extended};

/// A split, and what limited it.
pub(crate) struct Considered {
    /// Replicas and overflow by index in the input.
    pub(crate) outcome: Split,
    /// How each cluster stands.
    pub(crate) standings: Vec<Standing>,
    /// The most each cluster can run by its free room, and which resource says so.
    pub(crate) room: Vec<Option<(i64, &'static str)>>,
}

pub(crate) fn consider(input: &Input<'_>) -> Considered {
    let standings: Vec<Standing> = input
        .clusters
        .iter()
        .map(|cluster| standing(input.preferences, cluster))
        .collect();
    let room: Vec<_> = input.clusters.iter().map(|cluster| room(input, cluster)).collect();
    let mut outcome = attempt(input, &standings, &room, false);
    let last_resort = standings.iter().any(|s| matches!(s, Standing::Reluctant(_)));
    if last_resort && outcome.replicas.iter().sum::<i64>() < input.replicas {
        outcome = attempt(input, &standings, &room, true);
    }
    Considered {
        outcome,
        standings,
        room,
    }
}

fn split(input: &Input<'_>) -> Split {
    if extended::asked_for(input.preferences) {
        extended::split(input)
    } else {
        v1::split(input)
    }
}

/// What a cluster can run of the object: what it is told to run, and what fits beside it.
fn room(input: &Input<'_>, cluster: &ClusterInput) -> Option<(i64, &'static str)> {
    let each = input.requests.filter(|_| input.preferences.capacity_aware)?;
    let (more, scarce) = cluster.free?.fits(each);
    Some((cluster.running().saturating_add(more), scarce))
}

fn attempt(
    input: &Input<'_>,
    standings: &[Standing],
    room: &[Option<(i64, &'static str)>],
    last_resort: bool,
) -> Split {
    if standings.iter().all(|s| *s == Standing::Open) && room.iter().all(Option::is_none) {
        return split(input);
    }
    let mut preferences = Cow::Borrowed(input.preferences);
    let mut indices = Vec::with_capacity(input.clusters.len());
    let mut clusters = Vec::with_capacity(input.clusters.len());
    for (index, cluster) in input.clusters.iter().enumerate() {
        let held = match &standings[index] {
            Standing::Open => None,
            Standing::Out(_) => continue,
            Standing::Held(_) => Some(cluster.running()),
            Standing::Reluctant(_) if last_resort => None,
            // Who asks for a minimum there means it.
            Standing::Reluctant(_) => Some(cluster.running().max(minimum(input.preferences, cluster))),
        };
        if let Some(most) = held {
            hold(&mut preferences, &cluster.name, most);
        }
        let limits = [cluster.capacity, room[index].map(|(most, _)| most)];
        clusters.push(ClusterInput {
            capacity: limits.into_iter().flatten().min(),
            ..cluster.clone()
        });
        indices.push(index);
    }
    let part = split(&Input {
        preferences: &preferences,
        clusters,
        ..*input
    });
    let spread = |values: Vec<i64>| {
        let mut all = vec![0; input.clusters.len()];
        for (index, value) in indices.iter().zip(values) {
            all[*index] = value;
        }
        all
    };
    Split {
        replicas: spread(part.replicas),
        overflow: spread(part.overflow),
    }
}

fn minimum(preferences: &Preferences, cluster: &ClusterInput) -> i64 {
    preferences.for_cluster(&cluster.name).map_or(0, |own| own.min_replicas)
}

/// Gives a cluster an entry of its own that allows it no more than this.
fn hold(preferences: &mut Cow<'_, Preferences>, name: &str, most: i64) {
    let Some(own) = preferences.for_cluster(name).copied() else {
        return;
    };
    let held = ClusterPreferences {
        min_replicas: own.min_replicas.min(most),
        max_replicas: Some(own.max_replicas.map_or(most, |max| max.min(most))),
        weight: own.weight,
    };
    preferences.to_mut().clusters.insert(name.to_owned(), held);
}

#[cfg(test)]
mod tests;
