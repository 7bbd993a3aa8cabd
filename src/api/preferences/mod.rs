//! How an object is split over clusters: the JSON of the preferences annotations.
//!
//! The format is the original federation's: `{"rebalance": bool, "clusters": {NAME or "*": {"minReplicas", "maxReplicas",
//! "weight"}}}`. Keys match whatever their case, as Go's decoder did, and unknown keys are ignored (a warning names them).
//! Newer fields are optional and change nothing when absent:
//!
//! | field | meaning |
//! |---|---|
//! | `strategy` | `weights` (default) or `spread` (Webster's method on the weights) |
//! | `spreadBy` | `region` or `zone`: spread over these groups first |
//! | `minGroups`, `maxGroups` | least and greatest number of groups used |
//! | `order` | cluster names, filled one after the other; the rest overflows to those not named |
//! | `capacityAware` | leave out what members have no room for, from their allocatable and requested resources |
//! | `tolerations` | taints of clusters that do not matter, in the form of pods' tolerations |
//! | `require` | requirements on Cluster labels, in the form of the cluster selector |
//! | `minAvailable` | replicas, or percentage, that stay available while replicas move |
//! | `waves` | `cluster` or `region`: roll a new template out one group after the other |
//!
//! Reading ([`Preferences::parse`]) minds types only; [`Preferences::problems`] is what admission refuses.

mod decode;
mod validate;

use std::collections::BTreeMap;

use apimachinery::Object;

use crate::{cluster_selector::Requirement, well_known};

pub use decode::{Error, Parsed};
pub use validate::Problem;

/// The entry for clusters that have none of their own.
pub const EVERY_CLUSTER: &str = "*";

/// How an object is split over clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preferences {
    /// Whether running replicas move to reach the wanted split; false (the default) keeps them where they are.
    pub rebalance: bool,
    /// Wishes per cluster name; [`EVERY_CLUSTER`] is for all others. A cluster without an entry gets nothing.
    pub clusters: BTreeMap<String, ClusterPreferences>,
    /// How weights become replicas.
    pub strategy: SplitStrategy,
    /// Groups to spread over before clusters.
    pub spread_by: Option<SpreadBy>,
    /// Least number of groups, with [`Preferences::spread_by`].
    pub min_groups: Option<i64>,
    /// Greatest number of groups, with [`Preferences::spread_by`].
    pub max_groups: Option<i64>,
    /// Clusters to fill one after the other; empty means all at once.
    pub order: Vec<String>,
    /// Whether to leave out what members have no room for.
    pub capacity_aware: bool,
    /// Taints of clusters that do not matter.
    pub tolerations: Vec<Toleration>,
    /// Requirements that the labels of a cluster must meet.
    pub require: Vec<Requirement>,
    /// What stays available while replicas move; all of them by default.
    pub min_available: Option<Amount>,
    /// Groups a new template is rolled out to, one after the other.
    pub waves: Option<Waves>,
}

/// Wishes for one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterPreferences {
    /// Least number of replicas; 0 by default.
    pub min_replicas: i64,
    /// Greatest number of replicas; no limit by default.
    pub max_replicas: Option<i64>,
    /// Share among the weights of all clusters; 0 (the default) gets no more than the minimum.
    pub weight: i64,
}

/// How weights become replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SplitStrategy {
    /// The original's rounds: shares by weight, rounded up, in order of weight.
    #[default]
    Weights,
    /// Webster's method: the fairest whole shares.
    Spread,
}

/// Groups of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpreadBy {
    /// Clusters of one region.
    Region,
    /// Clusters of one zone.
    Zone,
}

/// Groups of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waves {
    /// Every cluster is a wave.
    Cluster,
    /// Every region is a wave.
    Region,
}

/// A number of replicas, or a percentage of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many replicas.
    Replicas(i64),
    /// So many of a hundred, rounded up.
    Percent(i64),
}

impl Amount {
    /// The amount in replicas, of a total.
    #[must_use]
    pub fn of(self, total: i64) -> i64 {
        match self {
            Self::Replicas(n) => n,
            Self::Percent(p) => total.saturating_mul(p).saturating_add(99).div_euclid(100),
        }
    }
}

/// A taint that does not matter, with the meaning tolerations have on pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toleration {
    /// Key of the taint; empty with `exists` tolerates every key.
    pub key: String,
    /// True for operator `Exists`: any value; false for `Equal`.
    pub exists: bool,
    /// Value of the taint, unless `exists`.
    pub value: String,
    /// Effect of the taint; empty for every effect.
    pub effect: String,
}

impl Toleration {
    /// Whether a taint with this key, value and effect does not matter.
    #[must_use]
    pub fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        let same_effect = self.effect.is_empty() || self.effect == effect;
        let same_key = self.key == key || (self.key.is_empty() && self.exists);
        same_effect && same_key && (self.exists || self.value == value)
    }
}

impl Preferences {
    /// What holds without an annotation: every cluster an equal share, nothing moves.
    #[must_use]
    pub fn equal_shares() -> Self {
        let everywhere = ClusterPreferences {
            weight: 1,
            ..ClusterPreferences::default()
        };
        Self {
            clusters: BTreeMap::from([(EVERY_CLUSTER.to_owned(), everywhere)]),
            ..Self::default()
        }
    }

    /// Reads the value of a preferences annotation.
    ///
    /// # Errors
    /// The text is not JSON, or a field is of the wrong type. Values are not judged, see [`Preferences::problems`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        decode::decode(text).map(|parsed| parsed.preferences)
    }

    /// The preferences an object carries; `None` if it has no such annotation or its kind is not split.
    ///
    /// # Errors
    /// As [`Preferences::parse`].
    pub fn of(object: &Object) -> Result<Option<Self>, Error> {
        annotation_of(object).map(|(_, text)| Self::parse(text)).transpose()
    }

    /// What admission refuses: negative numbers, a minimum above the maximum, limits without groups.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        validate::problems(self)
    }

    /// The wishes for a cluster: its own entry, else the one for every cluster.
    #[must_use]
    pub fn for_cluster(&self, name: &str) -> Option<&ClusterPreferences> {
        self.clusters.get(name).or_else(|| self.clusters.get(EVERY_CLUSTER))
    }
}

/// Reads the value of a preferences annotation and says which keys nobody knows.
///
/// # Errors
/// As [`Preferences::parse`].
pub fn parse_with_unknown_keys(text: &str) -> Result<Parsed, Error> {
    decode::decode(text)
}

/// Every annotation that carries preferences.
pub const ANNOTATIONS: [&str; 5] = [
    well_known::REPLICA_SET_PREFERENCES,
    well_known::DEPLOYMENT_PREFERENCES,
    well_known::STATEFUL_SET_PREFERENCES,
    well_known::JOB_PREFERENCES,
    well_known::HPA_PREFERENCES,
];

/// The annotation that splits objects of this kind; `None` for kinds that are copied whole.
#[must_use]
pub fn annotation_for(kind: &str) -> Option<&'static str> {
    match kind {
        "ReplicaSet" => Some(well_known::REPLICA_SET_PREFERENCES),
        "Deployment" => Some(well_known::DEPLOYMENT_PREFERENCES),
        "StatefulSet" => Some(well_known::STATEFUL_SET_PREFERENCES),
        "Job" | "CronJob" => Some(well_known::JOB_PREFERENCES),
        "HorizontalPodAutoscaler" => Some(well_known::HPA_PREFERENCES),
        _ => None,
    }
}

/// Key and value of the preferences annotation an object carries.
#[must_use]
pub fn annotation_of(object: &Object) -> Option<(&'static str, &str)> {
    let key = annotation_for(object["kind"].as_str()?)?;
    Some((key, object["metadata"]["annotations"][key].as_str()?))
}

#[cfg(test)]
mod tests;
