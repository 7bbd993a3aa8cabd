//! CronJobs: a Job whenever it is time.

use std::{cmp::Reverse, sync::Arc};

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use self::schedule::Schedule;
use super::{Workloads, after, enqueue_owner};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

mod schedule;

const NAME: &str = "cronjob-controller";
/// Finished Jobs that are kept, by default: succeeded and failed.
const HISTORY: (i32, i32) = (3, 1);

struct Controller {
    context: Arc<Context>,
    cron_jobs: Arc<Store<CronJob>>,
    jobs: Arc<Store<Job>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let queue = Arc::new(Queue::default());
    let (cron_jobs, jobs) = (workloads.cron_jobs.clone(), workloads.jobs.clone());
    let controller = Arc::new(Controller {
        context: context.clone(),
        cron_jobs: cron_jobs.clone(),
        jobs: jobs.clone(),
        writer: context.writer(NAME),
    });
    cron_jobs.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    jobs.on_change({
        let queue = queue.clone();
        move |change| enqueue_owner(&queue, change, "CronJob", &cron_jobs, |_| None)
    });
    queue::spawn(NAME, queue, 1, &context.shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    });
}

fn has(job: &Job, kind: &str) -> bool {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|held| held.type_ == kind && held.status == "True")
}

fn is_finished(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// The last time that was due and is not too late, and the next one. Times are those of the schedule's zone.
fn due(spec: &CronJobSpec, since: Timestamp, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let Ok(schedule) = Schedule::parse(&spec.schedule) else {
        return (None, None);
    };
    let zone = spec
        .time_zone
        .as_deref()
        .and_then(|name| TimeZone::get(name).ok())
        .unwrap_or(TimeZone::UTC);
    let earliest = spec
        .starting_deadline_seconds
        .map_or(since, |seconds| since.max(now - SignedDuration::from_secs(seconds)));
    let mut at: Zoned = earliest.to_zoned(zone);
    let mut last = None;
    while let Some(next) = schedule.next(&at) {
        if next.timestamp() > now {
            return (last, Some(next.timestamp()));
        }
        last = Some(next.timestamp());
        at = next;
    }
    (last, None)
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let Some(cron) = self.cron_jobs.get(key) else {
            return Ok(None);
        };
        let spec = &cron.spec;
        if pods::is_deleting(&cron.metadata) {
            return Ok(None);
        }
        let jobs = self.jobs.list_in(key.namespace(), |job| {
            pods::is_controlled_by(&job.metadata, &cron.metadata)
        });
        let active: Vec<_> = jobs.iter().filter(|job| !is_finished(job)).cloned().collect();
        let now = Timestamp::now();
        let mut status = cron.status.clone().unwrap_or_default();
        let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let since = status.last_schedule_time.as_ref().map_or(created, |time| time.0);
        let (last, next) = due(spec, since, now);
        let mut running: Vec<ObjectReference> = active.iter().map(|job| reference(job)).collect();
        let forbidden = spec.concurrency_policy.as_deref() == Some("Forbid") && !active.is_empty();
        if let Some(at) = last.filter(|_| spec.suspend != Some(true) && !forbidden) {
            if spec.concurrency_policy.as_deref() == Some("Replace") {
                for job in &active {
                    self.writer.delete(&self.jobs, &**job, None).await?;
                }
                running.clear();
            }
            running.extend(self.create(&cron, spec, at).await?.map(|job| reference(&job)));
            status.last_schedule_time = Some(Time(at));
        }
        self.report(&cron, status, running, &jobs).await?;
        self.clean_up(spec, &jobs).await?;
        Ok(next.filter(|_| spec.suspend != Some(true)).map(|at| after(at, now)))
    }

    /// The Job of a due time; its name is the time's, so that it is created once.
    async fn create(&self, cron: &CronJob, spec: &CronJobSpec, at: Timestamp) -> Result<Option<Job>, write::Error> {
        let name = cron.metadata.name.as_deref().unwrap_or_default();
        let template = spec.job_template.metadata.clone().unwrap_or_default();
        let mut annotations = template.annotations.unwrap_or_default();
        annotations.insert("batch.kubernetes.io/cronjob-scheduled-timestamp".into(), at.to_string());
        let job = Job {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{}", at.as_second() / 60)),
                namespace: cron.metadata.namespace.clone(),
                labels: template.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![pods::controller_ref(cron)]),
                ..ObjectMeta::default()
            },
            spec: spec.job_template.spec.clone(),
            status: None,
        };
        match self.writer.create(&self.jobs, &job).await {
            Ok(job) => {
                let created = job.metadata.name.clone().unwrap_or_default();
                self.context
                    .events
                    .of(NAME)
                    .normal(cron, "SuccessfulCreate", format!("Created job {created}"));
                Ok(Some(job))
            }
            Err(error) if error.code() == Some(409) || error.is_namespace_terminating() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn report(
        &self,
        cron: &CronJob,
        mut status: CronJobStatus,
        running: Vec<ObjectReference>,
        jobs: &[Arc<Job>],
    ) -> Result<(), write::Error> {
        let ended = jobs
            .iter()
            .filter_map(|job| job.status.as_ref()?.completion_time.clone())
            .max();
        status.last_successful_time = status.last_successful_time.max(ended);
        status.active = (!running.is_empty()).then_some(running);
        self.writer
            .set_status(&self.cron_jobs, cron, cron.status.as_ref(), &status)
            .await
    }

    async fn clean_up(&self, spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Result<(), write::Error> {
        let limits = [
            ("Complete", spec.successful_jobs_history_limit.unwrap_or(HISTORY.0)),
            ("Failed", spec.failed_jobs_history_limit.unwrap_or(HISTORY.1)),
        ];
        for (kind, limit) in limits {
            let mut ended: Vec<_> = jobs.iter().filter(|job| has(job, kind)).collect();
            ended.sort_by_key(|job| Reverse(job.metadata.creation_timestamp.clone()));
            for job in ended.into_iter().skip(usize::try_from(limit).unwrap_or(0)) {
                self.writer.delete(&self.jobs, &**job, None).await?;
            }
        }
        Ok(())
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn spec(schedule: &str) -> CronJobSpec {
        CronJobSpec {
            schedule: schedule.into(),
            ..CronJobSpec::default()
        }
    }

    #[test]
    fn of_several_missed_times_the_last_one_is_due() {
        let (last, next) = due(
            &spec("*/5 * * * *"),
            at("2026-01-01T00:01:00Z"),
            at("2026-01-01T00:17:00Z"),
        );
        assert_eq!(
            (last, next),
            (Some(at("2026-01-01T00:15:00Z")), Some(at("2026-01-01T00:20:00Z")))
        );
    }

    #[test]
    fn a_time_past_its_deadline_is_skipped() {
        let mut spec = spec("0 * * * *");
        spec.starting_deadline_seconds = Some(60);
        assert_eq!(
            due(&spec, at("2026-01-01T00:01:00Z"), at("2026-01-01T01:02:00Z")).0,
            None
        );
        assert_eq!(
            due(&spec, at("2026-01-01T00:01:00Z"), at("2026-01-01T01:00:30Z")).0,
            Some(at("2026-01-01T01:00:00Z"))
        );
    }

    #[test]
    fn the_zone_of_the_schedule_counts() {
        let mut spec = spec("0 9 * * *");
        spec.time_zone = Some("Asia/Tokyo".into());
        assert_eq!(
            due(&spec, at("2026-01-01T00:01:00Z"), at("2026-01-01T00:02:00Z")).1,
            Some(at("2026-01-02T00:00:00Z"))
        );
    }
}
