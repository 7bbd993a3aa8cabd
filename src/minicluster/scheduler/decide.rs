//! Where a pod goes: a pure decision over what is known of nodes and pods.
//!
//! Filters first (closed, taints, selectors, host ports, resources), each with kube-scheduler's
//! reason; among the nodes that are left the one that likes it best: few pods of the same owner,
//! then preferred affinity, then most free resources.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::{affinity, resources, resources::Amounts};
use crate::pods;

/// What a pod takes of its node.
#[derive(Debug, Clone)]
struct Use {
    node: String,
    amounts: Amounts,
    host_ports: Vec<(String, String, i32)>,
    owner: Option<String>,
}

#[derive(Debug, Default)]
struct Usage {
    amounts: Amounts,
    host_ports: HashSet<(String, String, i32)>,
    /// Pods per controller.
    owners: HashMap<String, usize>,
}

/// What the scheduler knows: nodes, and what the pods on them take.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    nodes: BTreeMap<String, (Arc<Node>, Amounts)>,
    usage: HashMap<String, Usage>,
    pods: HashMap<String, Use>,
}

/// Why a pod fits on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unschedulable {
    nodes: usize,
    /// How many nodes each reason holds for, and whether evicting pods might help there.
    reasons: BTreeMap<String, usize>,
    /// Nodes where eviction cannot help.
    hopeless: usize,
}

impl std::fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let nodes = self.nodes;
        let list = |reasons: &BTreeMap<String, usize>| {
            let mut lines: Vec<_> = reasons
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            lines.sort();
            lines.join(", ")
        };
        let mut preemption = BTreeMap::new();
        if self.hopeless < nodes {
            preemption.insert(
                "No preemption victims found for incoming pod".to_owned(),
                nodes - self.hopeless,
            );
        }
        if self.hopeless > 0 {
            preemption.insert("Preemption is not helpful for scheduling".to_owned(), self.hopeless);
        }
        write!(
            f,
            "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: 0/{nodes} nodes are available: {}.",
            list(&self.reasons),
            list(&preemption)
        )
    }
}

struct Misfit {
    reasons: Vec<String>,
    hopeless: bool,
}

impl Ledger {
    /// A node is new or changed.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let amounts = resources::of_node(&node);
        self.nodes.insert(name, (node, amounts));
    }

    /// A node is gone.
    pub(crate) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// A pod is on a node (or will be, at once); finished pods take nothing.
    pub(crate) fn set_pod(&mut self, pod: &Pod, node: &str) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.remove_pod(&uid);
        if pods::is_finished(pod) {
            return;
        }
        let taken = Use {
            node: node.to_owned(),
            amounts: pod.spec.as_ref().map(resources::of_pod).unwrap_or_default(),
            host_ports: resources::host_ports(pod),
            owner: pods::controller_of(&pod.metadata).map(|owner| owner.uid.clone()),
        };
        let usage = self.usage.entry(taken.node.clone()).or_default();
        usage.amounts.add(&taken.amounts);
        usage.host_ports.extend(taken.host_ports.iter().cloned());
        if let Some(owner) = &taken.owner {
            *usage.owners.entry(owner.clone()).or_default() += 1;
        }
        self.pods.insert(uid, taken);
    }

    /// A pod is gone. True if it took something.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(taken) = self.pods.remove(uid) else {
            return false;
        };
        if let Some(usage) = self.usage.get_mut(&taken.node) {
            usage.amounts.subtract(&taken.amounts);
            for port in &taken.host_ports {
                usage.host_ports.remove(port);
            }
            if let Some(count) = taken.owner.as_ref().and_then(|owner| usage.owners.get_mut(owner)) {
                *count -= 1;
                if *count == 0
                    && let Some(owner) = &taken.owner
                {
                    usage.owners.remove(owner);
                }
            }
        }
        true
    }

    /// The node for a pod, or why there is none.
    pub(crate) fn decide(&self, pod: &Pod) -> Result<String, Unschedulable> {
        let wanted = pod.spec.as_ref().map(resources::of_pod).unwrap_or_default();
        let ports = resources::host_ports(pod);
        let owner = pods::controller_of(&pod.metadata).map(|owner| owner.uid.as_str());
        let mut failure = Unschedulable {
            nodes: self.nodes.len(),
            reasons: BTreeMap::new(),
            hopeless: 0,
        };
        let mut best: Option<(Score, &str)> = None;
        let nothing = Usage::default();
        for (name, (node, allocatable)) in &self.nodes {
            let usage = self.usage.get(name).unwrap_or(&nothing);
            match fits(pod, node, allocatable, usage, &wanted, &ports) {
                Ok(()) => {
                    let score = score(pod, node, allocatable, usage, &wanted, owner);
                    // Names ascend, so the first of equals wins and the decision is the same each time.
                    if best.as_ref().is_none_or(|(held, _)| score > *held) {
                        best = Some((score, name));
                    }
                }
                Err(misfit) => {
                    failure.hopeless += usize::from(misfit.hopeless);
                    for reason in misfit.reasons {
                        *failure.reasons.entry(reason).or_default() += 1;
                    }
                }
            }
        }
        best.map(|(_, name)| name.to_owned()).ok_or(failure)
    }
}

fn fits(
    pod: &Pod,
    node: &Node,
    allocatable: &Amounts,
    usage: &Usage,
    wanted: &Amounts,
    ports: &[(String, String, i32)],
) -> Result<(), Misfit> {
    let hopeless = |reason: &str| {
        Err(Misfit {
            reasons: vec![reason.to_owned()],
            hopeless: true,
        })
    };
    let Some(spec) = pod.spec.as_ref() else {
        return hopeless("node(s) had no pod spec");
    };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if affinity::is_closed(node, tolerations) {
        return hopeless("node(s) were unschedulable");
    }
    if affinity::untolerated(node, tolerations, &["NoSchedule", "NoExecute"]).is_some() {
        return hopeless("node(s) had untolerated taint(s)");
    }
    if !affinity::selects(spec, node) {
        return hopeless("node(s) didn't match Pod's node affinity/selector");
    }
    if ports.iter().any(|port| is_taken(usage, port)) {
        let reasons = vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        return Err(Misfit {
            reasons,
            hopeless: false,
        });
    }
    let mut reasons = Vec::new();
    let mut never = false;
    for (name, amount) in wanted.iter() {
        if amount > allocatable.get(name) - usage.amounts.get(name) {
            reasons.push(if name == "pods" {
                "Too many pods".to_owned()
            } else {
                format!("Insufficient {name}")
            });
            never |= amount > allocatable.get(name);
        }
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Misfit {
            reasons,
            hopeless: never,
        })
    }
}

fn is_taken(usage: &Usage, (ip, protocol, number): &(String, String, i32)) -> bool {
    usage.host_ports.iter().any(|(held_ip, held_protocol, held)| {
        held == number && held_protocol == protocol && (held_ip == ip || held_ip == "0.0.0.0" || ip == "0.0.0.0")
    })
}

/// Better nodes compare greater: fewer pods of the owner, greater preference, more left free.
type Score = (std::cmp::Reverse<usize>, i64, i128);

fn score(pod: &Pod, node: &Node, allocatable: &Amounts, usage: &Usage, wanted: &Amounts, owner: Option<&str>) -> Score {
    let siblings = owner.and_then(|owner| usage.owners.get(owner)).copied().unwrap_or(0);
    let preference = pod.spec.as_ref().map_or(0, |spec| affinity::preference(spec, node));
    let free = |name: &str| {
        let total = allocatable.get(name).max(1);
        (total - usage.amounts.get(name) - wanted.get(name)) * 1000 / total
    };
    (
        std::cmp::Reverse(siblings),
        preference,
        free("cpu") + free("memory") + free("pods"),
    )
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
