//! The ReplicaSet of a Deployment's current template: created, or brought up to date.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Map, json};

use super::{
    Controller, DESIRED, HASH, MOST, NAME, OWN_ANNOTATIONS, REVISION, REVISION_HISTORY, Sets, annotation, is_rolling,
    revision,
    rollout::{self, Limits, Set},
    template, view,
};
use crate::{
    informer::Key,
    pods::{self, Labels},
    write,
};

impl Controller {
    /// Creates the set of the current template, or gives it the newest revision. True if it was created.
    pub(super) async fn ensure_new(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        limits: Limits,
        sets: &mut Sets,
    ) -> Result<bool, write::Error> {
        let newest = sets.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        let mut made = false;
        let current = match sets.new.take() {
            Some(set) => self.refresh(deployment, spec, set, newest).await?,
            None => {
                made = true;
                self.create(deployment, spec, limits, &sets.old, newest).await?
            }
        };
        let revision = annotation(&current.metadata, REVISION).map(str::to_owned);
        sets.new = Some(current);
        if annotation(&deployment.metadata, REVISION) != revision.as_deref() {
            let patch = json!({"metadata": {"uid": deployment.metadata.uid, "annotations": {REVISION: revision}}});
            self.writer
                .patch(&self.deployments, &Key::from_meta(&deployment.metadata), &patch)
                .await?;
        }
        Ok(made)
    }

    /// Brings annotations, revision and minReadySeconds of the current set up to date.
    async fn refresh(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        set: Arc<ReplicaSet>,
        newest: i64,
    ) -> Result<Arc<ReplicaSet>, write::Error> {
        let mut annotations = Map::new();
        for (key, value) in inherited(deployment) {
            if annotation(&set.metadata, &key) != Some(&value) {
                annotations.insert(key, value.into());
            }
        }
        let held = revision(&set);
        if held < newest {
            annotations.insert(REVISION.into(), newest.to_string().into());
            if held > 0 {
                let history = annotation(&set.metadata, REVISION_HISTORY).unwrap_or_default();
                let history = if history.is_empty() {
                    held.to_string()
                } else {
                    format!("{history},{held}")
                };
                annotations.insert(REVISION_HISTORY.into(), history.into());
            }
        }
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let held_min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if annotations.is_empty() && held_min_ready == min_ready {
            return Ok(set);
        }
        let patch = json!({
            "metadata": {"uid": set.metadata.uid, "annotations": annotations},
            "spec": {"minReadySeconds": min_ready},
        });
        Ok(Arc::new(
            self.writer
                .patch(&self.sets, &Key::from_meta(&set.metadata), &patch)
                .await?,
        ))
    }

    async fn create(
        &self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        limits: Limits,
        old: &[Arc<ReplicaSet>],
        revision: i64,
    ) -> Result<Arc<ReplicaSet>, write::Error> {
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = template::hash(&spec.template, collisions);
        let mut selector = spec.selector.clone();
        selector
            .match_labels
            .get_or_insert_default()
            .insert(HASH.into(), hash.clone());
        let template = template::labelled(&spec.template, HASH, &hash);
        let blank = Set {
            replicas: 0,
            available: 0,
            sized_for: None,
            sized_for_most: None,
        };
        let replicas = if is_rolling(spec) {
            rollout::roll(limits, &blank, &old.iter().map(|set| view(set)).collect::<Vec<_>>()).0
        } else {
            0
        };
        let mut annotations = inherited(deployment);
        annotations.insert(REVISION.into(), revision.to_string());
        annotations.insert(DESIRED.into(), limits.replicas.to_string());
        annotations.insert(MOST.into(), limits.most().to_string());
        let name = format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default());
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: deployment.metadata.namespace.clone(),
                labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
                annotations: Some(annotations),
                owner_references: Some(vec![pods::controller_ref(deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(replicas),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        match self.writer.create(&self.sets, &set).await {
            Ok(created) => {
                if replicas > 0 {
                    self.tell_scaled(deployment, &name, 0, replicas);
                }
                Ok(Arc::new(created))
            }
            Err(error) => {
                if error.code() == Some(409) {
                    self.count_collision(deployment, &set).await?;
                } else if !error.is_namespace_terminating() {
                    let message = format!("Failed to create new replica set \"{name}\": {}", error.message());
                    self.context
                        .events
                        .of(NAME)
                        .warning(deployment, "ReplicaSetCreateError", message);
                }
                Err(error)
            }
        }
    }

    /// Makes the next hash another one, if the name belongs to a set that is not this template's.
    async fn count_collision(&self, deployment: &Deployment, wanted: &ReplicaSet) -> Result<(), write::Error> {
        let Some(held) = self.sets.get(&Key::from_meta(&wanted.metadata)) else {
            return Ok(());
        };
        let template = |set: &ReplicaSet| {
            set.spec
                .as_ref()
                .and_then(|spec| spec.template.clone())
                .unwrap_or_default()
        };
        let same = template::equal_but(&template(&held), &template(wanted), HASH);
        if same && pods::is_controlled_by(&held.metadata, &deployment.metadata) {
            return Ok(());
        }
        let old = deployment.status.clone().unwrap_or_default();
        let mut status = old.clone();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.writer
            .set_status(&self.deployments, deployment, Some(&old), &status)
            .await
    }
}

/// The annotations that a Deployment hands on to its ReplicaSets.
fn inherited(deployment: &Deployment) -> Labels {
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    annotations
}
