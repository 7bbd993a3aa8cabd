use proptest::prelude::*;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn set(replicas: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "set", "generation": 3},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}}},
    }))
    .unwrap()
}

fn pod(name: &str, phase: &str, ready: bool, node: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }))
        .unwrap(),
    )
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[test]
fn missing_pods_are_created_and_finished_ones_replaced() {
    let pods = [pod("a", "Running", true, "n1"), pod("b", "Failed", false, "n1")];
    assert_eq!(plan(&set(3), &pods, now()).create, 2);
}

#[test]
fn a_set_that_is_being_deleted_leaves_its_pods_alone() {
    let mut set = set(3);
    set.metadata.deletion_timestamp = Some(Time(now()));
    let plan = plan(&set, &[], now());
    assert_eq!((plan.create, plan.delete.len()), (0, 0));
}

#[test]
fn unbound_then_pending_then_unready_then_crowded_pods_go_first() {
    let pods = [
        pod("crowded-1", "Running", true, "n1"),
        pod("alone", "Running", true, "n2"),
        pod("crowded-2", "Running", true, "n1"),
        pod("unready", "Running", false, "n2"),
        pod("pending", "Pending", false, "n2"),
        pod("unbound", "Pending", false, ""),
    ];
    let mut sorted = pods.to_vec();
    sort_by_expendability(&mut sorted, now());
    // n2 holds the most pods, so its ready one goes before those of n1.
    assert_eq!(
        names(&sorted),
        ["unbound", "pending", "unready", "alone", "crowded-1", "crowded-2"]
    );
}

#[test]
fn a_lower_deletion_cost_goes_first() {
    let cheap = pod("z", "Running", true, "n1");
    let mut cheap = (*cheap).clone();
    cheap.metadata.annotations =
        Some([("controller.kubernetes.io/pod-deletion-cost".to_owned(), "-1".to_owned())].into());
    let plan = plan(&set(1), &[pod("a", "Running", true, "n1"), Arc::new(cheap)], now());
    assert_eq!(names(&plan.delete), ["z"]);
}

#[test]
fn status_counts_and_says_when_availability_changes() {
    let mut set = set(2);
    set.spec.as_mut().unwrap().min_ready_seconds = Some(3605);
    let pods = [pod("a", "Running", true, "n1"), pod("b", "Running", false, "n1")];
    let (status, requeue) = status(&set, &pods, None, now());
    assert_eq!(
        (status.replicas, status.ready_replicas, status.available_replicas),
        (2, Some(1), None)
    );
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(requeue.map(|after| after.as_secs()), Some(5));
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let mut set = set(1);
    let (failed, _) = status(&set, &[], Some("quota"), now());
    assert_eq!(failed.conditions.as_ref().map(Vec::len), Some(1));
    set.status = Some(failed);
    assert_eq!(status(&set, &[], None, now()).0.conditions, None);
}

proptest! {
    #[test]
    fn carrying_out_a_plan_leaves_nothing_to_do(wanted in 0..20, phases in prop::collection::vec((0..4_u8, any::<bool>(), 0..3_u8), 0..30)) {
        let mine: Vec<_> = phases.iter().enumerate().map(|(index, (phase, ready, node))| {
            let phase = ["Pending", "Running", "Succeeded", "Failed"][usize::from(*phase)];
            pod(&format!("p{index}"), phase, *ready && phase == "Running", &format!("n{node}"))
        }).collect();
        let set = set(wanted);
        let first = plan(&set, &mine, now());
        prop_assert!(first.create == 0 || first.delete.is_empty());
        let mut after: Vec<_> = mine.iter().filter(|pod| !names(&first.delete).contains(&pod.metadata.name.as_deref().unwrap())).cloned().collect();
        after.extend((0..first.create).map(|index| pod(&format!("new{index}"), "Pending", false, "")));
        let second = plan(&set, &after, now());
        prop_assert_eq!((second.create, second.delete.len()), (0, 0));
    }

    #[test]
    fn a_ready_pod_never_goes_before_an_unready_one(ready in prop::collection::vec(any::<bool>(), 1..20), wanted in 0..20) {
        let mine: Vec<_> = ready.iter().enumerate().map(|(index, ready)| pod(&format!("p{index}"), "Running", *ready, "n1")).collect();
        let deleted = plan(&set(wanted), &mine, now()).delete;
        let unready = ready.iter().filter(|ready| !**ready).count();
        if deleted.iter().any(|pod| pods::is_ready(pod)) {
            prop_assert_eq!(deleted.iter().filter(|pod| !pods::is_ready(pod)).count(), unready);
        }
    }
}
