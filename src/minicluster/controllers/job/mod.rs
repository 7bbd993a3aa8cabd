//! Jobs: pods that are to succeed a number of times.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobStatus},
        core::v1::{EnvVar, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde_json::json;

use super::{PodController, Workloads, after, run};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::Requeue,
    write::{self, Writer},
};

mod plan;

const NAME: &str = "job-controller";
const WORKERS: usize = 2;

struct Controller {
    context: Arc<Context>,
    jobs: Arc<Store<Job>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let controller = Controller {
        context: context.clone(),
        jobs: workloads.jobs.clone(),
        writer: context.writer(NAME),
    };
    run(context, controller);
}

impl PodController for Controller {
    type Owner = Job;
    const NAME: &'static str = NAME;
    const WORKERS: usize = WORKERS;

    fn owners(&self) -> &Arc<Store<Job>> {
        &self.jobs
    }

    fn selector(_: &Job) -> Option<&LabelSelector> {
        None
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        let job = self.jobs.get(key);
        self.let_go(key, job.as_ref().and_then(|job| job.metadata.uid.as_ref()))
            .await?;
        let Some(job) = job else { return Ok(None) };
        let foreign = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        if foreign.is_some_and(|by| by != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let mine = self.context.pods.list_in(key.namespace(), |pod| {
            pods::is_controlled_by(&pod.metadata, &job.metadata)
        });
        if pods::is_deleting(&job.metadata) {
            for pod in &mine {
                self.release(pod).await?;
            }
            return Ok(None);
        }
        let now = Timestamp::now();
        let plan = plan::plan(&job, &mine, now);
        self.writer
            .set_status(&self.jobs, &*job, job.status.as_ref(), &plan.status)
            .await?;
        self.tell_end(&job, &plan.status);
        for pod in &plan.release {
            self.release(pod).await?;
        }
        for pod in &plan.delete {
            self.release(pod).await?;
            self.writer.delete(&self.context.pods, &**pod, None).await?;
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            self.context
                .events
                .of(NAME)
                .normal(&*job, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        for index in plan.create {
            let created = self.writer.create(&self.context.pods, &pod(&job, index)).await?;
            let name = created.metadata.name.unwrap_or_default();
            self.context
                .events
                .of(NAME)
                .normal(&*job, "SuccessfulCreate", format!("Created pod: {name}"));
        }
        if let Some(at) = expiry(&job, &plan.status) {
            if at <= now {
                self.writer.delete(&self.jobs, &*job, None).await?;
                return Ok(None);
            }
            return Ok(Some(after(at, now)));
        }
        Ok(plan.next.map(|at| after(at, now)))
    }
}

impl Controller {
    /// Pods of a Job that is gone must not wait for it.
    async fn let_go(&self, key: &Key, uid: Option<&String>) -> Result<(), write::Error> {
        let orphans = self.context.pods.list_in(key.namespace(), |pod| {
            pods::controller_of(&pod.metadata)
                .is_some_and(|owner| owner.kind == "Job" && owner.name == key.name() && Some(&owner.uid) != uid)
        });
        for pod in orphans {
            self.release(&pod).await?;
        }
        Ok(())
    }

    async fn release(&self, pod: &Pod) -> Result<(), write::Error> {
        if !pod
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|held| held == plan::FINALIZER)
        {
            return Ok(());
        }
        let patch =
            json!({"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [plan::FINALIZER]}});
        match self
            .writer
            .patch(&self.context.pods, &Key::from_meta(&pod.metadata), &patch)
            .await
        {
            Err(error) if error.code() != Some(404) => Err(error),
            _ => Ok(()),
        }
    }

    fn tell_end(&self, job: &Job, status: &JobStatus) {
        if plan::is_finished(status) && !job.status.as_ref().is_some_and(plan::is_finished) {
            let events = self.context.events.of(NAME);
            let failed = status.conditions.iter().flatten().find(|held| held.type_ == "Failed");
            match failed {
                Some(failed) => events.warning(job, "BackoffLimitExceeded", failed.message.clone().unwrap_or_default()),
                None => events.normal(job, "Completed", "Job completed"),
            }
        }
    }
}

/// When a finished Job is to be deleted.
fn expiry(job: &Job, status: &JobStatus) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = status
        .conditions
        .iter()
        .flatten()
        .find(|held| matches!(held.type_.as_str(), "Complete" | "Failed"))?;
    end.last_transition_time
        .as_ref()?
        .0
        .checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
}

fn pod(job: &Job, index: Option<i32>) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, job);
    pod.metadata
        .finalizers
        .get_or_insert_default()
        .push(plan::FINALIZER.to_owned());
    let name = job.metadata.name.clone().unwrap_or_default();
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let labels = pod.metadata.labels.get_or_insert_default();
    for (key, value) in [("job-name", &name), ("controller-uid", &uid)] {
        labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        labels
            .entry(format!("batch.kubernetes.io/{key}"))
            .or_insert_with(|| value.clone());
    }
    let Some(index) = index else { return pod };
    labels.insert(plan::INDEX.to_owned(), index.to_string());
    pod.metadata
        .annotations
        .get_or_insert_default()
        .insert(plan::INDEX.to_owned(), index.to_string());
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(format!("{name}-{index}"));
    for container in pod_spec
        .containers
        .iter_mut()
        .chain(pod_spec.init_containers.iter_mut().flatten())
    {
        let variable = EnvVar {
            name: "JOB_COMPLETION_INDEX".into(),
            value: Some(index.to_string()),
            ..EnvVar::default()
        };
        container.env.get_or_insert_default().push(variable);
    }
    pod
}
