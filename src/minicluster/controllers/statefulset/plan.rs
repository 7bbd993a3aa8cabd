//! The next step of a StatefulSet: pure.
//!
//! Pods have numbers and come and go in order: the next one only when the one before is ready. With
//! the parallel policy all come and go at once; updates go from the highest number down in either case.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetStatus},
    core::v1::Pod,
};

use crate::pods;

/// Label of a pod: which template it is of.
pub(crate) const HASH: &str = "controller-revision-hash";

/// One step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Numbers of pods to create.
    pub(crate) create: Vec<i32>,
    /// Pods to delete.
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// The number in a pod's name.
pub(crate) fn ordinal(set: &str, pod: &Pod) -> Option<i32> {
    let digits = pod.metadata.name.as_deref()?.strip_prefix(set)?.strip_prefix('-')?;
    if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

fn hash(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(HASH).map(String::as_str)
}

struct Shape {
    start: i32,
    end: i32,
    parallel: bool,
    /// Pods below this number keep the old template; `None` if only deleted pods get the new one.
    partition: Option<i32>,
    min_ready: i32,
}

fn shape(set: &StatefulSet) -> Shape {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0);
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
    let partition = strategy
        .and_then(|strategy| strategy.rolling_update.as_ref()?.partition)
        .unwrap_or(0);
    let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
    Shape {
        start,
        end: start + replicas,
        parallel: spec.and_then(|spec| spec.pod_management_policy.as_deref()) == Some("Parallel"),
        partition: (!on_delete).then_some(partition),
        min_ready: spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
    }
}

fn by_ordinal(set: &StatefulSet, mine: &[Arc<Pod>]) -> BTreeMap<i32, Arc<Pod>> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    mine.iter()
        .filter_map(|pod| Some((ordinal(name, pod)?, pod.clone())))
        .collect()
}

/// Which template a pod of this number is made of when it is missing: the old one below the partition.
pub(crate) fn revision<'a>(set: &StatefulSet, number: i32, current: &'a str, update: &'a str) -> &'a str {
    match shape(set).partition {
        Some(partition) if number >= partition => update,
        Some(_) => current,
        None => update,
    }
}

/// Decides the next step.
pub(crate) fn plan(set: &StatefulSet, mine: &[Arc<Pod>], update: &str, now: Timestamp) -> Plan {
    let shape = shape(set);
    let held = by_ordinal(set, mine);
    let mut plan = Plan::default();
    let steady = |pod: &Pod| !pods::is_deleting(&pod.metadata) && pods::is_available(pod, shape.min_ready, now);
    for number in shape.start..shape.end {
        match held.get(&number) {
            None => plan.create.push(number),
            Some(pod) if pods::is_finished(pod) && !pods::is_deleting(&pod.metadata) => plan.delete.push(pod.clone()),
            Some(pod) if shape.parallel || steady(pod) => continue,
            Some(_) => return plan,
        }
        if !shape.parallel {
            return plan;
        }
    }
    let surplus: Vec<_> = held
        .iter()
        .rev()
        .filter(|(number, _)| !(shape.start..shape.end).contains(*number))
        .collect();
    for (_, pod) in surplus {
        if !pods::is_deleting(&pod.metadata) {
            plan.delete.push(pod.clone());
        }
        if !shape.parallel {
            return plan;
        }
    }
    if !plan.create.is_empty() || !plan.delete.is_empty() {
        return plan;
    }
    let Some(partition) = shape.partition else { return plan };
    for (_, pod) in held.range(partition.max(shape.start)..shape.end.max(partition)).rev() {
        if hash(pod) != Some(update) && !pods::is_deleting(&pod.metadata) {
            plan.delete.push(pod.clone());
            return plan;
        }
        // One at a time.
        if !steady(pod) {
            return plan;
        }
    }
    plan
}

/// What the StatefulSet reports, and when availability changes by time alone.
pub(crate) fn status(
    set: &StatefulSet,
    mine: &[Arc<Pod>],
    update: &str,
    now: Timestamp,
) -> (StatefulSetStatus, Option<Timestamp>) {
    let shape = shape(set);
    let held = set.status.clone().unwrap_or_default();
    let pods: Vec<_> = by_ordinal(set, mine)
        .into_values()
        .filter(|pod| !pods::is_finished(pod))
        .collect();
    let count =
        |pick: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| pick(pod)).count()).unwrap_or(i32::MAX);
    let mut current = held.current_revision.clone().unwrap_or_else(|| update.to_owned());
    let updated = count(&|pod| hash(pod) == Some(update) && !pods::is_deleting(&pod.metadata));
    let ready = count(&pods::is_ready);
    let wanted = shape.end - shape.start;
    // The update is over when every pod is of it and ready.
    if updated == wanted && ready == wanted && count(&|_| true) == wanted {
        current = update.to_owned();
    }
    let next = pods
        .iter()
        .filter_map(|pod| pods::available_at(pod, shape.min_ready))
        .filter(|at| *at > now)
        .min();
    let status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: Some(ready).filter(|count| *count > 0),
        available_replicas: Some(count(&|pod| pods::is_available(pod, shape.min_ready, now))),
        current_replicas: Some(count(&|pod| hash(pod) == Some(current.as_str()))).filter(|count| *count > 0),
        updated_replicas: Some(updated).filter(|count| *count > 0),
        current_revision: Some(current),
        update_revision: Some(update.to_owned()),
        collision_count: Some(held.collision_count.unwrap_or(0)),
        conditions: held.conditions,
    };
    (status, next)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn set(spec: Value) -> StatefulSet {
        let mut merged = json!({"selector": {}, "serviceName": "db", "template": {}});
        merged
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": merged})).unwrap()
    }

    fn pod(number: i32, ready: bool, hash: &str) -> Arc<Pod> {
        let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("db-{number}"), "labels": {HASH: hash}},
                "status": {"phase": "Running", "conditions": [condition]},
            }))
            .unwrap(),
        )
    }

    fn step(spec: Value, pods: &[Arc<Pod>]) -> (Vec<i32>, Vec<i32>) {
        let plan = plan(&set(spec), pods, "new", now());
        (
            plan.create,
            plan.delete.iter().filter_map(|pod| ordinal("db", pod)).collect(),
        )
    }

    #[test]
    fn pods_come_in_order_each_when_the_one_before_is_ready() {
        assert_eq!(step(json!({"replicas": 3}), &[]), (vec![0], vec![]));
        assert_eq!(step(json!({"replicas": 3}), &[pod(0, false, "new")]), (vec![], vec![]));
        assert_eq!(step(json!({"replicas": 3}), &[pod(0, true, "new")]), (vec![1], vec![]));
        assert_eq!(
            step(json!({"replicas": 3, "podManagementPolicy": "Parallel"}), &[]),
            (vec![0, 1, 2], vec![])
        );
    }

    #[test]
    fn pods_go_from_the_highest_number_down() {
        let pods = [pod(0, true, "new"), pod(1, true, "new"), pod(2, true, "new")];
        assert_eq!(step(json!({"replicas": 1}), &pods), (vec![], vec![2]));
    }

    #[test]
    fn an_update_goes_down_to_the_partition_one_at_a_time() {
        let old = [pod(0, true, "old"), pod(1, true, "old"), pod(2, true, "old")];
        assert_eq!(step(json!({"replicas": 3}), &old), (vec![], vec![2]));
        let midway = [pod(0, true, "old"), pod(1, true, "old"), pod(2, false, "new")];
        assert_eq!(step(json!({"replicas": 3}), &midway), (vec![], vec![]));
        let partition = json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}});
        assert_eq!(
            step(
                partition,
                &[pod(0, true, "old"), pod(1, true, "old"), pod(2, true, "new")]
            ),
            (vec![], vec![])
        );
    }

    #[test]
    fn names_that_only_look_alike_are_not_ours() {
        let named = |name: &str| serde_json::from_value::<Pod>(json!({"metadata": {"name": name}})).unwrap();
        assert_eq!(ordinal("db", &named("db-12")), Some(12));
        assert_eq!(ordinal("db", &named("db-a-1")), None);
        assert_eq!(ordinal("db", &named("dbx-1")), None);
    }
}
