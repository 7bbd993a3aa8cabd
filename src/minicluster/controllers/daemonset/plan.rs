//! What a DaemonSet's nodes need: pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetStatus},
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
    },
};

use super::super::deployment::resolve;
use crate::{pods, scheduler::affinity};

/// Label of a DaemonSet's pods: which template they are of.
pub(crate) const HASH: &str = "controller-revision-hash";

/// What to do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Nodes that get a pod.
    pub(crate) create: Vec<String>,
    /// Pods to delete.
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// Taints that daemons put up with, for how bad a node may be and still want its daemons.
pub(crate) fn tolerations(host_network: bool) -> Vec<Toleration> {
    let on = |key: &str, effect: &str| Toleration {
        key: Some(format!("node.kubernetes.io/{key}")),
        operator: Some("Exists".into()),
        effect: Some(effect.into()),
        ..Toleration::default()
    };
    let mut all = vec![
        on("not-ready", "NoExecute"),
        on("unreachable", "NoExecute"),
        on("disk-pressure", "NoSchedule"),
        on("memory-pressure", "NoSchedule"),
        on("pid-pressure", "NoSchedule"),
        on("unschedulable", "NoSchedule"),
    ];
    if host_network {
        all.push(on("network-unavailable", "NoSchedule"));
    }
    all
}

/// Ties a pod to one node, through the scheduler.
pub(crate) fn tie(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".into(),
            operator: "In".into(),
            values: Some(vec![node.to_owned()]),
        }]),
        ..NodeSelectorTerm::default()
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    // The node passed the template's own requirements already.
    node_affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
    let host_network = spec.host_network == Some(true);
    let held = spec.tolerations.get_or_insert_default();
    for toleration in tolerations(host_network) {
        if !held.contains(&toleration) {
            held.push(toleration);
        }
    }
}

/// The node a pod is on, or is tied to.
pub(crate) fn node_of(pod: &Pod) -> Option<String> {
    if let Some(node) = pods::node_name(pod) {
        return Some(node.to_owned());
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields
        .filter(|field| field.key == "metadata.name")
        .find_map(|field| field.values.as_ref()?.first().cloned())
}

/// Whether a daemon should be started on a node, and whether one that is there may stay.
fn wants(spec: &PodSpec, node: &Node) -> (bool, bool) {
    let mut tolerations = tolerations(spec.host_network == Some(true));
    tolerations.extend(spec.tolerations.clone().unwrap_or_default());
    if !affinity::selects(spec, node) {
        return (false, false);
    }
    let stays = affinity::untolerated(node, &tolerations, &["NoExecute"]).is_none();
    let starts = stays && affinity::untolerated(node, &tolerations, &["NoSchedule"]).is_none();
    (starts, stays)
}

fn template_spec(set: &DaemonSet) -> PodSpec {
    set.spec
        .as_ref()
        .and_then(|spec| spec.template.spec.clone())
        .unwrap_or_default()
}

fn is_current(pod: &Pod, hash: &str) -> bool {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(HASH))
        .is_some_and(|held| held == hash)
}

fn by_node(mine: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut all: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in mine {
        if let Some(node) = node_of(pod) {
            all.entry(node).or_default().push(pod.clone());
        }
    }
    for pods in all.values_mut() {
        pods.sort_by(|a, b| {
            let age = |pod: &Pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone());
            age(a).cmp(&age(b))
        });
    }
    all
}

/// One daemon per node that wants one; old ones make way as the update strategy says.
pub(crate) fn plan(set: &DaemonSet, nodes: &[Arc<Node>], mine: &[Arc<Pod>], hash: &str, now: Timestamp) -> Plan {
    let spec = template_spec(set);
    let held = by_node(mine);
    let mut plan = Plan::default();
    let limits = Limits::of(set, desired(&spec, nodes));
    let mut spare = limits.max_unavailable;
    let mut surge = limits.max_surge;
    let mut replaceable = Vec::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let (starts, stays) = wants(&spec, node);
        let pods = held.get(name).map(Vec::as_slice).unwrap_or_default();
        if !stays {
            plan.delete
                .extend(pods.iter().filter(|pod| pods::is_active(pod)).cloned());
            continue;
        }
        let (finished, rest): (Vec<_>, Vec<_>) = pods.iter().cloned().partition(|pod| pods::is_finished(pod));
        plan.delete
            .extend(finished.into_iter().filter(|pod| !pods::is_deleting(&pod.metadata)));
        let active: Vec<_> = rest
            .iter()
            .filter(|pod| !pods::is_deleting(&pod.metadata))
            .cloned()
            .collect();
        let (current, old): (Vec<_>, Vec<_>) = active.into_iter().partition(|pod| is_current(pod, hash));
        // The oldest of several stays.
        plan.delete
            .extend(current.iter().skip(1).cloned().chain(old.iter().skip(1).cloned()));
        let available = |pod: Option<&Arc<Pod>>| pod.is_some_and(|pod| pods::is_available(pod, limits.min_ready, now));
        match (current.first(), old.first()) {
            (None, None) => {
                if starts && rest.is_empty() {
                    plan.create.push(name.to_owned());
                }
                spare -= 1;
            }
            (Some(new), Some(old)) => {
                if available(Some(new)) || !available(Some(old)) {
                    plan.delete.push(old.clone());
                }
                surge -= 1;
            }
            (Some(new), None) => spare -= i32::from(!available(Some(new))),
            (None, Some(old)) if !limits.rolls => spare -= i32::from(!available(Some(old))),
            // Nobody misses one that does not serve.
            (None, Some(old)) if !available(Some(old)) => {
                plan.delete.push(old.clone());
                spare -= 1;
            }
            (None, Some(old)) => replaceable.push((name.to_owned(), old.clone())),
        }
    }
    for (node, old) in replaceable {
        if surge > 0 {
            plan.create.push(node);
            surge -= 1;
        } else if limits.max_surge == 0 && spare > 0 {
            plan.delete.push(old);
            spare -= 1;
        }
    }
    // Daemons of nodes that are gone belong to the pod garbage collector.
    plan
}

struct Limits {
    rolls: bool,
    max_unavailable: i32,
    max_surge: i32,
    min_ready: i32,
}

impl Limits {
    fn of(set: &DaemonSet, desired: i32) -> Self {
        let spec = set.spec.as_ref();
        let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
        let rolls = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let max_surge = rolling
            .and_then(|rolling| rolling.max_surge.as_ref())
            .map_or(0, |value| resolve(value, desired, true));
        let max_unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .map_or(1, |value| resolve(value, desired, true));
        let max_unavailable = if max_surge == 0 {
            max_unavailable.max(1)
        } else {
            max_unavailable
        };
        Self {
            rolls,
            max_unavailable: if rolls { max_unavailable } else { 0 },
            max_surge: if rolls { max_surge } else { 0 },
            min_ready: spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
        }
    }
}

fn desired(spec: &PodSpec, nodes: &[Arc<Node>]) -> i32 {
    i32::try_from(nodes.iter().filter(|node| wants(spec, node).0).count()).unwrap_or(i32::MAX)
}

/// What the DaemonSet reports, and when availability changes by time alone.
pub(crate) fn status(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    mine: &[Arc<Pod>],
    hash: &str,
    now: Timestamp,
) -> (DaemonSetStatus, Option<Timestamp>) {
    let spec = template_spec(set);
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let held = by_node(mine);
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.as_ref().and_then(|held| held.collision_count),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    let mut next: Option<Timestamp> = None;
    for node in nodes {
        let (starts, _) = wants(&spec, node);
        let pods = held
            .get(node.metadata.name.as_deref().unwrap_or_default())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let active: Vec<_> = pods.iter().filter(|pod| !pods::is_finished(pod)).collect();
        if !starts {
            status.number_misscheduled += i32::from(!active.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += i32::from(!active.is_empty());
        let ready: Vec<_> = active
            .iter()
            .filter(|pod| pods::is_ready(pod) && !pods::is_deleting(&pod.metadata))
            .collect();
        status.number_ready += i32::from(!ready.is_empty());
        available += i32::from(ready.iter().any(|pod| pods::is_available(pod, min_ready, now)));
        updated += i32::from(
            active
                .iter()
                .any(|pod| is_current(pod, hash) && !pods::is_deleting(&pod.metadata)),
        );
        let due = ready
            .iter()
            .filter_map(|pod| pods::available_at(pod, min_ready))
            .filter(|at| *at > now)
            .min();
        next = next.into_iter().chain(due).min();
    }
    let nonzero = |count: i32| Some(count).filter(|count| *count > 0);
    status.updated_number_scheduled = nonzero(updated);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    (status, next)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
