//! ReplicaSets: as many pods as asked for.
//!
//! [`plan`] decides, purely, from the ReplicaSet and its pods; the rest does what it says. A
//! ReplicaSet that is being deleted only reports: its pods belong to the garbage collector.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, Time},
};

use super::{PodController, Workloads, after, claim, run};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::Requeue,
    write::{self, Writer},
};

const NAME: &str = "replicaset-controller";
/// At most so many pods are created or deleted in one reconcile, as kube-controller-manager does.
const BURST: usize = 500;
/// Requests in flight while pods are created or deleted.
const IN_FLIGHT: usize = 8;
/// Reconciles at a time.
const WORKERS: usize = 4;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a ReplicaSet needs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Pods to create.
    pub(crate) create: usize,
    /// Pods to delete.
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// Decides how many pods to create or which to delete.
pub(crate) fn plan(set: &ReplicaSet, mine: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(wanted(set)).unwrap_or(0);
    let mut active: Vec<_> = mine.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    if pods::is_deleting(&set.metadata) || active.len() == wanted {
        return Plan {
            create: 0,
            delete: Vec::new(),
        };
    }
    if active.len() < wanted {
        return Plan {
            create: (wanted - active.len()).min(BURST),
            delete: Vec::new(),
        };
    }
    let excess = (active.len() - wanted).min(BURST);
    sort_by_expendability(&mut active, now);
    active.truncate(excess);
    Plan {
        create: 0,
        delete: active,
    }
}

/// Replicas asked for; 1 by default.
pub(crate) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1).max(0)
}

/// Sorts pods so that those to lose first come first: without a node, pending, not ready, cheap to
/// delete, on a node with more of their kind, ready for a short time, restarted more, young.
pub(crate) fn sort_by_expendability(active: &mut [Arc<Pod>], now: Timestamp) {
    let mut crowd: HashMap<String, usize> = HashMap::new();
    for pod in active.iter() {
        *crowd
            .entry(pods::node_name(pod).unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    let crowd = |pod: &Pod| {
        crowd
            .get(pods::node_name(pod).unwrap_or_default())
            .copied()
            .unwrap_or(0)
    };
    active.sort_by(|a, b| {
        let unbound = |pod: &Pod| pods::node_name(pod).is_some();
        let phase = |pod: &Pod| matches!(pods::phase(pod), "Running") as u8;
        unbound(a)
            .cmp(&unbound(b))
            .then_with(|| phase(a).cmp(&phase(b)))
            .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| crowd(b).cmp(&crowd(a)))
            .then_with(|| by_age(ready_for(a, now), ready_for(b, now)))
            .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
            .then_with(|| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost")?.parse().ok())
        .unwrap_or(0)
}

/// Seconds since the pod became ready, in powers of two: small differences do not matter.
fn ready_for(pod: &Pod, now: Timestamp) -> Option<u32> {
    let since = pods::condition(pod, pods::READY)?.last_transition_time.as_ref()?.0;
    u64::try_from(now.duration_since(since).as_secs())
        .ok()
        .map(|seconds| 64 - seconds.leading_zeros())
}

fn by_age(a: Option<u32>, b: Option<u32>) -> Ordering {
    a.unwrap_or(0).cmp(&b.unwrap_or(0))
}

/// The status that the pods add up to, and when it changes by the passing of time alone.
pub(crate) fn status(
    set: &ReplicaSet,
    mine: &[Arc<Pod>],
    failure: Option<&str>,
    now: Timestamp,
) -> (ReplicaSetStatus, Requeue) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let template_labels = spec
        .and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref())
        .cloned()
        .unwrap_or_default();
    let active: Vec<_> = mine.iter().filter(|pod| pods::is_active(pod)).collect();
    let count =
        |pick: &dyn Fn(&Pod) -> bool| i32::try_from(active.iter().filter(|pod| pick(pod)).count()).unwrap_or(i32::MAX);
    let labelled = |pod: &Pod| {
        template_labels
            .iter()
            .all(|(key, value)| pod.metadata.labels.as_ref().and_then(|all| all.get(key)) == Some(value))
    };
    let old = set.status.as_ref();
    let terminating = mine
        .iter()
        .filter(|pod| pods::is_deleting(&pod.metadata) && !pods::is_finished(pod))
        .count();
    let status = ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: Some(count(&labelled)).filter(|count| *count > 0),
        ready_replicas: Some(count(&pods::is_ready)).filter(|count| *count > 0),
        available_replicas: Some(count(&|pod| pods::is_available(pod, min_ready, now))).filter(|count| *count > 0),
        terminating_replicas: i32::try_from(terminating).ok(),
        observed_generation: set.metadata.generation,
        conditions: conditions(
            old.and_then(|old| old.conditions.as_deref()).unwrap_or_default(),
            failure,
            now,
        ),
    };
    let next = active
        .iter()
        .filter_map(|pod| pods::available_at(pod, min_ready))
        .filter(|at| *at > now)
        .min();
    (status, next.map(|at| after(at, now)))
}

fn conditions(old: &[ReplicaSetCondition], failure: Option<&str>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions: Vec<_> = old
        .iter()
        .filter(|condition| condition.type_ != REPLICA_FAILURE)
        .cloned()
        .collect();
    if let Some(message) = failure {
        let held = old.iter().find(|condition| condition.type_ == REPLICA_FAILURE);
        conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: Some("FailedCreate".into()),
            message: Some(message.to_owned()),
            last_transition_time: held
                .and_then(|held| held.last_transition_time.clone())
                .or(Some(Time(now))),
        });
    }
    (!conditions.is_empty()).then_some(conditions)
}

struct Controller {
    context: Arc<Context>,
    sets: Arc<Store<ReplicaSet>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let controller = Controller {
        context: context.clone(),
        sets: workloads.replica_sets.clone(),
        writer: context.writer(NAME),
    };
    run(context, controller);
}

impl PodController for Controller {
    type Owner = ReplicaSet;
    const NAME: &'static str = NAME;
    const WORKERS: usize = WORKERS;

    fn owners(&self) -> &Arc<Store<ReplicaSet>> {
        &self.sets
    }

    fn selector(set: &ReplicaSet) -> Option<&LabelSelector> {
        set.spec.as_ref().map(|spec| &spec.selector)
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        let around = self.context.pods.list_in(key.namespace(), |_| true);
        let mut claims = claim::claims(&set.metadata, &spec.selector, around);
        claims.adopt.retain(|pod| !pods::is_finished(pod));
        let mine = claims.settle(&self.writer, &self.context.pods, &*set).await?;
        let plan = plan(&set, &mine, Timestamp::now());
        let failure = self.execute(&set, plan).await;
        // What was just written is in the cache already.
        let mine = self.context.pods.list_in(key.namespace(), |pod| {
            pods::is_controlled_by(&pod.metadata, &set.metadata)
        });
        let message = failure.as_ref().map(write::Error::message);
        let (status, requeue) = status(&set, &mine, message.as_deref(), Timestamp::now());
        self.writer
            .set_status(&self.sets, &*set, set.status.as_ref(), &status)
            .await?;
        match failure {
            Some(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(requeue),
        }
    }
}

impl Controller {
    /// Creates or deletes; returns the first error.
    async fn execute(&self, set: &ReplicaSet, plan: Plan) -> Option<write::Error> {
        let events = self.context.events.of(NAME);
        let template = set
            .spec
            .as_ref()
            .and_then(|spec| spec.template.clone())
            .unwrap_or_default();
        let mut left = plan.create;
        // One, then twice as many each time: a quota that refuses is asked once, not five hundred times.
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let pod = pods::from_template(&template, set);
            let results: Vec<_> = stream::iter(0..size)
                .map(|_| self.writer.create(&self.context.pods, &pod))
                .buffer_unordered(IN_FLIGHT)
                .collect()
                .await;
            for result in results {
                match result {
                    Ok(created) => {
                        let name = created.metadata.name.unwrap_or_default();
                        events.normal(set, "SuccessfulCreate", format!("Created pod: {name}"));
                    }
                    Err(error) => {
                        if !error.is_namespace_terminating() {
                            events.warning(set, "FailedCreate", format!("Error creating: {}", error.message()));
                        }
                        return Some(error);
                    }
                }
            }
            left -= size;
            batch *= 2;
        }
        let results: Vec<_> = stream::iter(plan.delete)
            .map(|pod| async move {
                let result = self.writer.delete(&self.context.pods, &*pod, None).await;
                (pod, result)
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let mut failure = None;
        for (pod, result) in results {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match result {
                Ok(()) => events.normal(set, "SuccessfulDelete", format!("Deleted pod: {name}")),
                Err(error) => {
                    events.warning(set, "FailedDelete", format!("Error deleting: {}", error.message()));
                    failure = Some(error);
                }
            }
        }
        failure
    }
}

#[cfg(test)]
#[path = "replicaset/tests.rs"]
mod tests;
