//! Empties namespaces that are being deleted, and lets them go when they are empty.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, status::Status};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use storage::{
    ListOptions,
    cache::{Freshness, Start},
};
use tokio_util::sync::CancellationToken;

use super::{Actor, queue::Queue};
use crate::{
    errors,
    registry::{
        Registry, Resource, codec,
        delete::{Delete, DeleteOptions, Propagation},
        metadata,
        update::Change,
    },
};

/// Namespaces emptied at a time.
const WORKERS: usize = 4;
/// Objects deleted at a time in a namespace.
const DELETES: usize = 16;
/// Wait before the namespaces are followed again after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// The finalizer this controller takes away.
const KUBERNETES: &str = "kubernetes";

struct Emptier {
    registry: Arc<Registry>,
    namespaces: Arc<Resource>,
    queue: Queue<String>,
    actor: Actor,
}

/// Works until `stop`.
pub(super) async fn run(registry: Arc<Registry>, stop: CancellationToken) {
    let Some(namespaces) = registry.resource("", "v1", "namespaces").cloned() else {
        return;
    };
    let actor = Actor::new("namespace-controller");
    let emptier = Arc::new(Emptier {
        registry,
        namespaces,
        queue: Queue::new(),
        actor,
    });
    let workers = (0..WORKERS)
        .map(|_| tokio::spawn(emptier.clone().work()))
        .collect::<Vec<_>>();
    let following = async {
        loop {
            if let Err(error) = emptier.follow().await {
                tracing::warn!(error = errors::chain(&error), "the namespace controller starts over");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    stop.run_until_cancelled(following).await;
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// What is left in a namespace: counts by resource, and finalizers with their counts.
#[derive(Default)]
struct Left {
    resources: Vec<(String, usize)>,
    finalizers: std::collections::BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Emptier {
    async fn follow(&self) -> Result<(), storage::Error> {
        let cache = self.registry.cache(&self.namespaces);
        let mut watch = cache
            .watch(&self.namespaces.prefix, Start::Now(Freshness::Newest))
            .await?;
        for item in watch.initial() {
            self.queue.add(item.payload.name.to_string());
        }
        loop {
            for event in watch.next(100).await? {
                self.queue.add(event.entry.payload.name.to_string());
            }
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let name = self.queue.next().await;
            let settled = match self.empty(&name).await {
                Ok(settled) => settled,
                Err(status) if status.code == 404 => true,
                Err(status) => {
                    tracing::warn!(namespace = name, error = %status, "cannot empty a namespace");
                    false
                }
            };
            self.queue.done(name, settled);
        }
    }

    /// Deletes what is in a namespace under deletion. True if there is nothing left to do.
    async fn empty(&self, name: &str) -> Result<bool, Status> {
        let namespace = codec::decode(&self.registry.get(&self.namespaces, "", name).await?)?;
        let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array);
        let ours = finalizers.is_some_and(|all| all.iter().any(|f| f == KUBERNETES));
        if !metadata::is_deleting(&namespace) || !ours {
            return Ok(true);
        }
        let mut left = Left::default();
        for resource in self
            .registry
            .stored_resources()
            .filter(|r| r.namespaced() && r.is_stored())
        {
            self.delete_all(resource, name, &mut left).await?;
        }
        let write = self.actor.write(&self.namespaces, "", "status");
        self.registry
            .update(
                &write,
                name,
                &Report {
                    left: &left,
                    now: metadata::timestamp(write.now),
                },
            )
            .await?;
        if !left.resources.is_empty() || !left.failures.is_empty() {
            return Ok(false);
        }
        let write = self.actor.write(&self.namespaces, "", "finalize");
        self.registry.update(&write, name, &Finalize).await?;
        Ok(true)
    }

    async fn delete_all(&self, resource: &Resource, namespace: &str, left: &mut Left) -> Result<(), Status> {
        let scope = resource.scope(namespace);
        // Straight from the store: most kinds have nothing here, and their caches need not be filled for that.
        let storage = &self.registry.storage;
        let failed = |e: storage::Error| errors::of_storage(resource, "", &e);
        let there = storage.list(&scope, ListOptions::default()).await.map_err(failed)?;
        if there.items.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = there
            .items
            .iter()
            .map(|item| item.key[scope.len()..].to_owned())
            .collect();
        let options = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        let deletions = names.iter().map(|name| {
            let delete = Delete {
                resource,
                namespace,
                name,
                options: &options,
                user: &self.actor.user,
                now: jiff::Timestamp::now(),
            };
            let registry = &self.registry;
            async move { registry.delete(&delete).await.map(|_| ()) }
        });
        let deletions: Vec<_> = deletions.collect();
        let results: Vec<Result<(), Status>> = stream::iter(deletions).buffer_unordered(DELETES).collect().await;
        let failures = results
            .into_iter()
            .filter_map(Result::err)
            .filter(|status| status.code != 404);
        left.failures.extend(failures.map(|status| status.message));
        let remaining = storage
            .list(&scope, ListOptions::default())
            .await
            .map_err(failed)?
            .items;
        if !remaining.is_empty() {
            left.resources.push((qualified(resource), remaining.len()));
        }
        for item in &remaining {
            let object = codec::decode(item)?;
            for finalizer in metadata::finalizers(&object) {
                *left.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }
}

fn qualified(resource: &Resource) -> String {
    format!("{}.{}", resource.stored.resource, resource.stored.group)
}

/// Writes what is left into the conditions.
struct Report<'a> {
    left: &'a Left,
    now: String,
}

impl Change for Report<'_> {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut namespace = current.cloned().unwrap_or_default();
        let list = |items: Vec<String>| items.join(", ");
        let resources = self
            .left
            .resources
            .iter()
            .map(|(name, n)| format!("{name} has {n} resource instances"));
        let finalizers = self
            .left
            .finalizers
            .iter()
            .map(|(name, n)| format!("{name} in {n} resource instances"));
        let (resources, finalizers) = (list(resources.collect()), list(finalizers.collect()));
        let failures = list(self.left.failures.clone());
        let conditions = [
            (
                "NamespaceDeletionDiscoveryFailure",
                "",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                failures.as_str(),
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (
                "NamespaceContentRemaining",
                resources.as_str(),
                "ContentRemoved",
                "All content successfully removed",
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers.as_str(),
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ];
        for (kind, problem, reason, message) in conditions {
            let status = if problem.is_empty() { "False" } else { "True" };
            let (reason, message) = match (kind, problem.is_empty()) {
                (_, true) => (reason, message.to_owned()),
                ("NamespaceDeletionContentFailure", _) => (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {problem}",
                        self.left.failures.len()
                    ),
                ),
                ("NamespaceContentRemaining", _) => (
                    "SomeResourcesRemain",
                    format!("Some resources are remaining: {problem}"),
                ),
                (_, false) => (
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {problem}"),
                ),
            };
            set_condition(&mut namespace, kind, status, reason, &message, &self.now);
        }
        Ok(namespace)
    }

    fn is_trusted(&self) -> bool {
        true
    }
}

fn set_condition(object: &mut Object, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(all) = object["status"]["conditions"].as_array_mut() else {
        return;
    };
    let condition =
        json!({"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message});
    match all.iter_mut().find(|c| c["type"] == kind) {
        None => all.push(condition),
        Some(there) => {
            let since = if there["status"] == status {
                there["lastTransitionTime"].clone()
            } else {
                now.into()
            };
            *there = condition;
            there["lastTransitionTime"] = since;
        }
    }
}

/// Takes the namespace controller's finalizer away.
struct Finalize;

impl Change for Finalize {
    fn apply(&self, current: Option<&Object>) -> Result<Object, Status> {
        let mut namespace = current.cloned().unwrap_or_default();
        if let Some(finalizers) = namespace.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|f| f != KUBERNETES);
        }
        Ok(namespace)
    }

    fn is_trusted(&self) -> bool {
        true
    }
}
