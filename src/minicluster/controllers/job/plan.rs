//! What a Job needs next: pure.
//!
//! A finished pod keeps a finalizer until it is counted: first its uid goes into the status, then
//! the finalizer goes, then the uid becomes a number. Whoever dies in between, and whoever deletes
//! the pod, it is counted exactly once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use crate::pods;

/// Finalizer of pods that are not counted yet.
pub(crate) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of the pods of an indexed Job.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// First and greatest delay before a failed pod is replaced.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(10),
    max: Duration::from_secs(600),
};
/// Failed pods that are put up with, by default.
const BACKOFF_LIMIT: i32 = 6;
/// Pods created in one reconcile.
const BURST: i32 = 500;

/// What to do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Pods to create; the index for those of an indexed Job.
    pub(crate) create: Vec<Option<i32>>,
    /// Pods to delete.
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Pods whose finalizer goes once the status is written.
    pub(crate) release: Vec<Arc<Pod>>,
    /// What to report.
    pub(crate) status: JobStatus,
    /// When time alone changes something.
    pub(crate) next: Option<Timestamp>,
}

/// Whether the Job is over.
pub(crate) fn is_finished(status: &JobStatus) -> bool {
    has(status, "Complete") || has(status, "Failed")
}

fn has(status: &JobStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|held| held.type_ == kind && held.status == "True")
}

fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|held| held.type_ == kind && held.status == value) {
        return;
    }
    conditions.retain(|held| held.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|held| held == FINALIZER)
}

fn succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == "Succeeded"
}

/// A pod that is told to go before it succeeded counts as failed.
fn failed(pod: &Pod) -> bool {
    pods::phase(pod) == "Failed" || (pods::is_deleting(&pod.metadata) && !succeeded(pod))
}

fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// Whether the Job numbers its pods.
pub(crate) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Reads `0-2,5`.
pub(crate) fn read_indexes(text: &str) -> BTreeSet<i32> {
    let parts = text.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
    });
    parts.flatten().collect()
}

/// Writes `0-2,5`.
pub(crate) fn write_indexes(indexes: &BTreeSet<i32>) -> String {
    let mut spans: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => spans.push((*index, *index)),
        }
    }
    let spans = spans.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    spans.collect::<Vec<_>>().join(",")
}

/// Decides.
pub(crate) fn plan(job: &Job, mine: &[Arc<Pod>], now: Timestamp) -> Plan {
    let Some(spec) = job.spec.as_ref() else {
        return Plan::default();
    };
    let mut plan = Plan {
        status: job.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    let suspended = spec.suspend == Some(true);
    if plan.status.start_time.is_none() && !suspended {
        plan.status.start_time = Some(Time(now));
    }
    count(&mut plan, spec, mine);
    let active: Vec<_> = mine
        .iter()
        .filter(|pod| !succeeded(pod) && !failed(pod))
        .cloned()
        .collect();
    plan.status.active = nonzero(active.len());
    plan.status.ready = Some(i32::try_from(active.iter().filter(|pod| pods::is_ready(pod)).count()).unwrap_or(0));
    let terminating = mine
        .iter()
        .filter(|pod| pods::is_deleting(&pod.metadata) && !pods::is_finished(pod))
        .count();
    plan.status.terminating = i32::try_from(terminating).ok();
    if is_finished(&plan.status) {
        plan.delete = active;
        return plan;
    }
    decide_end(&mut plan, spec, &active, mine, now);
    let ending = has(&plan.status, "FailureTarget") || has(&plan.status, "SuccessCriteriaMet");
    if ending || suspended {
        plan.delete = active;
        settle(&mut plan, ending, mine, now);
        return plan;
    }
    if has(&plan.status, "Suspended") {
        set(&mut plan.status, "Suspended", "False", "JobResumed", "Job resumed", now);
    }
    refill(&mut plan, spec, &active, mine, now);
    plan
}

fn nonzero(count: usize) -> Option<i32> {
    i32::try_from(count).ok().filter(|count| *count > 0)
}

/// Numbers of succeeded and failed pods, counted and not.
fn totals(status: &JobStatus) -> (i32, i32) {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let len = |list: Option<&Vec<String>>| i32::try_from(list.map_or(0, Vec::len)).unwrap_or(i32::MAX);
    (
        status.succeeded.unwrap_or(0) + len(uncounted.and_then(|uncounted| uncounted.succeeded.as_ref())),
        status.failed.unwrap_or(0) + len(uncounted.and_then(|uncounted| uncounted.failed.as_ref())),
    )
}

fn count(plan: &mut Plan, spec: &JobSpec, mine: &[Arc<Pod>]) {
    let status = &mut plan.status;
    let held = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let waiting = |uid: &String| {
        mine.iter()
            .any(|pod| pod.metadata.uid.as_ref() == Some(uid) && has_finalizer(pod))
    };
    let split = |uids: Option<Vec<String>>| -> (Vec<String>, Vec<String>) {
        uids.unwrap_or_default().into_iter().partition(waiting)
    };
    let (mut succeeded_left, succeeded_done) = split(held.succeeded);
    let (mut failed_left, failed_done) = split(held.failed);
    let add = |count: Option<i32>, more: usize| {
        Some(count.unwrap_or(0) + i32::try_from(more).unwrap_or(0)).filter(|count| *count > 0)
    };
    let indexed = is_indexed(spec);
    let mut indexes = read_indexes(status.completed_indexes.as_deref().unwrap_or_default());
    if !indexed {
        status.succeeded = add(status.succeeded, succeeded_done.len());
    }
    status.failed = add(status.failed, failed_done.len());
    for pod in mine.iter().filter(|pod| has_finalizer(pod)) {
        let Some(uid) = pod.metadata.uid.clone() else { continue };
        if succeeded(pod) {
            // Indexes are a set: a pod that is counted twice changes nothing.
            if indexed {
                indexes.extend(index(pod));
            } else if !succeeded_left.contains(&uid) {
                succeeded_left.push(uid);
            }
            plan.release.push(pod.clone());
        } else if failed(pod) {
            if !failed_left.contains(&uid) {
                failed_left.push(uid);
            }
            plan.release.push(pod.clone());
        }
    }
    if indexed {
        status.succeeded = nonzero(indexes.len());
        status.completed_indexes = Some(write_indexes(&indexes));
    }
    let list = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
        succeeded: list(succeeded_left),
        failed: list(failed_left),
    });
}

fn decide_end(plan: &mut Plan, spec: &JobSpec, active: &[Arc<Pod>], mine: &[Arc<Pod>], now: Timestamp) {
    let (succeeded, failures) = totals(&plan.status);
    let status = &mut plan.status;
    let restarts: i32 = mine
        .iter()
        .filter(|pod| pods::phase(pod) == "Running")
        .map(|pod| pods::restarts(pod))
        .sum();
    let on_failure = spec
        .template
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        == Some("OnFailure");
    let limit = spec.backoff_limit.unwrap_or(BACKOFF_LIMIT);
    let done = match spec.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && active.is_empty(),
    };
    let started = status.start_time.as_ref().map(|time| time.0);
    let deadline = spec
        .active_deadline_seconds
        .zip(started)
        .map(|(seconds, at)| at + SignedDuration::from_secs(seconds));
    if done {
        set(
            status,
            "SuccessCriteriaMet",
            "True",
            "CompletionsReached",
            "Reached expected number of succeeded pods",
            now,
        );
    } else if failures > limit || (on_failure && restarts > 0 && restarts + failures > limit) {
        set(
            status,
            "FailureTarget",
            "True",
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
            now,
        );
    } else if let Some(deadline) = deadline.filter(|_| spec.suspend != Some(true)) {
        if deadline <= now {
            let message = "Job was active longer than specified deadline";
            set(status, "FailureTarget", "True", "DeadlineExceeded", message, now);
        } else {
            plan.next = Some(deadline);
        }
    }
}

/// Ends the Job once its last pod is counted and gone, or reports it as suspended.
fn settle(plan: &mut Plan, ending: bool, mine: &[Arc<Pod>], now: Timestamp) {
    let status = &mut plan.status;
    if !ending {
        set(status, "Suspended", "True", "JobSuspended", "Job suspended", now);
        status.start_time = None;
        return;
    }
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let counted = uncounted.succeeded.is_none() && uncounted.failed.is_none();
    let running = mine.iter().any(|pod| !pods::is_finished(pod));
    if !counted || running {
        return;
    }
    (status.active, status.ready, status.terminating) = (None, Some(0), Some(0));
    let target = status
        .conditions
        .iter()
        .flatten()
        .find(|held| held.type_ == "FailureTarget" && held.status == "True")
        .cloned();
    match target {
        Some(target) => {
            let (reason, message) = (target.reason.unwrap_or_default(), target.message.unwrap_or_default());
            set(status, "Failed", "True", &reason, &message, now);
        }
        None => {
            set(
                status,
                "Complete",
                "True",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
                now,
            );
            status.completion_time = Some(Time(now));
        }
    }
}

fn refill(plan: &mut Plan, spec: &JobSpec, active: &[Arc<Pod>], mine: &[Arc<Pod>], now: Timestamp) {
    let (succeeded, failures) = totals(&plan.status);
    let parallelism = spec.parallelism.unwrap_or(1);
    let running = i32::try_from(active.len()).unwrap_or(i32::MAX);
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(completions - succeeded),
        None if succeeded > 0 => running.min(parallelism),
        None => parallelism,
    };
    if running > wanted {
        let mut surplus = active.to_vec();
        super::super::replicaset::sort_by_expendability(&mut surplus, now);
        surplus.truncate(usize::try_from(running - wanted).unwrap_or(0));
        plan.delete = surplus;
        return;
    }
    let missing = (wanted - running).min(BURST);
    if missing <= 0 {
        return;
    }
    if let Some(at) = retry_at(failures, mine).filter(|at| *at > now) {
        plan.next = plan.next.into_iter().chain([at]).min();
        return;
    }
    if !is_indexed(spec) {
        plan.create = vec![None; usize::try_from(missing).unwrap_or(0)];
        return;
    }
    let mut taken = read_indexes(plan.status.completed_indexes.as_deref().unwrap_or_default());
    taken.extend(active.iter().filter_map(|pod| index(pod)));
    let free = (0..spec.completions.unwrap_or(0)).filter(|index| !taken.contains(index));
    plan.create = free.take(usize::try_from(missing).unwrap_or(0)).map(Some).collect();
}

/// When the next pod may be created after the last one failed.
fn retry_at(failures: i32, mine: &[Arc<Pod>]) -> Option<Timestamp> {
    let ended = |pod: &Pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        statuses
            .iter()
            .filter_map(|held| held.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref())
            .map(|time| time.0)
            .max()
    };
    let last = mine
        .iter()
        .filter(|pod| pods::phase(pod) == "Failed")
        .filter_map(|pod| ended(pod))
        .max()?;
    let delay = RETRY.delay(u32::try_from(failures).unwrap_or(0), 0.0);
    last.checked_add(SignedDuration::try_from(delay).ok()?).ok()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
