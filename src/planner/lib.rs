//! Replica placement as pure functions.
//!
//! [`placement`] is what the controllers ask: which cluster is to have what of an object now, with clusters that are
//! away, autoscalers and moves taken into account. At its heart [`plan`] splits a number of replicas over clusters, as Federation v1 did (`v1`) or by the wishes that v1 did not
//! know (`extended`), and says in words why each cluster got what it got. Around both, `admit` leaves out clusters
//! that do not take the object and limits those that have no room. Nothing here reads a clock or a random source:
//! the same input gives the same plan, which is what lets `kubefed plan` show beforehand what the controller will do.

mod admit;
pub mod availability;
mod cluster;
mod extended;
pub mod placement;
mod reasons;
pub mod room;
mod share;
mod standing;
mod v1;
mod webster;

use std::collections::BTreeMap;

use api::preferences::Preferences;

pub use cluster::{ClusterInput, Taint};
pub use room::Resources;
pub use share::Share;
pub use standing::{Standing, standing};

/// What to split, and over what.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// `namespace/name` of the object; breaks ties between clusters of equal weight.
    pub key: &'a str,
    /// Replicas to place in all clusters together.
    pub replicas: i64,
    /// The object's preferences.
    pub preferences: &'a Preferences,
    /// What one replica requests, for `capacityAware`; `None` if not known.
    pub requests: Option<Resources>,
    /// The clusters that may get replicas, each once.
    pub clusters: Vec<ClusterInput>,
}

/// The outcome: where how many replicas go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Replicas per cluster; every cluster of the input is there, if only with 0.
    pub replicas: BTreeMap<String, i64>,
    /// Replicas asked of a cluster beyond its capacity, because they fit nowhere else
    /// (with `rebalance`: that were its share, even if they were placed elsewhere).
    pub overflow: BTreeMap<String, i64>,
    /// Why, in words, for every cluster.
    pub reasons: BTreeMap<String, String>,
}

impl Plan {
    /// What the object in `cluster` asks for: its planned replicas and its overflow, so that pods which do not fit
    /// yet stay visible as pending.
    #[must_use]
    pub fn desired(&self, cluster: &str) -> i64 {
        let of = |map: &BTreeMap<String, i64>| map.get(cluster).copied().unwrap_or(0);
        of(&self.replicas) + of(&self.overflow)
    }

    /// Replicas that found no place at all.
    #[must_use]
    pub fn unplaced(&self, wanted: i64) -> i64 {
        (wanted - self.replicas.values().sum::<i64>()).max(0)
    }
}

/// Splits `input.replicas` over `input.clusters`.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let considered = admit::consider(input);
    let outcome = &considered.outcome;
    let reasons = reasons::explain(input, &considered);
    let name = |index: usize| input.clusters[index].name.clone();
    Plan {
        replicas: outcome
            .replicas
            .iter()
            .enumerate()
            .map(|(i, n)| (name(i), *n))
            .collect(),
        overflow: outcome
            .overflow
            .iter()
            .enumerate()
            .filter(|(_, n)| **n != 0)
            .map(|(i, n)| (name(i), *n))
            .collect(),
        reasons,
    }
}

#[cfg(test)]
mod tests;
