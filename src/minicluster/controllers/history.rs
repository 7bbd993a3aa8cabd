//! ControllerRevisions: the templates that a DaemonSet or StatefulSet had, for `kubectl rollout`.

use std::sync::Arc;

use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use kube::Resource;
use serde_json::{Value, json};

use super::template;
use crate::{
    informer::{Key, Store},
    pods,
    write::{self, Writer},
};

/// Revisions that are kept, by default.
const HISTORY: i32 = 10;

/// The data of a revision: the patch that brings the template back.
fn data(pod_template: &PodTemplateSpec) -> Value {
    let mut spec = json!({"template": pod_template});
    spec["template"]["$patch"] = json!("replace");
    json!({"spec": spec})
}

/// The revisions of an owner, oldest first.
pub(super) fn revisions<K: Resource>(store: &Store<ControllerRevision>, owner: &K) -> Vec<Arc<ControllerRevision>> {
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let mut all = store.list_in(Some(namespace), |revision| {
        pods::is_controlled_by(&revision.metadata, owner.meta())
    });
    all.sort_by_key(|revision| revision.revision);
    all
}

/// Makes sure that the current template has the newest revision, and returns its hash.
pub(super) async fn current<K: Resource<DynamicType = ()>>(
    store: &Store<ControllerRevision>,
    writer: &Writer,
    owner: &K,
    pod_template: &PodTemplateSpec,
    label: &str,
) -> Result<String, write::Error> {
    let hash = template::hash(pod_template, None);
    let all = revisions(store, owner);
    let newest = all.last().map_or(0, |revision| revision.revision);
    let has_hash = |revision: &Arc<ControllerRevision>| {
        revision.metadata.labels.as_ref().and_then(|labels| labels.get(label)) == Some(&hash)
    };
    match all.iter().find(|revision| has_hash(revision)) {
        Some(held) if held.revision == newest => {}
        Some(held) => {
            let patch = json!({"metadata": {"uid": held.metadata.uid}, "revision": newest + 1});
            writer.merge(store, &Key::from_meta(&held.metadata), &patch).await?;
        }
        None => {
            let name = format!("{}-{hash}", owner.meta().name.as_deref().unwrap_or_default());
            let mut labels = pod_template
                .metadata
                .as_ref()
                .and_then(|meta| meta.labels.clone())
                .unwrap_or_default();
            labels.insert(label.to_owned(), hash.clone());
            let revision = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(name),
                    namespace: owner.meta().namespace.clone(),
                    labels: Some(labels),
                    owner_references: Some(vec![pods::controller_ref(owner)]),
                    ..ObjectMeta::default()
                },
                data: Some(RawExtension(data(pod_template))),
                revision: newest + 1,
            };
            match writer.create(store, &revision).await {
                Err(error) if error.code() != Some(409) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(hash)
}

/// Deletes the oldest revisions beyond the limit that no pod is of.
pub(super) async fn clean_up<K: Resource>(
    store: &Store<ControllerRevision>,
    writer: &Writer,
    owner: &K,
    limit: Option<i32>,
    used: impl Fn(&str) -> bool,
) -> Result<(), write::Error> {
    let all = revisions(store, owner);
    let unused: Vec<_> = all
        .iter()
        .rev()
        .skip(1)
        .filter(|revision| !revision.metadata.labels.iter().flatten().any(|(_, value)| used(value)))
        .collect();
    let keep = usize::try_from(limit.unwrap_or(HISTORY)).unwrap_or(0);
    for revision in unused.into_iter().skip(keep) {
        writer.delete(store, &**revision, None).await?;
    }
    Ok(())
}
