//! Writes to the API server, with the object named in the error, and the answer put into the cache.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::informer::{Key, Store, assume};

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The object could not be created.
    #[error("cannot create {kind} {key}")]
    Create {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Key,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object could not be patched.
    #[error("cannot patch {kind} {key}")]
    Patch {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Key,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object could not be deleted.
    #[error("cannot delete {kind} {key}")]
    Delete {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Key,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// The HTTP status that the server answered with, if it did.
    pub(crate) fn code(&self) -> Option<u16> {
        let (Self::Create { source, .. } | Self::Patch { source, .. } | Self::Delete { source, .. }) = self;
        code(source)
    }

    /// What the server said, in its words.
    pub(crate) fn message(&self) -> String {
        let (Self::Create { source, .. } | Self::Patch { source, .. } | Self::Delete { source, .. }) = self;
        match &**source {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether the namespace is going away, so that nothing can be created in it any more.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        matches!(self, Self::Create { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated")))
    }
}

/// The HTTP status of an API error.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// A kind whose objects live in namespaces.
pub(crate) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}
impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

/// A client that writes as one field manager.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    manager: &'static str,
}

impl Writer {
    /// A writer with the field manager that its writes are recorded under.
    pub(crate) fn new(client: Client, manager: &'static str) -> Self {
        Self { client, manager }
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn api<K: Namespaced>(&self, key: &Key) -> Api<K> {
        Api::namespaced(self.client.clone(), key.namespace().unwrap_or_default())
    }

    fn post(&self) -> PostParams {
        PostParams {
            dry_run: false,
            field_manager: Some(self.manager.to_owned()),
        }
    }

    fn patching(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        }
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, store: &Store<K>, object: &K) -> Result<K, Error>
    where
        K: Namespaced + Serialize,
    {
        let key = Key::from_meta(object.meta());
        match self.api::<K>(&key).create(&self.post(), object).await {
            Ok(created) => {
                assume(store, &created);
                Ok(created)
            }
            Err(source) => Err(Error::Create {
                kind: K::kind(&()).into_owned(),
                key,
                source: Box::new(source),
            }),
        }
    }

    /// Strategically merges a patch into an object. `uid` in the patch's metadata makes sure that it is the one that was meant.
    pub(crate) async fn patch<K: Namespaced>(&self, store: &Store<K>, key: &Key, patch: &Value) -> Result<K, Error> {
        let patch = Patch::Strategic(patch);
        let answer = self.api::<K>(key).patch(key.name(), &self.patching(), &patch).await;
        patched(store, key, answer)
    }

    /// Merges a patch into an object, lists as a whole.
    pub(crate) async fn merge<K: Namespaced>(&self, store: &Store<K>, key: &Key, patch: &Value) -> Result<K, Error> {
        let patch = Patch::Merge(patch);
        let answer = self.api::<K>(key).patch(key.name(), &self.patching(), &patch).await;
        patched(store, key, answer)
    }

    /// Changes the status of an object from `old` to `new`, lists as a whole; writes nothing if they are the same.
    pub(crate) async fn set_status<K: Namespaced, S: Serialize>(
        &self,
        store: &Store<K>,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), Error> {
        match status_patch(object.meta(), old, new) {
            Some(patch) => self.patch_status(store, object, &Patch::Merge(patch)).await,
            None => Ok(()),
        }
    }

    /// As [`Writer::set_status`], but list entries that others put in (conditions of their own) stay.
    pub(crate) async fn merge_status<K: Namespaced, S: Serialize>(
        &self,
        store: &Store<K>,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<(), Error> {
        match status_patch(object.meta(), old, new) {
            Some(patch) => self.patch_status(store, object, &Patch::Strategic(patch)).await,
            None => Ok(()),
        }
    }

    async fn patch_status<K: Namespaced>(
        &self,
        store: &Store<K>,
        object: &K,
        patch: &Patch<Value>,
    ) -> Result<(), Error> {
        let key = Key::from_meta(object.meta());
        let api = self.api::<K>(&key);
        let answer = api.patch_status(key.name(), &self.patching(), patch).await;
        patched(store, &key, answer).map(drop)
    }

    /// Deletes exactly this object (by uid). One that is gone already is no error.
    pub(crate) async fn delete<K: Namespaced>(
        &self,
        store: &Store<K>,
        object: &K,
        grace: Option<u32>,
    ) -> Result<(), Error> {
        let key = Key::from_meta(object.meta());
        let params = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions {
                uid: object.meta().uid.clone(),
                resource_version: None,
            }),
            propagation_policy: Some(kube::api::PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match self.api::<K>(&key).delete(key.name(), &params).await {
            Ok(answer) => {
                if let Some(object) = answer
                    .left()
                    .filter(|object| object.meta().deletion_timestamp.is_some())
                {
                    assume(store, &object);
                }
                Ok(())
            }
            // Gone, or a namesake is there now: either way this object is no more.
            Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(()),
            Err(source) => Err(Error::Delete {
                kind: K::kind(&()).into_owned(),
                key,
                source: Box::new(source),
            }),
        }
    }
}

fn patched<K: Namespaced>(store: &Store<K>, key: &Key, answer: Result<K, kube::Error>) -> Result<K, Error> {
    match answer {
        Ok(patched) => {
            assume(store, &patched);
            Ok(patched)
        }
        Err(source) => Err(Error::Patch {
            kind: K::kind(&()).into_owned(),
            key: key.clone(),
            source: Box::new(source),
        }),
    }
}

/// The patch that makes a status `new`, for exactly the object with this uid; `None` if nothing changes.
fn status_patch<S: Serialize>(meta: &ObjectMeta, old: Option<&S>, new: &S) -> Option<Value> {
    let old = old
        .and_then(|old| serde_json::to_value(old).ok())
        .unwrap_or_else(|| json!({}));
    let status = difference(&old, &serde_json::to_value(new).ok()?)?;
    Some(json!({"metadata": {"uid": meta.uid}, "status": status}))
}

/// The merge patch from one value to another; `None` if they are equal.
pub(crate) fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = serde_json::Map::new();
    for (key, value) in after {
        let change = match before.get(key) {
            Some(held) => difference(held, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    // Key order alone may differ.
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_only_what_changes_and_removes_what_is_gone() {
        let old = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "f": true});
        let new = json!({"a": 1, "b": {"c": 2, "d": 4}, "e": [1, 2]});
        assert_eq!(
            difference(&old, &new),
            Some(json!({"b": {"d": 4}, "e": [1, 2], "f": null}))
        );
        assert_eq!(difference(&new, &new), None);
    }
}
