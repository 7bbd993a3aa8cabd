//! Gives every namespace its `default` ServiceAccount and the CA that pods verify the server with.
//!
//! A kube-controller-manager that runs against this server does the same; whoever comes second finds it done.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, status::Status};
use serde_json::json;
use storage::cache::{Freshness, Start};
use tokio_util::sync::CancellationToken;

use super::{Actor, queue::Queue};
use crate::{
    errors,
    registry::{Registry, Resource, codec, metadata},
};

const ACCOUNT: &str = "default";
const CA: &str = "kube-root-ca.crt";
/// Wait before everything is followed again after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Works until `stop`.
pub(super) async fn run(registry: Arc<Registry>, ca_pem: String, stop: CancellationToken) {
    let queue = Queue::new();
    let actor = Actor::new("service-account-controller");
    let following = async {
        loop {
            if let Err(error) = follow(&registry, &queue).await {
                tracing::warn!(
                    error = errors::chain(&error),
                    "the service account controller starts over"
                );
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let working = async {
        loop {
            let namespace: String = queue.next().await;
            let settled = match ensure(&registry, &actor, &namespace, &ca_pem).await {
                Ok(()) => true,
                Err(status) => {
                    let over = [403, 404].contains(&status.code);
                    if !over {
                        tracing::warn!(namespace, error = %status, "cannot complete a namespace");
                    }
                    over
                }
            };
            queue.done(namespace, settled);
        }
    };
    let both = async { tokio::join!(following, working) };
    stop.run_until_cancelled(both).await;
}

async fn follow(registry: &Registry, queue: &Queue<String>) -> Result<(), storage::Error> {
    let find = |name: &str| registry.resource("", "v1", name).cloned();
    let (Some(namespaces), Some(accounts), Some(configs)) =
        (find("namespaces"), find("serviceaccounts"), find("configmaps"))
    else {
        return Ok(());
    };
    let now = Start::Now(Freshness::Newest);
    let mut new = registry.cache(&namespaces).watch(&namespaces.prefix, now).await?;
    let mut accounts = registry.cache(&accounts).watch(&accounts.prefix, now).await?;
    let mut configs = registry.cache(&configs).watch(&configs.prefix, now).await?;
    new.initial()
        .iter()
        .for_each(|item| queue.add(item.payload.name.to_string()));
    drop((accounts.initial(), configs.initial()));
    loop {
        let (events, by_name, wanted) = tokio::select! {
            events = new.next(100) => (events?, true, ""),
            events = accounts.next(100) => (events?, false, ACCOUNT),
            events = configs.next(100) => (events?, false, CA),
        };
        for event in events {
            let payload = &event.entry.payload;
            if by_name {
                queue.add(payload.name.to_string());
            } else if &*payload.name == wanted {
                queue.add(payload.namespace.to_string());
            }
        }
    }
}

async fn ensure(registry: &Registry, actor: &Actor, namespace: &str, ca_pem: &str) -> Result<(), Status> {
    let Some(namespaces) = registry.resource("", "v1", "namespaces") else {
        return Ok(());
    };
    if metadata::is_deleting(&codec::decode(&registry.get(namespaces, "", namespace).await?)?) {
        return Ok(());
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CA,
            "annotations": {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},
        },
        "data": {"ca.crt": ca_pem},
    });
    for (name, object) in [("serviceaccounts", account), ("configmaps", config)] {
        if let Some(resource) = registry.resource("", "v1", name) {
            create(registry, actor, resource, namespace, object).await?;
        }
    }
    Ok(())
}

async fn create(
    registry: &Registry,
    actor: &Actor,
    resource: &Resource,
    namespace: &str,
    object: Object,
) -> Result<(), Status> {
    if registry
        .get(resource, namespace, metadata::text(&object, "name"))
        .await
        .is_ok()
    {
        return Ok(());
    }
    match registry.create(&actor.write(resource, namespace, ""), object).await {
        Err(status) if status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}
