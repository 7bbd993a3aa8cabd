use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, cpu: &str, spec: Value) -> Arc<Node> {
    let value = json!({"metadata": {"name": name}, "spec": spec, "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"}}});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn pod(uid: &str, cpu: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"uid": uid, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web", "controller": true}]},
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]},
    }))
    .unwrap()
}

fn ledger(nodes: &[Arc<Node>]) -> Ledger {
    let mut ledger = Ledger::default();
    for node in nodes {
        ledger.set_node(node.clone());
    }
    ledger
}

#[test]
fn pods_of_one_owner_are_spread() {
    let mut ledger = ledger(&[
        node("a", "4", json!({})),
        node("b", "4", json!({})),
        node("c", "4", json!({})),
    ]);
    let mut chosen = Vec::new();
    for index in 0..6 {
        let pod = pod(&format!("p{index}"), "100m");
        let name = ledger.decide(&pod).unwrap();
        ledger.set_pod(&pod, &name);
        chosen.push(name);
    }
    chosen.sort();
    assert_eq!(chosen, ["a", "a", "b", "b", "c", "c"]);
}

#[test]
fn what_does_not_fit_says_why_in_kubes_words() {
    let mut ledger = ledger(&[
        node("a", "1", json!({})),
        node("b", "1", json!({"unschedulable": true})),
        node("c", "8", json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})),
    ]);
    ledger.set_pod(&pod("other", "500m"), "a");
    assert_eq!(
        ledger.decide(&pod("p", "900m")).unwrap_err().to_string(),
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. \
         no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
         2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_full_node_has_too_many_pods() {
    let mut ledger = ledger(&[node("a", "4", json!({}))]);
    for uid in ["1", "2", "3"] {
        ledger.set_pod(&pod(uid, "1m"), "a");
    }
    assert!(
        ledger
            .decide(&pod("4", "1m"))
            .unwrap_err()
            .to_string()
            .contains("1 Too many pods")
    );
    assert!(ledger.remove_pod("2"));
    assert_eq!(ledger.decide(&pod("4", "1m")).unwrap(), "a");
}

#[test]
fn two_pods_never_share_a_host_port() {
    let mut ledger = ledger(&[node("a", "4", json!({}))]);
    let with_port = |uid: &str, ip: &str| {
        let mut pod = pod(uid, "1m");
        let port = json!([{"containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": "TCP"}]);
        pod.spec.as_mut().unwrap().containers[0].ports = Some(serde_json::from_value(port).unwrap());
        pod
    };
    ledger.set_pod(&with_port("1", "127.0.0.1"), "a");
    assert!(ledger.decide(&with_port("2", "")).is_err());
    assert!(ledger.decide(&with_port("2", "127.0.0.2")).is_ok());
}

#[test]
fn a_finished_pod_takes_nothing() {
    let mut ledger = ledger(&[node("a", "1", json!({}))]);
    let mut done = pod("1", "1");
    ledger.set_pod(&done, "a");
    assert!(ledger.decide(&pod("2", "1")).is_err());
    done.status = Some(serde_json::from_value(json!({"phase": "Succeeded"})).unwrap());
    ledger.set_pod(&done, "a");
    assert!(ledger.decide(&pod("2", "1")).is_ok());
}

#[test]
fn without_nodes_the_message_is_kubes() {
    assert_eq!(
        Ledger::default().decide(&pod("1", "1")).unwrap_err().to_string(),
        "no nodes available to schedule pods"
    );
}

proptest! {
    #[test]
    fn no_node_is_ever_overfull(steps in prop::collection::vec((0..40_u32, 1..2000_u32, any::<bool>()), 0..80)) {
        let nodes = [node("a", "2", json!({})), node("b", "3", json!({}))];
        let mut ledger = ledger(&nodes);
        for (id, cpu, remove) in steps {
            let pod = pod(&id.to_string(), &format!("{cpu}m"));
            if remove {
                ledger.remove_pod(&id.to_string());
            } else if let Ok(name) = { ledger.remove_pod(&id.to_string()); ledger.decide(&pod) } {
                ledger.set_pod(&pod, &name);
            }
            for (name, (_, allocatable)) in &ledger.nodes {
                let Some(usage) = ledger.usage.get(name) else { continue };
                for (resource, amount) in usage.amounts.iter() {
                    prop_assert!(amount >= 0 && amount <= allocatable.get(resource), "{} of {} on {}", amount, resource, name);
                }
            }
        }
    }
}
