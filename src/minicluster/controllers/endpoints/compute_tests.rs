use proptest::prelude::*;
use serde_json::json;

use super::*;

fn service() -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "svc", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }))
    .unwrap()
}

fn pod(uid: &str, port: i32, ready: bool) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": uid, "namespace": "default", "uid": uid, "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "a", "ports": [{"name": "http", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": format!("127.16.64.{uid}"), "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap(),
    )
}

fn node(_: &str) -> Option<Arc<Node>> {
    Some(Arc::new(
        serde_json::from_value(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}})).unwrap(),
    ))
}

/// The slices after the changes.
fn after(existing: &[Arc<EndpointSlice>], changes: Changes, serial: &mut u32) -> Vec<Arc<EndpointSlice>> {
    let name = |slice: &EndpointSlice| slice.metadata.name.clone();
    let gone: Vec<_> = changes.delete.iter().map(|slice| name(slice)).collect();
    let mut all: Vec<_> = existing
        .iter()
        .filter(|slice| !gone.contains(&name(slice)))
        .cloned()
        .collect();
    for update in changes.update {
        all.retain(|slice| name(slice) != name(&update));
        all.push(Arc::new(update));
    }
    for mut create in changes.create {
        *serial += 1;
        create.metadata.name = Some(format!("web-{serial}"));
        all.push(Arc::new(create));
    }
    all
}

fn addresses(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    let mut all: Vec<_> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .map(|endpoint| endpoint.addresses[0].clone())
        .collect();
    all.sort();
    all
}

#[test]
fn named_ports_are_resolved_per_pod() {
    let changes = reconcile(&service(), &[pod("1", 8080, true), pod("2", 9090, false)], node, []);
    assert_eq!(changes.create.len(), 2);
    let first = &changes.create[0];
    assert_eq!(first.ports.as_ref().unwrap()[0].port, Some(8080));
    let endpoint = &first.endpoints.as_ref().unwrap()[0];
    assert_eq!(endpoint.zone.as_deref(), Some("z1"));
    assert_eq!(endpoint.conditions.as_ref().unwrap().ready, Some(true));
    assert_eq!(first.metadata.labels.as_ref().unwrap()["team"], "a");
}

#[test]
fn a_terminating_pod_serves_but_is_not_ready() {
    let mut leaving = (*pod("1", 80, true)).clone();
    leaving.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let changes = reconcile(&service(), &[Arc::new(leaving)], node, []);
    let conditions = changes.create[0].endpoints.as_ref().unwrap()[0]
        .conditions
        .clone()
        .unwrap();
    assert_eq!(
        (conditions.ready, conditions.serving, conditions.terminating),
        (Some(false), Some(true), Some(true))
    );
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let mut serial = 0;
    let slices = after(&[], reconcile(&service(), &[], node, []), &mut serial);
    assert_eq!(slices.len(), 1);
    let again = reconcile(&service(), &[], node, &slices);
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
}

#[test]
fn one_pod_that_goes_changes_one_slice() {
    let pods: Vec<_> = (1..=250).map(|index| pod(&index.to_string(), 80, true)).collect();
    let slices = after(&[], reconcile(&service(), &pods, node, []), &mut 0);
    assert_eq!(slices.len(), 3);
    let changes = reconcile(&service(), &pods[1..], node, &slices);
    assert_eq!(
        (changes.create.len(), changes.update.len(), changes.delete.len()),
        (0, 1, 0)
    );
}

proptest! {
    #[test]
    fn slices_hold_exactly_the_pods_and_settle(rounds in prop::collection::vec(prop::collection::btree_map(1..250_u8, (80..83_i32, any::<bool>()), 0..60), 1..6)) {
        let mut slices = Vec::new();
        let mut serial = 0;
        for round in rounds {
            let pods: Vec<_> = round.iter().map(|(id, (port, ready))| pod(&id.to_string(), *port, *ready)).collect();
            let changes = reconcile(&service(), &pods, node, &slices);
            slices = after(&slices, changes, &mut serial);
            let mut expected: Vec<_> = pods.iter().map(|pod| pods::pod_ip(pod).unwrap().to_owned()).collect();
            expected.sort();
            prop_assert_eq!(addresses(&slices), expected);
            let again = reconcile(&service(), &pods, node, &slices);
            prop_assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        }
    }
}
