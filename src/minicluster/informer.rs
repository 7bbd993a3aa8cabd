//! One shared, event-driven cache per kind: `client`'s informers, of typed objects.
//!
//! Every part of the process reads objects here and nowhere else, so each kind costs one watch and
//! one copy in memory. A part that has just written an object puts the server's answer in with
//! [`assume`]: the next reconcile sees its own write, and no controller needs to count expected
//! events. An answer that the watch has overtaken is ignored, so an object that is gone already
//! cannot come back.

use std::{any::TypeId, sync::Arc};

pub(crate) use client::{Change, Key, Store};
use client::{Informer, Rest, informer::Scope};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// What an informer needs of a kind.
pub(crate) trait Kind:
    k8s_openapi::Resource<Scope: 'static> + Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Kind for K where
    K: k8s_openapi::Resource<Scope: 'static> + Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static
{
}

fn resource<K: Kind>() -> client::Resource {
    client::Resource {
        group: K::GROUP,
        version: K::VERSION,
        kind: K::KIND,
        plural: K::URL_PATH_SEGMENT,
        namespaced: TypeId::of::<<K as k8s_openapi::Resource>::Scope>() == TypeId::of::<NamespaceResourceScope>(),
    }
}

/// Starts an informer of every object of a kind; it runs until `shutdown`.
pub(crate) fn start<K: Kind>(rest: &Rest, shutdown: &CancellationToken) -> Arc<Store<K>> {
    follow(rest, Scope::all(resource::<K>()), shutdown)
}

/// Starts an informer of the objects of a kind that a field selector picks; it runs until `shutdown`.
pub(crate) fn start_with_fields<K: Kind>(rest: &Rest, fields: &str, shutdown: &CancellationToken) -> Arc<Store<K>> {
    follow(rest, Scope::with_fields(resource::<K>(), fields), shutdown)
}

fn follow<K: Kind>(rest: &Rest, scope: Scope, shutdown: &CancellationToken) -> Arc<Store<K>> {
    let informer = Informer::start(rest.clone(), scope, typed, |_| {});
    let (store, shutdown) = (informer.store.clone(), shutdown.clone());
    tokio::spawn(async move {
        shutdown.cancelled().await;
        drop(informer);
    });
    store
}

/// What is kept of an object: all but who manages which field. One that does not fit its kind's type is left out.
fn typed<K: Kind>(mut object: apimachinery::Object) -> Option<K> {
    if let Some(meta) = object.get_mut("metadata").and_then(|meta| meta.as_object_mut()) {
        meta.remove("managedFields");
    }
    serde_json::from_value(object)
        .inspect_err(|error| tracing::warn!(kind = K::KIND, %error, "an object is not of its kind's shape"))
        .ok()
}

/// Puts in what the server answered to a write, unless the watch is further already.
pub(crate) fn assume<K: Resource + Clone>(store: &Store<K>, object: &K) {
    let mut object = object.clone();
    let meta = object.meta_mut();
    meta.managed_fields = None;
    let key = Key::from_meta(meta);
    let version = meta
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok());
    store.observe(&key, version.unwrap_or(0), object);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Node, Pod};

    use super::*;

    #[test]
    fn resources_are_those_of_the_api() {
        let pods = resource::<Pod>();
        assert_eq!(
            (pods.collection(Some("a")).as_str(), pods.kind),
            ("/api/v1/namespaces/a/pods", "Pod")
        );
        assert_eq!(resource::<Node>().collection(Some("a")), "/api/v1/nodes");
    }

    #[test]
    fn objects_are_kept_without_their_managers() {
        let object = serde_json::json!({"metadata": {"name": "a", "managedFields": [{"manager": "x"}]}});
        let pod: Pod = typed(object).unwrap();
        assert_eq!(
            (pod.metadata.name.as_deref(), pod.metadata.managed_fields),
            (Some("a"), None)
        );
        assert_eq!(typed::<Pod>(serde_json::json!({"metadata": {"name": 1}})), None);
    }
}
