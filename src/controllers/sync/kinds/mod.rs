//! The kinds that are propagated. A kind is added here: one implementation of [`Kind`], one line in [`all`].

mod autoscaler;
mod claim;
mod job;
mod plain;
mod service;
mod stateful_set;
mod workload;

pub use plain::is_system_namespace;

use std::sync::LazyLock;

use apimachinery::Object;
use client::Resource;

use planner::Share;
pub use planner::placement::Scaling;

use super::{SyncKey, observe::Observed, status::Merge};

/// What the federation must know of a kind. All functions are pure.
pub trait Kind: Send + Sync {
    /// The resource, the same in the federation and in members.
    fn resource(&self) -> Resource;

    /// Whether this object stays out of members: made by each cluster for itself.
    fn excluded(&self, _object: &Object) -> bool {
        false
    }

    /// Removes from a copy what a member must decide itself. Metadata and status are already reduced.
    fn prune(&self, _config: &mut Object) {}

    /// How it is spread.
    fn scaling(&self) -> Scaling {
        Scaling::Copy
    }

    /// What a federated object asks for in total.
    fn demand(&self, _object: &Object) -> Share {
        Share::default()
    }

    /// Writes one cluster's share into its copy.
    fn specialise(&self, _config: &mut Object, _share: &Share) {}

    /// The federated workload whose replicas an object of this kind changes.
    fn scales(&self, _object: &Object) -> Option<SyncKey> {
        None
    }

    /// What is kept of a copy in a member, for planning and for the merged status.
    fn observe(&self, _object: &Object) -> Observed {
        Observed::default()
    }

    /// The status of the federated object from those of its copies; `None` where the kind has none to merge.
    fn merge(&self, _input: &Merge<'_>) -> Option<Object> {
        None
    }
}

/// Every propagated kind; namespaces first, since everything else needs them.
#[must_use]
pub fn all() -> &'static [&'static dyn Kind] {
    &[
        &plain::Namespaces,
        &plain::ConfigMaps,
        &plain::Secrets,
        &plain::ServiceAccounts,
        &plain::PriorityClasses,
        &claim::PersistentVolumeClaims,
        &service::Services,
        &workload::ReplicaSets,
        &workload::Deployments,
        &workload::DaemonSets,
        &stateful_set::StatefulSets,
        &job::Jobs,
        &plain::CronJobs,
        &autoscaler::HorizontalPodAutoscalers,
        &plain::PodDisruptionBudgets,
        &plain::NetworkPolicies,
    ]
}

/// Position of a kind in [`all`].
pub type KindIndex = u8;

/// Whether a change of one copy concerns more than that copy: replicas are split, or statuses merged.
#[must_use]
pub fn concerns_all(kind: KindIndex) -> bool {
    static ANSWERS: LazyLock<Vec<bool>> = LazyLock::new(|| {
        let nothing = Merge::of_nothing();
        let concerns = |kind: &&dyn Kind| kind.scaling() != Scaling::Copy || kind.merge(&nothing).is_some();
        all().iter().map(concerns).collect()
    });
    ANSWERS[usize::from(kind)]
}

/// The position of the kind with that name.
#[must_use]
pub fn index_of(kind: &str) -> Option<KindIndex> {
    all()
        .iter()
        .position(|k| k.resource().kind == kind)
        .and_then(|i| KindIndex::try_from(i).ok())
}

fn remove(config: &mut Object, parent: &str, keys: &[&str]) {
    if let Some(map) = config.pointer_mut(parent).and_then(Object::as_object_mut) {
        for key in keys {
            map.shift_remove(*key);
        }
    }
}
