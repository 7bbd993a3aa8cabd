use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "log", "generation": 1},
        "spec": {"selector": {}, "updateStrategy": strategy, "template": {"spec": {"containers": [], "nodeSelector": {"log": "yes"}}}},
    }))
    .unwrap()
}

fn node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}))
            .unwrap(),
    )
}

fn nodes(count: usize) -> Vec<Arc<Node>> {
    (1..=count)
        .map(|index| node(&format!("n{index}"), json!({"log": "yes"}), json!([])))
        .collect()
}

fn pod(name: &str, node: &str, hash: &str, ready: bool) -> Arc<Pod> {
    let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {HASH: hash}},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": "Running", "conditions": [condition]},
        }))
        .unwrap(),
    )
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[test]
fn every_selected_node_gets_one_daemon() {
    let mut nodes = nodes(2);
    nodes.push(node("other", json!({}), json!([])));
    nodes.push(node(
        "closed",
        json!({"log": "yes"}),
        json!([{"key": "gpu", "effect": "NoSchedule"}]),
    ));
    nodes.push(node(
        "unready",
        json!({"log": "yes"}),
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]),
    ));
    let plan = plan(&set(json!({})), &nodes, &[pod("a", "n1", "x", true)], "x", now());
    assert_eq!(plan.create, ["n2", "unready"]);
    assert!(plan.delete.is_empty());
}

#[test]
fn a_daemon_leaves_a_node_that_is_not_selected_any_more() {
    let nodes = [node("n1", json!({}), json!([]))];
    assert_eq!(
        names(&plan(&set(json!({})), &nodes, &[pod("a", "n1", "x", true)], "x", now()).delete),
        ["a"]
    );
}

#[test]
fn an_update_replaces_one_daemon_at_a_time() {
    let set = set(json!({"type": "RollingUpdate"}));
    let old = [
        pod("a", "n1", "old", true),
        pod("b", "n2", "old", true),
        pod("c", "n3", "old", true),
    ];
    assert_eq!(names(&plan(&set, &nodes(3), &old, "new", now()).delete), ["a"]);
    let midway = [
        pod("a2", "n1", "new", false),
        pod("b", "n2", "old", true),
        pod("c", "n3", "old", true),
    ];
    let waiting = plan(&set, &nodes(3), &midway, "new", now());
    assert!(waiting.delete.is_empty() && waiting.create.is_empty());
    let after = [
        pod("a2", "n1", "new", true),
        pod("b", "n2", "old", true),
        pod("c", "n3", "old", true),
    ];
    assert_eq!(names(&plan(&set, &nodes(3), &after, "new", now()).delete), ["b"]);
}

#[test]
fn a_surging_update_starts_the_new_daemon_first() {
    let set = set(json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}));
    let old = [pod("a", "n1", "old", true), pod("b", "n2", "old", true)];
    let first = plan(&set, &nodes(2), &old, "new", now());
    assert_eq!(
        (first.create.as_slice(), first.delete.len()),
        (["n1".to_owned()].as_slice(), 0)
    );
    let both = [
        pod("a", "n1", "old", true),
        pod("a2", "n1", "new", true),
        pod("b", "n2", "old", true),
    ];
    assert_eq!(names(&plan(&set, &nodes(2), &both, "new", now()).delete), ["a"]);
}

#[test]
fn on_delete_waits_for_the_user() {
    let plan = plan(
        &set(json!({"type": "OnDelete"})),
        &nodes(1),
        &[pod("a", "n1", "old", true)],
        "new",
        now(),
    );
    assert!(plan.delete.is_empty() && plan.create.is_empty());
}

#[test]
fn a_daemon_is_tied_to_its_node_through_the_scheduler() {
    let mut spec = PodSpec::default();
    tie(&mut spec, "n2");
    let bound = Pod {
        spec: Some(spec.clone()),
        ..Pod::default()
    };
    assert_eq!(node_of(&bound).as_deref(), Some("n2"));
    assert!(affinity::selects(&spec, &nodes(2)[1]) && !affinity::selects(&spec, &nodes(2)[0]));
}

#[test]
fn status_counts_nodes_not_pods() {
    let pods = [pod("a", "n1", "new", true), pod("b", "n2", "old", false)];
    let (status, _) = status(&set(json!({})), &nodes(3), &pods, "new", now());
    assert_eq!(
        (
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_ready
        ),
        (3, 2, 1)
    );
    assert_eq!(
        (
            status.updated_number_scheduled,
            status.number_available,
            status.number_unavailable
        ),
        (Some(1), Some(1), Some(2))
    );
}
