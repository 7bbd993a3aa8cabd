//! Which cluster is to have what of a federated object. Pure: the planner's answer, with frozen, lost and
//! returning clusters, autoscaled copies and the order of moves taken into account.

mod autoscaler;
mod job;
mod moves;
mod ordinals;
mod replicas;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use api::{
    preferences::Preferences,
    well_known::{TAINT_DRAINING, TAINT_LEAVING},
};

use crate::{ClusterInput, Input, Resources, Share, availability::Availability};

/// How an object of a kind is spread over clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// The same copy everywhere.
    Copy,
    /// `spec.replicas` is split by the preferences in this annotation.
    Replicas {
        /// Annotation with the preferences.
        preferences: &'static str,
        /// Whether each cluster gets its own contiguous range of ordinals.
        ordinals: bool,
    },
    /// Parallelism and completions are split, each by itself.
    Job {
        /// Annotation with the preferences.
        preferences: &'static str,
    },
    /// Minimum and maximum are split.
    Autoscaler {
        /// Annotation with the preferences.
        preferences: &'static str,
    },
}

impl Scaling {
    /// The annotation that says how it is split.
    #[must_use]
    pub fn preferences(self) -> Option<&'static str> {
        match self {
            Self::Copy => None,
            Self::Replicas { preferences, .. } | Self::Job { preferences } | Self::Autoscaler { preferences } => {
                Some(preferences)
            }
        }
    }
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// How its kind is spread.
    pub scaling: Scaling,
    /// `namespace/name` of the object.
    pub key: &'a str,
    /// What it asks for in total.
    pub total: &'a Share,
    /// How its users want it split.
    pub preferences: &'a Preferences,
    /// What one of its pods requests.
    pub requests: Resources,
}

/// What is known of one cluster.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// The Cluster object, reduced.
    pub cluster: ClusterInput,
    /// Whether the object's selector admits it. One that is not admitted is here only while it has a copy.
    pub selected: bool,
    /// How it counts.
    pub availability: Availability,
    /// Replicas (or parallelism, or an autoscaler's maximum) the copy was told to have; `None` if there is no copy.
    pub replicas: Option<i64>,
    /// The most ready replicas that may be counted on, while a change of its number has not taken effect.
    pub counted: Option<i64>,
    /// Completions the copy was told to have.
    pub completions: Option<i64>,
    /// The first ordinal the copy was told to have.
    pub start: Option<i64>,
    /// An autoscaler's minimum the copy was told to have.
    pub min: Option<i64>,
    /// Replicas that are ready.
    pub ready: i64,
    /// Replicas that exist; of an autoscaler's copy those that it wants.
    pub existing: i64,
    /// Pods that wait for a place; `None` if not counted.
    pub waiting: Option<Waiting>,
    /// Replicas that fitted there when last some did not, not long ago.
    pub full: Option<Full>,
    /// Who decides how many replicas the copy has.
    pub scaler: Scaler,
    /// Its share when last all clusters were there.
    pub home: Option<i64>,
}

/// Who decides how many replicas a copy has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scaler {
    /// The plan.
    #[default]
    Plan,
    /// An autoscaler that somebody made in the member.
    Member,
    /// The cluster's copy of a federated autoscaler, between these bounds.
    Federated {
        /// `spec.minReplicas` of the copy.
        min: i64,
        /// `spec.maxReplicas` of the copy.
        max: i64,
    },
    /// A federated autoscaler that has no copy in this cluster: nothing is to run here.
    Elsewhere,
}

/// Pods of a copy that wait for a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// All of them.
    pub all: i64,
    /// Those that have waited too long.
    pub stuck: i64,
    /// Replicas that are not ready and will not be, as far as anybody can tell.
    pub hopeless: i64,
    /// What the cluster's scheduler says of one that has.
    pub why: Option<Arc<str>>,
}

/// A cluster that had no room for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Full {
    /// Replicas that fitted.
    pub fits: i64,
    /// What the cluster's scheduler said.
    pub why: Option<Arc<str>>,
}

impl ClusterView {
    /// A cluster that has no copy.
    #[must_use]
    pub fn new(cluster: ClusterInput, availability: Availability) -> Self {
        Self {
            cluster,
            selected: true,
            availability,
            replicas: None,
            counted: None,
            completions: None,
            start: None,
            min: None,
            ready: 0,
            existing: 0,
            waiting: None,
            full: None,
            scaler: Scaler::Plan,
            home: None,
        }
    }

    /// The name of the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.cluster.name
    }

    // Whether its replicas are an autoscaler's to change. None touches a workload that was scaled to zero.
    fn is_autoscaled(&self) -> bool {
        matches!(self.scaler, Scaler::Member | Scaler::Federated { .. }) && self.replicas.is_some_and(|r| r > 0)
    }

    fn has_taint(&self, key: &str) -> bool {
        self.cluster.taints.iter().any(|taint| taint.key == key)
    }

    /// Whether it is on its way out of the federation, and keeps its copies as they are.
    fn is_leaving(&self) -> bool {
        self.has_taint(TAINT_LEAVING)
    }

    /// Whether there is more to say of it than its share.
    #[must_use]
    pub fn is_remarkable(&self) -> bool {
        self.availability != Availability::Ready
            || !self.selected
            || self.cluster.unschedulable
            || !self.cluster.taints.is_empty()
    }

    // Shares of clusters that are away for a while are kept for them.
    fn is_away(&self) -> bool {
        matches!(self.availability, Availability::Lost | Availability::Returning { .. })
            || self.has_taint(TAINT_DRAINING)
    }

    // What it is to keep if it can: its share as last planned with all clusters, so that replicas which fled from a
    // lost cluster go home. Of an object we have not placed ourselves, what runs there.
    fn current(&self) -> Option<i64> {
        if self.home.is_some() {
            return self.home;
        }
        let replicas = self.replicas?;
        match &self.waiting {
            Some(waiting) if replicas != self.ready => Some((self.existing - waiting.all).max(0)),
            Some(_) | None => Some(replicas),
        }
    }

    /// Replicas that fit, if some were seen not to.
    #[must_use]
    pub fn capacity(&self) -> Option<i64> {
        let replicas = self.replicas?;
        let stuck = self.waiting.as_ref().map_or(0, |waiting| waiting.stuck);
        if replicas != self.ready && stuck > 0 {
            return Some((replicas - stuck).max(0));
        }
        let full = self.full.as_ref()?;
        Some(full.fits.max(self.ready.min(replicas)))
    }

    // Without what runs there: a new object's view.
    fn fresh(&self) -> ClusterInput {
        ClusterInput {
            running: self.replicas,
            ..self.cluster.clone()
        }
    }
}

/// The outcome: a share per cluster that is to have a copy, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// What each cluster has to have now. A cluster that is not here has no copy.
    pub shares: BTreeMap<String, Share>,
    /// Where the replicas are to be in the end; moves may still be going on.
    pub wanted: BTreeMap<String, i64>,
    /// Of them, those that are asked of a cluster beyond its capacity.
    pub overflow: BTreeMap<String, i64>,
    /// Why, per cluster, in words.
    pub reasons: BTreeMap<String, String>,
    /// The shares when last all clusters were there.
    pub home: BTreeMap<String, i64>,
    /// Replicas that found no place, or only one where they do not fit.
    pub unplaced: i64,
    /// Ready replicas per cluster that are counted on once this has taken effect.
    pub counted: BTreeMap<String, i64>,
    /// Clusters that a new template reaches one group after the other; none: all at once.
    pub waves: Vec<Vec<String>>,
}

impl Placement {
    /// Whether replicas are still on their way.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.wanted.iter().any(|(name, wanted)| {
            self.shares
                .get(name)
                .and_then(|s| s.replicas)
                .is_some_and(|replicas| replicas != *wanted)
        })
    }
}

impl Demand<'_> {
    fn split(&self, replicas: i64, clusters: Vec<ClusterInput>) -> crate::Plan {
        crate::plan(&Input {
            key: self.key,
            replicas: replicas.max(0),
            preferences: self.preferences,
            requests: Some(self.requests),
            clusters,
        })
    }
}

/// Places an object.
#[must_use]
pub fn place(demand: &Demand<'_>, clusters: &[ClusterView]) -> Placement {
    match demand.scaling {
        Scaling::Copy => Placement {
            shares: clusters
                .iter()
                .filter(|c| c.selected)
                .map(|c| (c.name().to_owned(), Share::default()))
                .collect(),
            ..Placement::default()
        },
        Scaling::Replicas { ordinals, .. } => {
            let mut placement = replicas::place(demand, clusters);
            if ordinals {
                ordinals::assign(demand.total.start.unwrap_or(0), clusters, &mut placement.shares);
            }
            placement
        }
        Scaling::Job { .. } => job::place(demand, clusters),
        Scaling::Autoscaler { .. } => autoscaler::place(demand, clusters),
    }
}

/// The placement in words: `9 replicas: asia 3, europe 3, us 3`.
#[must_use]
pub fn sentence(placement: &Placement, unit: &str) -> String {
    let total: i64 = placement.wanted.values().sum();
    let parts: Vec<String> = placement.wanted.iter().map(|(name, n)| format!("{name} {n}")).collect();
    format!("{total} {unit}: {}", parts.join(", "))
}
