//! What a Deployment reports: counts and conditions, with kube-controller-manager's reasons.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::rollout::Limits;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of a rollout that is done.
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// A deadline of this many seconds means none.
const NO_DEADLINE: i32 = i32::MAX;

/// What the status is made of.
pub(crate) struct Inputs<'a> {
    /// The Deployment.
    pub(crate) deployment: &'a Deployment,
    /// Its limits.
    pub(crate) limits: Limits,
    /// The set of the current template, once it exists.
    pub(crate) new: Option<&'a ReplicaSet>,
    /// All other sets.
    pub(crate) old: &'a [&'a ReplicaSet],
    /// The new set was created in this reconcile.
    pub(crate) created: bool,
    /// Why the new set could not be created.
    pub(crate) failure: Option<&'a str>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// The status, and when its deadline passes if nothing moves.
pub(crate) fn status(inputs: &Inputs<'_>) -> (DeploymentStatus, Option<Timestamp>) {
    let Inputs {
        deployment, new, old, ..
    } = inputs;
    let sets = || new.iter().copied().chain(old.iter().copied());
    let sum = |count: fn(&ReplicaSet) -> i32| sets().map(count).sum::<i32>();
    let replicas = sum(|set| set.status.as_ref().map_or(0, |status| status.replicas));
    let available = sum(available);
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    let terminating = sum(|set| {
        set.status
            .as_ref()
            .and_then(|status| status.terminating_replicas)
            .unwrap_or(0)
    });
    let held = deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(replicas),
        updated_replicas: nonzero(
            new.and_then(|set| set.status.as_ref())
                .map_or(0, |status| status.replicas),
        ),
        ready_replicas: nonzero(sum(|set| {
            set.status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0)
        })),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(wanted) - available).max(0)),
        terminating_replicas: Some(terminating),
        collision_count: held.collision_count,
        conditions: held.conditions.clone(),
    };
    let mut conditions = Conditions {
        all: held.conditions.clone().unwrap_or_default(),
        now: inputs.now,
    };
    if available >= inputs.limits.replicas - inputs.limits.max_unavailable {
        conditions.set(
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
    } else {
        conditions.set(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        );
    }
    progress(inputs, &held, &status, &mut conditions);
    match inputs.failure.map(str::to_owned).or_else(|| sets().find_map(failure)) {
        Some(message) => conditions.set(REPLICA_FAILURE, "True", "FailedCreate", &message),
        None => conditions.all.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    let deadline = deadline(deployment, &conditions);
    status.conditions = (!conditions.all.is_empty()).then_some(conditions.all);
    (status, deadline)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn failure(set: &ReplicaSet) -> Option<String> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == REPLICA_FAILURE)?
        .message
        .clone()
}

/// Whether a Deployment runs exactly what it asks for, and nothing else.
pub(crate) fn is_complete(deployment: &Deployment, replicas: i32, status: &DeploymentStatus) -> bool {
    let is = |count: Option<i32>| count.unwrap_or(0) == replicas;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

fn progress(inputs: &Inputs<'_>, held: &DeploymentStatus, status: &DeploymentStatus, conditions: &mut Conditions) {
    let spec = inputs.deployment.spec.as_ref();
    let Some(deadline) = spec
        .and_then(|spec| spec.progress_deadline_seconds)
        .filter(|deadline| *deadline != NO_DEADLINE)
    else {
        conditions.all.retain(|condition| condition.type_ != PROGRESSING);
        return;
    };
    let name = inputs.new.and_then(|set| set.metadata.name.as_deref());
    let about = name.map_or_else(
        || {
            format!(
                "Deployment \"{}\"",
                inputs.deployment.metadata.name.as_deref().unwrap_or_default()
            )
        },
        |name| format!("ReplicaSet \"{name}\""),
    );
    let current = conditions.get(PROGRESSING).cloned();
    let reason = current
        .as_ref()
        .and_then(|condition| condition.reason.as_deref())
        .unwrap_or_default()
        .to_owned();
    if spec.and_then(|spec| spec.paused) == Some(true) {
        if reason != "DeploymentPaused" {
            conditions.set(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused");
        }
        return;
    }
    if inputs.failure.is_some() {
        let message = inputs.failure.unwrap_or_default();
        conditions.set(PROGRESSING, "False", "ReplicaSetCreateError", message);
        return;
    }
    if inputs.created {
        let message = format!("Created new replica set \"{}\"", name.unwrap_or_default());
        conditions.set(PROGRESSING, "True", "NewReplicaSetCreated", &message);
        return;
    }
    if reason == "DeploymentPaused" {
        conditions.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed");
        return;
    }
    // A rollout that was done stays done while only its pods come and go.
    let done = reason == COMPLETE && status.replicas == status.updated_replicas;
    if done || is_complete(inputs.deployment, inputs.limits.replicas, status) {
        if is_complete(inputs.deployment, inputs.limits.replicas, status) {
            conditions.set(
                PROGRESSING,
                "True",
                COMPLETE,
                &format!("{about} has successfully progressed."),
            );
        }
        return;
    }
    let count = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    let moved = count(status.updated_replicas) > count(held.updated_replicas)
        || old(status) < old(held)
        || count(status.ready_replicas) > count(held.ready_replicas)
        || count(status.available_replicas) > count(held.available_replicas);
    if moved || current.is_none() {
        conditions.touch(
            PROGRESSING,
            "True",
            "ReplicaSetUpdated",
            &format!("{about} is progressing."),
        );
        return;
    }
    let since = current
        .and_then(|condition| condition.last_update_time)
        .map(|time| time.0);
    let late = since.is_some_and(|since| since + SignedDuration::from_secs(deadline.into()) <= inputs.now);
    if late && reason != TIMED_OUT {
        conditions.set(
            PROGRESSING,
            "False",
            TIMED_OUT,
            &format!("{about} has timed out progressing."),
        );
    }
}

/// When the rollout becomes late, if it is under way.
fn deadline(deployment: &Deployment, conditions: &Conditions) -> Option<Timestamp> {
    let seconds = deployment
        .spec
        .as_ref()?
        .progress_deadline_seconds
        .filter(|deadline| *deadline != NO_DEADLINE)?;
    let condition = conditions.get(PROGRESSING)?;
    if matches!(
        condition.reason.as_deref(),
        Some(COMPLETE | TIMED_OUT | "DeploymentPaused")
    ) {
        return None;
    }
    Some(condition.last_update_time.as_ref()?.0 + SignedDuration::from_secs(seconds.into()))
}

struct Conditions {
    all: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.all.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets a condition; its times move only if it changes.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = self
            .get(kind)
            .is_some_and(|held| held.status == status && held.reason.as_deref() == Some(reason));
        if !same {
            self.touch(kind, status, reason, message);
        }
    }

    /// Sets a condition and its update time.
    fn touch(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = Some(Time(self.now));
        let held = self.get(kind).filter(|held| held.status == status);
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: held.map_or(now.clone(), |held| held.last_transition_time.clone()),
            last_update_time: now,
        };
        match self.all.iter_mut().find(|held| held.type_ == kind) {
            Some(held) => *held = condition,
            None => self.all.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 2, "progressDeadlineSeconds": 600, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    fn set(replicas: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1"}, "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available},
        }))
        .unwrap()
    }

    fn report(deployment: &Deployment, new: &ReplicaSet, now: &str) -> (DeploymentStatus, Option<Timestamp>) {
        let limits = Limits {
            replicas: 2,
            max_surge: 1,
            max_unavailable: 0,
        };
        let now = now.parse().unwrap();
        status(&Inputs {
            deployment,
            limits,
            new: Some(new),
            old: &[],
            created: false,
            failure: None,
            now,
        })
    }

    fn reason(status: &DeploymentStatus, kind: &str) -> String {
        let conditions = status.conditions.as_ref().unwrap();
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .unwrap()
            .reason
            .clone()
            .unwrap()
    }

    #[test]
    fn a_rollout_progresses_completes_and_stays_complete() {
        let mut deployment = deployment();
        let (first, deadline) = report(&deployment, &set(2, 0), "2026-01-01T00:00:00Z");
        assert_eq!(reason(&first, PROGRESSING), "ReplicaSetUpdated");
        assert_eq!(reason(&first, AVAILABLE), "MinimumReplicasUnavailable");
        assert_eq!(deadline, Some("2026-01-01T00:10:00Z".parse().unwrap()));
        deployment.status = Some(first);
        let (second, deadline) = report(&deployment, &set(2, 2), "2026-01-01T00:00:01Z");
        assert_eq!(reason(&second, PROGRESSING), COMPLETE);
        assert_eq!(deadline, None);
        deployment.status = Some(second);
        let (third, _) = report(&deployment, &set(2, 1), "2026-01-01T09:00:00Z");
        assert_eq!(reason(&third, PROGRESSING), COMPLETE);
    }

    #[test]
    fn a_rollout_that_does_not_move_is_late_after_its_deadline() {
        let mut deployment = deployment();
        deployment.status = Some(report(&deployment, &set(2, 1), "2026-01-01T00:00:00Z").0);
        let (waiting, _) = report(&deployment, &set(2, 1), "2026-01-01T00:09:59Z");
        assert_eq!(reason(&waiting, PROGRESSING), "ReplicaSetUpdated");
        let (late, _) = report(&deployment, &set(2, 1), "2026-01-01T00:10:00Z");
        assert_eq!(reason(&late, PROGRESSING), TIMED_OUT);
    }

    #[test]
    fn reporting_twice_changes_nothing() {
        let mut deployment = deployment();
        let (first, _) = report(&deployment, &set(2, 2), "2026-01-01T00:00:00Z");
        deployment.status = Some(first.clone());
        assert_eq!(report(&deployment, &set(2, 2), "2026-01-01T01:00:00Z").0, first);
    }
}
