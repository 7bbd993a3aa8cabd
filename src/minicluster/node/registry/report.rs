//! What a node says about itself: pure, but for facts that the kernel tells.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use serde_json::json;

use super::{Capacity, KUBELET_PORT};
use crate::{context::Identity, scheduler::affinity::UNSCHEDULABLE_TAINT};

/// Annotation of nodes: the range of all addresses of the cluster.
const RANGE: &str = "minicluster.kubefed.io/pod-cidr";
/// Version that the nodes report.
const VERSION: &str = "v1.36.2";
/// Taint of nodes that have not reported yet.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The address that the node has reported.
pub(super) fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses
        .iter()
        .find(|address| address.type_ == "InternalIP")?
        .address
        .parse()
        .ok()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Labels that the node lacks, and the taints that it should have; `None` if all is well. `cordons`: nobody else
/// taints nodes that are cordoned.
pub(super) fn metadata_patch(
    node: &Node,
    identity: &Identity,
    range: Ipv4Net,
    cordons: bool,
    now: Timestamp,
) -> Option<serde_json::Value> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let wanted = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("topology.kubernetes.io/region", &identity.region),
        ("topology.kubernetes.io/zone", &identity.zone),
    ];
    let held = node.metadata.labels.as_ref();
    let missing: BTreeMap<_, _> = wanted
        .into_iter()
        .filter(|(key, value)| !value.is_empty() && held.is_none_or(|held| !held.contains_key(*key)))
        .collect();
    let held_taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let taints = taints(node, cordons, now);
    let mut patch = json!({"metadata": {"uid": node.metadata.uid}});
    if !missing.is_empty() {
        patch["metadata"]["labels"] = json!(missing);
    }
    if taints != held_taints {
        patch["spec"] = json!({"taints": taints});
    }
    let range = range.to_string();
    let ranged = node.metadata.annotations.as_ref().and_then(|all| all.get(RANGE)) == Some(&range);
    if !ranged {
        patch["metadata"]["annotations"] = json!({RANGE: range});
    }
    (!ranged || !missing.is_empty() || taints != held_taints).then_some(patch)
}

/// The taints of a node that has reported: that of cordoned nodes comes and goes with `spec.unschedulable`.
fn taints(node: &Node, cordons: bool, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.clone().unwrap_or_default();
    let cordoned = spec.unschedulable == Some(true);
    let mut taints = spec.taints.unwrap_or_default();
    taints.retain(|taint| taint.key != NOT_READY && (taint.key != UNSCHEDULABLE_TAINT || cordoned || !cordons));
    if cordons && cordoned && !taints.iter().any(|taint| taint.key == UNSCHEDULABLE_TAINT) {
        taints.push(Taint {
            key: UNSCHEDULABLE_TAINT.into(),
            effect: "NoSchedule".into(),
            time_added: Some(Time(now)),
            value: None,
        });
    }
    taints
}

/// The status of a healthy node. Times of conditions that hold already, and a capacity that somebody gave it, stay.
/// A host name is reported only where it is not asked of a DNS server that has never heard of it: kube-apiserver
/// would prefer it to the address.
pub(super) fn status(
    held: &NodeStatus,
    name: &str,
    (address, has_hostname): (Ipv4Addr, bool),
    capacity: &Capacity,
    now: Timestamp,
) -> NodeStatus {
    let address_of = |kind: &str, address: String| NodeAddress {
        type_: kind.into(),
        address,
    };
    let mut addresses = vec![address_of("InternalIP", address.to_string())];
    if has_hostname {
        addresses.push(address_of("Hostname", name.to_owned()));
    }
    let amounts = BTreeMap::from([
        ("cpu".to_owned(), Quantity(capacity.cpu.clone())),
        ("memory".to_owned(), Quantity(capacity.memory.clone())),
        ("pods".to_owned(), Quantity(capacity.pods.to_string())),
        ("ephemeral-storage".to_owned(), Quantity("100Gi".into())),
    ]);
    let given = held.capacity.clone().filter(|given| given.contains_key("cpu"));
    let capacity = given.unwrap_or(amounts);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let known = held
            .conditions
            .iter()
            .flatten()
            .find(|known| known.type_ == kind && known.status == status);
        let time = |pick: fn(&NodeCondition) -> Option<Time>| known.and_then(pick).or(Some(Time(now)));
        NodeCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: time(|known| known.last_heartbeat_time.clone()),
            last_transition_time: time(|known| known.last_transition_time.clone()),
        }
    };
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(
            held.allocatable
                .clone()
                .filter(|held| held.contains_key("cpu"))
                .unwrap_or_else(|| capacity.clone()),
        ),
        capacity: Some(capacity),
        conditions: Some(vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: KUBELET_PORT.into(),
            }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().into(),
            operating_system: "linux".into(),
            os_image: "kubefed minicluster".into(),
            kernel_version: kernel("osrelease"),
            kubelet_version: VERSION.into(),
            kube_proxy_version: String::new(),
            container_runtime_version: format!("minicluster://{}", env!("CARGO_PKG_VERSION")),
            machine_id: name.into(),
            system_uuid: name.into(),
            boot_id: kernel("random/boot_id"),
            ..NodeSystemInfo::default()
        }),
        ..held.clone()
    }
}

/// A fact that the kernel tells.
fn kernel(fact: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/kernel/{fact}"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Labels;

    #[test]
    fn a_cordoned_node_is_tainted_until_it_is_uncordoned() {
        let node = |spec: serde_json::Value| -> Node { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let keys = |node: &Node, cordons| {
            let taints = taints(node, cordons, Timestamp::UNIX_EPOCH);
            taints.into_iter().map(|taint| taint.key).collect::<Vec<_>>()
        };
        let gpu = json!({"key": "gpu", "effect": "NoSchedule"});
        let mark = json!({"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"});
        let cordoned = node(json!({"unschedulable": true, "taints": [gpu]}));
        assert_eq!(keys(&cordoned, true), ["gpu", UNSCHEDULABLE_TAINT]);
        assert_eq!(keys(&cordoned, false), ["gpu"], "others do that there");
        let freed = node(json!({"taints": [mark, gpu]}));
        assert_eq!(keys(&freed, true), ["gpu"]);
        assert_eq!(keys(&freed, false), [UNSCHEDULABLE_TAINT, "gpu"]);
    }

    fn capacity() -> Capacity {
        Capacity {
            cpu: "4".into(),
            memory: "16Gi".into(),
            pods: 110,
        }
    }

    #[test]
    fn a_node_is_labelled_once_and_keeps_its_own_zone() {
        let identity = Identity {
            cluster: "us".into(),
            region: "us-east1".into(),
            zone: "us-east1-b".into(),
        };
        let mut node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "mine"}},
            "spec": {"taints": [{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoSchedule"}]},
        }))
        .unwrap();
        let range = "127.16.0.0/16".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let patch = metadata_patch(&node, &identity, range, true, now).unwrap();
        assert_eq!(patch["metadata"]["labels"]["topology.kubernetes.io/region"], "us-east1");
        assert!(patch["metadata"]["labels"].get("topology.kubernetes.io/zone").is_none());
        assert_eq!(patch["spec"]["taints"].as_array().unwrap().len(), 1);
        let labels: Labels = serde_json::from_value(patch["metadata"]["labels"].clone()).unwrap();
        node.metadata.labels.as_mut().unwrap().extend(labels);
        node.spec = None;
        node.metadata.annotations = serde_json::from_value(patch["metadata"]["annotations"].clone()).unwrap();
        assert_eq!(metadata_patch(&node, &identity, range, true, now), None);
    }

    #[test]
    fn reporting_again_changes_nothing() {
        let address = Ipv4Addr::new(127, 16, 0, 1);
        let first = status(
            &NodeStatus::default(),
            "n1",
            (address, true),
            &capacity(),
            "2026-01-01T00:00:00Z".parse().unwrap(),
        );
        let second = status(
            &first,
            "n1",
            (address, true),
            &capacity(),
            "2026-01-02T00:00:00Z".parse().unwrap(),
        );
        assert_eq!(first, second);
    }
}
