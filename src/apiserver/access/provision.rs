//! Puts the bootstrap roles and bindings into the store, and keeps aggregated roles up to date.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, meta, status::Status};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use storage::cache::{Freshness, Start};
use tokio_util::sync::CancellationToken;

use crate::{
    authn::{UserInfo, groups},
    authz::{
        bootstrap::{aggregated, objects, reconciled},
        rbac::{GROUP, Kind},
    },
    errors,
    registry::{
        Registry, Resource, codec,
        update::Change,
        write::{Warnings, Write},
    },
    request::options::WriteOptions,
};

/// Writes in flight at a time: they share group commits.
const AT_ONCE: usize = 64;
/// How long to wait for further changes before roles are aggregated.
const SETTLE: Duration = Duration::from_millis(10);
/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// The server itself as a writer.
struct Writer {
    user: UserInfo,
    options: WriteOptions,
    warnings: Warnings,
}

impl Writer {
    fn new(field_manager: &str) -> Self {
        let groups = vec![groups::MASTERS.to_owned()];
        Self {
            user: UserInfo {
                username: "system:apiserver".into(),
                groups,
                ..UserInfo::default()
            },
            options: WriteOptions {
                field_manager: field_manager.into(),
                ..WriteOptions::default()
            },
            warnings: Warnings::default(),
        }
    }

    fn write<'a>(&'a self, resource: &'a Resource, namespace: &'a str) -> Write<'a> {
        Write {
            resource,
            subresource: "",
            namespace,
            options: &self.options,
            user: &self.user,
            warnings: &self.warnings,
            now: jiff::Timestamp::now(),
        }
    }
}

/// Changes an existing object by a function; `None` leaves it as it is.
struct Amend<F>(F);

impl<F: Fn(&Object) -> Option<Object> + Send + Sync> Change for Amend<F> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let current = current.ok_or_else(|| Status::internal("nothing to amend"))?;
        Ok((self.0)(current).unwrap_or_else(|| current.clone()))
    }
}

/// Makes what is missing of the bootstrap policy.
///
/// # Errors
/// What the store refuses.
pub(super) async fn bootstrap(registry: &Registry) -> Result<(), Status> {
    let writer = Writer::new("kube-apiserver");
    stream::iter(objects())
        .map(|(kind, object)| provide(registry, &writer, kind, object))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    aggregate_now(registry, &Writer::new("clusterrole-aggregation-controller")).await
}

async fn provide(registry: &Registry, writer: &Writer, kind: Kind, object: Object) -> Result<(), Status> {
    let Some(resource) = registry.resource(GROUP, "v1", kind.resource()) else {
        return Ok(());
    };
    let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
    let write = writer.write(resource, &namespace);
    let Ok(found) = registry.get(resource, &namespace, &name).await else {
        return match registry.create(&write, object).await {
            // Another server on the same store was quicker.
            Err(status) if status.code == 409 => Ok(()),
            other => other.map(|_| ()),
        };
    };
    if reconciled(&codec::decode(&found)?, &object).is_some() {
        registry
            .update(&write, &name, &Amend(|current: &Object| reconciled(current, &object)))
            .await?;
    }
    Ok(())
}

/// Aggregates roles whenever one changes, until `stop`.
pub(super) async fn aggregate(registry: Arc<Registry>, stop: CancellationToken) {
    let writer = Writer::new("clusterrole-aggregation-controller");
    let work = async {
        loop {
            if let Err(error) = aggregate_on_change(&registry, &writer).await {
                tracing::warn!(error, "cannot aggregate ClusterRoles: tries again");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn aggregate_on_change(registry: &Registry, writer: &Writer) -> Result<(), String> {
    let Some(roles) = registry.resource(GROUP, "v1", Kind::ClusterRole.resource()) else {
        return std::future::pending().await;
    };
    let failed = |error: storage::Error| errors::chain(&error);
    let start = Start::Now(Freshness::Any);
    let mut watch = registry
        .cache(roles)
        .watch(&roles.prefix, start)
        .await
        .map_err(failed)?;
    loop {
        aggregate_now(registry, writer).await.map_err(|status| status.message)?;
        watch.next(usize::MAX).await.map_err(failed)?;
        tokio::time::sleep(SETTLE).await;
    }
}

async fn aggregate_now(registry: &Registry, writer: &Writer) -> Result<(), Status> {
    let Some(resource) = registry.resource(GROUP, "v1", Kind::ClusterRole.resource()) else {
        return Ok(());
    };
    let cache = registry.cache(resource);
    cache
        .settle()
        .await
        .map_err(|error| errors::of_storage(resource, "", &error))?;
    let all = cache.snapshot(&resource.prefix);
    let all = all
        .iter()
        .map(|entry| codec::decode_payload(&entry.payload))
        .collect::<Result<Vec<_>, _>>()?;
    // admin gathers what edit has gathered, and edit what view has: each round settles one more level.
    for role in all.iter().filter(|role| aggregated(role, &all).is_some()) {
        let amend = Amend(|current: &Object| {
            let mut updated = current.clone();
            updated["rules"] = aggregated(current, &all)?.into();
            Some(updated)
        });
        match registry
            .update(&writer.write(resource, ""), meta::name(role), &amend)
            .await
        {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
