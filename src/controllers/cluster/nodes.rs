//! What is kept of a member's nodes: where they are, what room they have, how to reach them.

use std::collections::BTreeSet;

use api::well_known;
use apimachinery::{Object, meta, quantity::Quantity};
use serde_json::json;

/// A node, reduced.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Region label.
    pub region: Box<str>,
    /// Zone label.
    pub zone: Box<str>,
    /// Whether it is Ready and takes pods.
    pub usable: bool,
    /// Its address from outside: ExternalIP, else InternalIP; empty if it has none.
    pub address: Box<str>,
    /// CPU, memory and pods it has for pods.
    pub allocatable: [Quantity; 3],
    /// CPU, memory and pods it has.
    pub capacity: [Quantity; 3],
}

const RESOURCES: [&str; 3] = ["cpu", "memory", "pods"];

fn label<'a>(object: &'a Object, keys: [&str; 2]) -> &'a str {
    keys.into_iter()
        .find_map(|key| meta::label(object, key))
        .unwrap_or_default()
}

fn quantities(list: &Object) -> [Quantity; 3] {
    RESOURCES.map(|name| Quantity::from_json(&list[name]).unwrap_or_else(|_| Quantity::from_milli(0)))
}

/// Reduces a node.
#[must_use]
pub fn reduce(object: &Object) -> Node {
    let conditions = object["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let addresses = object["status"]["addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let address = |kind: &str| {
        addresses
            .iter()
            .find(|a| a["type"] == kind)
            .and_then(|a| a["address"].as_str())
    };
    Node {
        region: label(
            object,
            [well_known::LABEL_REGION, "failure-domain.beta.kubernetes.io/region"],
        )
        .into(),
        zone: label(
            object,
            [well_known::LABEL_ZONE, "failure-domain.beta.kubernetes.io/zone"],
        )
        .into(),
        usable: ready && object["spec"]["unschedulable"] != true,
        address: address("ExternalIP")
            .or_else(|| address("InternalIP"))
            .unwrap_or_default()
            .into(),
        allocatable: quantities(&object["status"]["allocatable"]),
        capacity: quantities(&object["status"]["capacity"]),
    }
}

/// All nodes of a cluster together.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSummary {
    region: String,
    zones: BTreeSet<String>,
    nodes: usize,
    capacity: [Quantity; 3],
    allocatable: [Quantity; 3],
}

/// Sums nodes up. A node without labels does not hide the region and zones of the others.
#[must_use]
pub fn summarize<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> NodeSummary {
    let zero = || RESOURCES.map(|_| Quantity::from_milli(0));
    let mut summary = NodeSummary {
        region: String::new(),
        zones: BTreeSet::new(),
        nodes: 0,
        capacity: zero(),
        allocatable: zero(),
    };
    let mut regions = BTreeSet::new();
    let add = |sum: &mut [Quantity; 3], more: &[Quantity; 3]| {
        for (sum, more) in sum.iter_mut().zip(more) {
            *sum = sum.add(more);
        }
    };
    for node in nodes {
        summary.nodes += 1;
        if !node.region.is_empty() {
            regions.insert(node.region.to_string());
        }
        if !node.zone.is_empty() {
            summary.zones.insert(node.zone.to_string());
        }
        add(&mut summary.capacity, &node.capacity);
        if node.usable {
            add(&mut summary.allocatable, &node.allocatable);
        }
    }
    summary.region = regions.into_iter().next().unwrap_or_default();
    summary
}

impl NodeSummary {
    /// Writes it into a Cluster's status.
    pub fn write(&self, status: &mut Object) {
        let list = |all: &[Quantity; 3]| {
            let entries = RESOURCES
                .iter()
                .zip(all)
                .map(|(name, q)| ((*name).to_owned(), json!(q.to_string())));
            Object::Object(entries.collect())
        };
        // The API leaves out what is empty.
        for (field, value, empty) in [
            ("region", json!(self.region), self.region.is_empty()),
            ("zones", json!(self.zones), self.zones.is_empty()),
            ("nodes", json!(self.nodes), self.nodes == 0),
        ] {
            status[field] = if empty { Object::Null } else { value };
        }
        status["capacity"] = list(&self.capacity);
        status["allocatable"] = list(&self.allocatable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(zone: Option<&str>, ready: bool, cpu: &str) -> Node {
        let labels = match zone {
            Some(zone) => json!({"topology.kubernetes.io/region": "us-east1", "topology.kubernetes.io/zone": zone}),
            None => json!({}),
        };
        reduce(&json!({
            "metadata": {"name": "n", "labels": labels},
            "status": {
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "110"},
                "capacity": {"cpu": "4", "memory": "2Gi", "pods": "110"},
            },
        }))
    }

    #[test]
    fn region_and_zones_come_from_the_nodes_that_have_them() {
        let nodes = [
            node(Some("b"), true, "3500m"),
            node(None, true, "500m"),
            node(Some("a"), false, "1"),
        ];
        let mut status = json!({});
        summarize(&nodes).write(&mut status);
        assert_eq!(
            status,
            json!({
                "region": "us-east1", "zones": ["a", "b"], "nodes": 3,
                "capacity": {"cpu": "12", "memory": "6Gi", "pods": "330"},
                "allocatable": {"cpu": "4", "memory": "2Gi", "pods": "220"},
            })
        );
    }

    #[test]
    fn a_cordoned_or_unready_node_is_not_usable_and_an_external_address_is_preferred() {
        assert!(!node(None, false, "1").usable);
        let object = json!({"spec": {"unschedulable": true}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "1.2.3.4"}]}});
        let node = reduce(&object);
        assert!(!node.usable);
        assert_eq!(&*node.address, "1.2.3.4");
    }
}
