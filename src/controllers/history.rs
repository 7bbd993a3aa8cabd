//! Revisions of federated Deployments, kept as ReplicaSets of the federation, so that `kubectl rollout history` and
//! `undo` work as everywhere: kubectl reads the ReplicaSets that a Deployment owns.
//!
//! These ReplicaSets are bookkeeping: they are owned, so they are never propagated, and they are marked, so that they
//! stay out of members even if somebody removes their owner. Each member keeps its own revisions as well.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, meta, selector::LabelSelector};
use client::{
    Error, Key, Rest,
    error::chain,
    queue::{self, Outcome},
    resources::{DEPLOYMENTS, REPLICA_SETS},
    rest::Propagation,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{hash::Hash, sync::kinds, wake::Wake};

/// Marks a ReplicaSet that only records a revision.
pub const RECORD: &str = "federation.kubernetes.io/revision-record";
const REVISION: &str = "deployment.kubernetes.io/revision";
const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Changes are recorded this long after they happen: a rollout changes the status with every pod.
pub const DELAY: Duration = Duration::from_millis(300);

/// What has to be written to record a Deployment's revisions.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// The ReplicaSet of a template that is new.
    create: Option<Object>,
    /// Merge patches of ReplicaSets: name, subresource, patch.
    patches: Vec<(String, &'static str, Object)>,
    /// ReplicaSets beyond the history limit.
    delete: Vec<String>,
    /// The Deployment's revision, if its annotation says another one.
    revision: Option<i64>,
}

fn revision(object: &Object) -> i64 {
    meta::annotation(object, REVISION)
        .and_then(|r| r.parse().ok())
        .unwrap_or(0)
}

/// The name of the ReplicaSet of a Deployment's template.
fn record_name(deployment: &Object) -> (String, String) {
    let mut hash = Hash::of(&deployment["spec"]["template"]).to_string();
    hash.truncate(10);
    (format!("{}-{hash}", meta::name(deployment)), hash)
}

fn record(deployment: &Object, name: &str, hash: &str, number: i64) -> Object {
    let spec = &deployment["spec"];
    let mut template = spec["template"].clone();
    template["metadata"]["labels"][TEMPLATE_HASH] = json!(hash);
    let mut selector = spec["selector"].clone();
    selector["matchLabels"][TEMPLATE_HASH] = json!(hash);
    let mut annotations = json!({});
    annotations[REVISION] = json!(number.to_string());
    annotations[RECORD] = json!("true");
    if let Some(cause) = meta::annotation(deployment, CHANGE_CAUSE) {
        annotations[CHANGE_CAUSE] = json!(cause);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": meta::namespace(deployment),
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": meta::name(deployment), "uid": meta::uid(deployment),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": spec["replicas"], "minReadySeconds": spec["minReadySeconds"].as_i64().unwrap_or(0),
            "selector": selector, "template": template,
        },
    })
}

/// The status that the ReplicaSet of the current template would have.
fn record_status(deployment: &Object, generation: i64) -> Object {
    let status = &deployment["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let updated = number("updatedReplicas");
    json!({
        "replicas": updated,
        "fullyLabeledReplicas": updated,
        "readyReplicas": number("readyReplicas").min(updated),
        "availableReplicas": number("availableReplicas").min(updated),
        "observedGeneration": generation,
    })
}

fn contains(whole: &Object, part: &Object) -> bool {
    match (whole, part) {
        (Object::Object(whole), Object::Object(part)) => part
            .iter()
            .all(|(k, v)| contains(whole.get(k).unwrap_or(&Object::Null), v)),
        // Zeros may be left out.
        (Object::Null, Object::Number(number)) => number.as_i64() == Some(0),
        (whole, part) => whole == part,
    }
}

/// What to write, given the Deployment and the records it owns.
fn plan(deployment: &Object, records: &[Object]) -> Plan {
    let mut plan = Plan::default();
    let (name, hash) = record_name(deployment);
    let newest = records.iter().map(revision).max().unwrap_or(0);
    let current = records.iter().find(|r| meta::name(r) == name);
    let number = match current {
        Some(record) if revision(record) == newest => newest,
        Some(_) | None => newest + 1,
    };
    let mut patch = |record: &Object, subresource: &'static str, patch: Object| {
        if !contains(record, &patch) {
            plan.patches.push((meta::name(record).to_owned(), subresource, patch));
        }
    };
    for other in records.iter().filter(|r| meta::name(r) != name) {
        patch(other, "", json!({"spec": {"replicas": 0}}));
        let generation = meta::generation(other);
        let nothing = json!({"replicas": 0, "fullyLabeledReplicas": 0, "readyReplicas": 0, "availableReplicas": 0, "observedGeneration": generation});
        patch(other, "/status", json!({ "status": nothing }));
    }
    match current {
        Some(current) => {
            let mut annotations = json!({});
            annotations[REVISION] = json!(number.to_string());
            if let Some(cause) = meta::annotation(deployment, CHANGE_CAUSE) {
                annotations[CHANGE_CAUSE] = json!(cause);
            }
            let replicas = &deployment["spec"]["replicas"];
            patch(
                current,
                "",
                json!({"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}),
            );
            patch(
                current,
                "/status",
                json!({"status": record_status(deployment, meta::generation(current))}),
            );
        }
        None => plan.create = Some(record(deployment, &name, &hash, number)),
    }
    let limit = usize::try_from(deployment["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(0);
    let mut old: Vec<&Object> = records.iter().filter(|r| meta::name(r) != name).collect();
    old.sort_by_key(|r| revision(r));
    let surplus = old.len().saturating_sub(limit);
    plan.delete = old[..surplus].iter().map(|r| meta::name(r).to_owned()).collect();
    plan.patches.retain(|(patched, ..)| !plan.delete.contains(patched));
    plan.revision = (revision(deployment) != number).then_some(number);
    plan
}

/// The history controller.
pub struct History {
    federation: Rest,
}

impl History {
    /// A controller that has not started.
    #[must_use]
    pub fn new(federation: Rest) -> Arc<Self> {
        Arc::new(Self { federation })
    }

    /// Records until `shutdown`.
    pub async fn run(self: Arc<Self>, wake: &Wake, shutdown: CancellationToken) {
        queue::run(Arc::clone(&wake.history), 4, shutdown, move |key: Key| {
            let history = Arc::clone(&self);
            async move {
                match history.reconcile(&key).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => {
                        tracing::debug!(deployment = %key, error = %chain(&error), "cannot record a revision");
                        Outcome::Retry(error.retry_after())
                    }
                }
            }
        })
        .await;
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(deployment) = self.federation.find(&DEPLOYMENTS, key).await? else {
            return Ok(());
        };
        if meta::is_being_deleted(&deployment) || kinds::is_system_namespace(meta::namespace(&deployment)) {
            return Ok(());
        }
        let records = records(&self.federation, &deployment).await?;
        let plan = plan(&deployment, &records);
        let place = |name: &str| Key::new(key.namespace(), name);
        if let Some(record) = &plan.create {
            self.federation.create(&REPLICA_SETS, key.namespace(), record).await?;
        }
        for (name, subresource, patch) in &plan.patches {
            self.federation
                .merge(&REPLICA_SETS, &place(name), subresource, patch)
                .await?;
        }
        for name in &plan.delete {
            self.federation
                .delete(&REPLICA_SETS, &place(name), None, Propagation::Background)
                .await?;
        }
        if let Some(revision) = plan.revision {
            let mut annotations = json!({});
            annotations[REVISION] = json!(revision.to_string());
            // Through the status, as the Deployment controller of a cluster does: it is no new generation.
            let patch = json!({"metadata": {"uid": meta::uid(&deployment), "annotations": annotations}});
            self.federation.merge(&DEPLOYMENTS, key, "/status", &patch).await?;
        }
        Ok(())
    }
}

async fn records(federation: &Rest, deployment: &Object) -> Result<Vec<Object>, Error> {
    let Ok(selector) = LabelSelector::from_object(deployment["spec"].get("selector")) else {
        return Ok(Vec::new());
    };
    let query = format!("labelSelector={}", client::rest::escape(&selector.to_string()));
    let mut list = federation
        .list(&REPLICA_SETS, Some(meta::namespace(deployment)), &query)
        .await?;
    let Object::Array(mut items) = list["items"].take() else {
        return Ok(Vec::new());
    };
    items.retain(|rs| meta::controller_of(rs).is_some_and(|owner| owner.uid() == meta::uid(deployment)));
    Ok(items)
}

/// Removes the records of a Deployment that is let go of: without their owner they would be ReplicaSets like others.
///
/// # Errors
/// If the federation does not answer.
pub async fn discard(federation: &Rest, key: &Key) -> Result<(), Error> {
    let Some(deployment) = federation.find(&DEPLOYMENTS, key).await? else {
        return Ok(());
    };
    for record in records(federation, &deployment).await? {
        let uid = meta::uid(&record);
        federation
            .delete(&REPLICA_SETS, &Key::of(&record), Some(uid), Propagation::Background)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str) -> Object {
        json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "annotations": {"kubernetes.io/change-cause": image}},
            "spec": {"replicas": 3, "revisionHistoryLimit": 1, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
            "status": {"updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 2},
        })
    }

    /// Carries a plan out, as the API would.
    fn apply(plan: Plan, deployment: &mut Object, records: &mut Vec<Object>) {
        records.extend(plan.create);
        for (name, subresource, patch) in plan.patches {
            let record = records.iter_mut().find(|r| meta::name(r) == name).expect("exists");
            let field = if subresource.is_empty() { "spec" } else { "status" };
            for (key, value) in patch[field].as_object().expect("map") {
                record[field][key] = value.clone();
            }
            for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
                record["metadata"]["annotations"][key] = value.clone();
            }
        }
        records.retain(|r| !plan.delete.iter().any(|name| name == meta::name(r)));
        if let Some(revision) = plan.revision {
            deployment["metadata"]["annotations"][REVISION] = json!(revision.to_string());
        }
    }

    fn settle(deployment: &mut Object, records: &mut Vec<Object>) {
        for _ in 0..3 {
            apply(plan(deployment, records), deployment, records);
        }
        assert_eq!(
            plan(deployment, records),
            Plan::default(),
            "a settled history needs no writes"
        );
    }

    #[test]
    fn every_template_gets_a_revision_and_going_back_makes_it_the_newest() {
        let mut records = Vec::new();
        let mut first = deployment("v1");
        settle(&mut first, &mut records);
        assert_eq!(revision(&first), 1);
        let mut second = deployment("v2");
        settle(&mut second, &mut records);
        assert_eq!((revision(&second), records.len()), (2, 2));
        assert_eq!(records[0]["spec"]["replicas"], 0, "the old one is scaled down");
        let mut back = deployment("v1");
        settle(&mut back, &mut records);
        assert_eq!(revision(&back), 3);
        assert_eq!(records.iter().map(revision).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(records[0]["spec"]["replicas"], 3);
    }

    #[test]
    fn revisions_beyond_the_limit_go() {
        let mut records = Vec::new();
        for image in ["v1", "v2", "v3"] {
            settle(&mut deployment(image), &mut records);
        }
        assert_eq!(records.iter().map(revision).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_record_is_what_kubectl_expects_of_a_replica_set_of_a_deployment() {
        let mut records = Vec::new();
        settle(&mut deployment("v1"), &mut records);
        let record = &records[0];
        let hash = &record["metadata"]["labels"][TEMPLATE_HASH];
        assert!(hash.is_string());
        assert_eq!(record["spec"]["selector"]["matchLabels"][TEMPLATE_HASH], *hash);
        assert_eq!(record["spec"]["template"]["metadata"]["labels"][TEMPLATE_HASH], *hash);
        assert_eq!(record["metadata"]["annotations"][CHANGE_CAUSE], "v1");
        assert_eq!(
            record["status"],
            json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 2, "observedGeneration": 0})
        );
    }
}
