//! StatefulSets: pods with a number, a name and claims of their own.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Api, api::PostParams};

use super::{PodController, Workloads, after, claim, history, run, template};
use crate::{
    context::Context,
    informer::{Key, Store},
    pods,
    queue::Requeue,
    write::{self, Writer, code},
};

mod plan;

const NAME: &str = "statefulset-controller";
const WORKERS: usize = 2;

struct Controller {
    context: Arc<Context>,
    sets: Arc<Store<StatefulSet>>,
    revisions: Arc<Store<ControllerRevision>>,
    writer: Writer,
}

/// Starts the controller.
pub(super) fn start(context: &Arc<Context>, workloads: &Workloads) {
    let controller = Controller {
        context: context.clone(),
        sets: workloads.stateful_sets.clone(),
        revisions: workloads.revisions.clone(),
        writer: context.writer(NAME),
    };
    run(context, controller);
}

impl PodController for Controller {
    type Owner = StatefulSet;
    const NAME: &'static str = NAME;
    const WORKERS: usize = WORKERS;

    fn owners(&self) -> &Arc<Store<StatefulSet>> {
        &self.sets
    }

    fn selector(set: &StatefulSet) -> Option<&LabelSelector> {
        set.spec.as_ref().map(|spec| &spec.selector)
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, write::Error> {
        self.revisions.synced().await;
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let Some(spec) = set.spec.as_ref() else { return Ok(None) };
        let around = self
            .context
            .pods
            .list_in(key.namespace(), |pod| plan::ordinal(key.name(), pod).is_some());
        let claims = claim::claims(&set.metadata, &spec.selector, around);
        let mine = claims.settle(&self.writer, &self.context.pods, &*set).await?;
        let now = Timestamp::now();
        let name = key.name();
        if pods::is_deleting(&set.metadata) {
            return Ok(None);
        }
        let hash = history::current(&self.revisions, &self.writer, &*set, &spec.template, plan::HASH).await?;
        let update = format!("{name}-{hash}");
        let plan = plan::plan(&set, &mine, &update, now);
        let events = self.context.events.of(NAME);
        for number in plan.create {
            self.create(&set, number, &update).await?;
            events.normal(
                &*set,
                "SuccessfulCreate",
                format!("create Pod {name}-{number} in StatefulSet {name} successful"),
            );
        }
        for pod in plan.delete {
            self.writer.delete(&self.context.pods, &*pod, None).await?;
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            events.normal(
                &*set,
                "SuccessfulDelete",
                format!("delete Pod {pod} in StatefulSet {name} successful"),
            );
        }
        let mine = self.context.pods.list_in(key.namespace(), |pod| {
            pods::is_controlled_by(&pod.metadata, &set.metadata)
        });
        let (status, next) = plan::status(&set, &mine, &update, now);
        self.writer
            .set_status(&self.sets, &*set, set.status.as_ref(), &status)
            .await?;
        let used = |hash: &str| {
            let suffix = format!("-{hash}");
            let current = status
                .current_revision
                .as_deref()
                .is_some_and(|current| current.ends_with(&suffix));
            current
                || mine.iter().any(|pod| {
                    pod.metadata
                        .labels
                        .iter()
                        .flatten()
                        .any(|(_, value)| value.ends_with(&suffix))
                })
        };
        history::clean_up(&self.revisions, &self.writer, &*set, spec.revision_history_limit, used).await?;
        Ok(next.map(|at| after(at, now)))
    }
}

impl Controller {
    async fn create(&self, set: &StatefulSet, number: i32, update: &str) -> Result<(), write::Error> {
        let spec = set.spec.clone().unwrap_or_default();
        let name = format!("{}-{number}", set.metadata.name.as_deref().unwrap_or_default());
        let current = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.clone())
            .unwrap_or_else(|| update.to_owned());
        let revision = plan::revision(set, number, &current, update);
        let pod_template = if revision == update {
            spec.template.clone()
        } else {
            self.old_template(set, revision)
                .unwrap_or_else(|| spec.template.clone())
        };
        let mut pod = pods::from_template(&template::labelled(&pod_template, plan::HASH, revision), set);
        (pod.metadata.generate_name, pod.metadata.name) = (None, Some(name.clone()));
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone());
        labels.insert("apps.kubernetes.io/pod-index".into(), number.to_string());
        let pod_spec = pod.spec.get_or_insert_default();
        pod_spec.hostname = Some(name.clone());
        pod_spec.subdomain = spec.service_name.clone();
        for claim in spec.volume_claim_templates.iter().flatten() {
            let volume = claim.metadata.name.clone().unwrap_or_default();
            let claim_name = format!("{volume}-{name}");
            self.claim(set, claim, &claim_name).await?;
            let volumes = pod_spec.volumes.get_or_insert_default();
            volumes.retain(|held| held.name != volume);
            let source = PersistentVolumeClaimVolumeSource {
                claim_name,
                read_only: None,
            };
            volumes.push(Volume {
                name: volume,
                persistent_volume_claim: Some(source),
                ..Volume::default()
            });
        }
        match self.writer.create(&self.context.pods, &pod).await {
            Err(error) if error.is_namespace_terminating() => Ok(()),
            other => other.map(drop),
        }
    }

    fn old_template(&self, set: &StatefulSet, revision: &str) -> Option<PodTemplateSpec> {
        let held = history::revisions(&self.revisions, set)
            .into_iter()
            .find(|held| held.metadata.name.as_deref() == Some(revision))?;
        let mut data = held.data.as_ref()?.0["spec"]["template"].clone();
        data.as_object_mut()?.remove("$patch");
        serde_json::from_value(data).ok()
    }

    async fn claim(&self, set: &StatefulSet, claim: &PersistentVolumeClaim, name: &str) -> Result<(), write::Error> {
        let key = Key::from_meta(&set.metadata);
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client.clone(), key.namespace().unwrap_or_default());
        let mut claim = PersistentVolumeClaim {
            status: None,
            ..claim.clone()
        };
        (claim.metadata.name, claim.metadata.namespace) = (Some(name.to_owned()), key.namespace().map(str::to_owned));
        let selected = set
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.clone())
            .unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        match api.create(&PostParams::default(), &claim).await {
            // It outlives its pod.
            Err(error) if code(&error) == Some(409) => Ok(()),
            Err(source) => Err(write::Error::Create {
                kind: "PersistentVolumeClaim".into(),
                key,
                source: Box::new(source),
            }),
            Ok(_) => Ok(()),
        }
    }
}
