//! Which objects a controller owns, may adopt and must release.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use kube::Resource;
use serde_json::{Value, json};

use crate::{
    informer::{Key, Store},
    pods::{self, controller_ref},
    write::{self, Writer},
};

/// What a controller has to do with the objects around it.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// Controlled by the owner and selected.
    pub(crate) mine: Vec<Arc<K>>,
    /// Selected and controlled by nobody.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Controlled by the owner, but not selected any more.
    pub(crate) release: Vec<Arc<K>>,
}

impl Claims<Pod> {
    /// Releases and adopts pods; returns those that the owner then has.
    pub(crate) async fn settle<O>(
        self,
        writer: &Writer,
        pods: &Store<Pod>,
        owner: &O,
    ) -> Result<Vec<Arc<Pod>>, write::Error>
    where
        O: Resource<DynamicType = ()>,
    {
        for pod in self.release {
            let patch = release(&pod.metadata, owner.meta());
            writer.patch(pods, &Key::from_meta(&pod.metadata), &patch).await?;
        }
        let mut mine = self.mine;
        for pod in self.adopt {
            let patch = adoption(&pod.metadata, &controller_ref(owner));
            mine.push(Arc::new(
                writer.patch(pods, &Key::from_meta(&pod.metadata), &patch).await?,
            ));
        }
        Ok(mine)
    }
}

/// Sorts objects by their relation to an owner. An owner that is being deleted adopts nothing.
pub(crate) fn claims<K: Resource>(owner: &ObjectMeta, selector: &LabelSelector, objects: Vec<Arc<K>>) -> Claims<K> {
    let mut claims = Claims {
        mine: Vec::new(),
        adopt: Vec::new(),
        release: Vec::new(),
    };
    for object in objects {
        let meta = object.meta();
        let selected = !pods::selector_is_empty(selector) && pods::selects(selector, meta.labels.as_ref());
        match pods::controller_of(meta) {
            Some(controller) if Some(&controller.uid) == owner.uid.as_ref() => {
                if selected {
                    claims.mine.push(object)
                } else {
                    claims.release.push(object)
                }
            }
            Some(_) => {}
            None if selected && !pods::is_deleting(meta) && !pods::is_deleting(owner) => claims.adopt.push(object),
            None => {}
        }
    }
    claims
}

/// The patch that makes an object controlled by an owner.
pub(crate) fn adoption(object: &ObjectMeta, owner: &OwnerReference) -> Value {
    json!({"metadata": {"uid": object.uid, "ownerReferences": [owner]}})
}

/// The patch that removes an owner from an object.
pub(crate) fn release(object: &ObjectMeta, owner: &ObjectMeta) -> Value {
    json!({"metadata": {"uid": object.uid, "ownerReferences": [{"$patch": "delete", "uid": owner.uid}]}})
}
