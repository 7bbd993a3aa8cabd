//! Keeps the RBAC policy in step with the store.

use std::{sync::Arc, time::Duration};

use storage::cache::{EventKind, Freshness, Start, Watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authz::rbac::{GROUP, Kind, Policy},
    errors,
    registry::{
        Registry,
        cached::{Objects, Payload},
        codec,
    },
};

/// Changes taken at a time.
const BATCH: usize = 256;
/// Wait before everything is read again after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Reads every role and binding, then follows them until `stop`.
///
/// # Errors
/// If they cannot be read the first time.
pub(super) async fn start(
    registry: &Arc<Registry>,
    policy: &Arc<Policy>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), storage::Error> {
    for kind in Kind::ALL {
        let Some(watch) = open(registry, policy, kind).await? else {
            continue;
        };
        let (registry, policy, stop) = (Arc::clone(registry), Arc::clone(policy), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(follow(registry, policy, kind, watch)).await });
    }
    Ok(())
}

/// Replaces what the policy knows of a kind by what is there, and watches from then on.
async fn open(registry: &Registry, policy: &Policy, kind: Kind) -> Result<Option<Watch<Objects>>, storage::Error> {
    let Some(resource) = registry.resource(GROUP, "v1", kind.resource()) else {
        return Ok(None);
    };
    let mut watch = registry
        .cache(resource)
        .watch(&resource.prefix, Start::Now(Freshness::Newest))
        .await?;
    policy.clear(kind);
    for entry in watch.initial() {
        set(policy, kind, &entry.payload);
    }
    Ok(Some(watch))
}

fn set(policy: &Policy, kind: Kind, payload: &Payload) {
    match codec::decode_payload(payload) {
        Ok(object) => policy.set(kind, &object),
        Err(status) => {
            tracing::warn!(error = %status, "unreadable role or binding: it grants nothing");
            policy.remove(kind, &payload.namespace, &payload.name);
        }
    }
}

async fn follow(registry: Arc<Registry>, policy: Arc<Policy>, kind: Kind, mut watch: Watch<Objects>) {
    loop {
        match watch.next(BATCH).await {
            Ok(events) => {
                for event in events {
                    let payload = &event.entry.payload;
                    match event.kind {
                        EventKind::Added | EventKind::Modified => set(&policy, kind, payload),
                        EventKind::Deleted => policy.remove(kind, &payload.namespace, &payload.name),
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = errors::chain(&error), "reads roles and bindings again");
                loop {
                    tokio::time::sleep(RETRY).await;
                    if let Ok(Some(opened)) = open(&registry, &policy, kind).await {
                        watch = opened;
                        break;
                    }
                }
            }
        }
    }
}
