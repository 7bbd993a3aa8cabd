//! Writing one object to one member.

use std::time::Duration;

use api::well_known;
use client::{Key, error::chain, events::Severity, queue::Outcome, rest::Propagation};
use planner::Share;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::{
    SyncKey, configs,
    engine::{Engine, RECOUNT},
    federated::Federated,
    kinds,
    observe::{self, Copy},
    payload,
    pods::{self, Pending},
};
use crate::{hash::Hash, members::Member};

/// Something in the way, that nobody tells us about when it goes, is looked for again this often.
const BLOCKED_RETRY: Duration = Duration::from_secs(30);
/// A member that refuses without saying for how long is left alone for this time.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
/// A deletion is looked at again after this, should its event get lost.
const DELETION_RECHECK: Duration = Duration::from_secs(15);

/// Configuration on its way wakes its users when it arrives; should that get lost, they look after this.
const CONFIG_RECHECK: Duration = Duration::from_secs(1);

/// The clusters of earlier waves wake those of later ones; should that get lost, they look after this.
const WAVE_RECHECK: Duration = Duration::from_secs(10);

/// How a write ended, where it did not fail.
enum Written {
    /// Done, or nothing to do.
    Settled,
    /// Something else has to happen first; look again after this time.
    Waiting(Duration),
    /// An object that is not ours is in the way.
    Blocked(String),
}

impl Engine {
    /// Brings one member to what the last plan said of an object.
    pub(super) async fn write(&self, member: &Member, key: &SyncKey) -> Outcome {
        if let Some(until) = member.paused() {
            return Outcome::After(until - Instant::now());
        }
        // An absent member is not asked; everything is queued again when it is back.
        if self
            .members
            .reachable(&member.name)
            .is_none_or(|current| current.fingerprint != member.fingerprint)
        {
            return Outcome::Done;
        }
        let Some(federated) = self.store(key.0).get(&key.1) else {
            member.forget(key);
            return Outcome::Done;
        };
        let store = member.store(key.0);
        if !store.is_synced() {
            // Engine::attach queues everything once it is; a resource the member lacks is worth saying.
            if let Some(problem) = store.problem() {
                self.note(
                    member,
                    key,
                    &federated,
                    Some(&format!("cannot list {}: {problem}", Self::kind(key).resource().plural)),
                );
            }
            return Outcome::Done;
        }
        let result = match &federated.deletion {
            Some(_) => self.write_deletion(member, key, &federated).await,
            None if !federated.excluded && federated.has_finalizer() => self.write_copy(member, key, &federated).await,
            None => Ok(Written::Settled),
        };
        match result {
            Ok(Written::Settled) => {
                self.note(member, key, &federated, None);
                self.count_pods(member, key, &federated).await
            }
            Ok(Written::Waiting(wait)) => Outcome::After(wait),
            Ok(Written::Blocked(problem)) => {
                self.note(member, key, &federated, Some(&problem));
                Outcome::After(BLOCKED_RETRY)
            }
            Err(error) => self.failed(member, key, &federated, &error),
        }
    }

    fn failed(&self, member: &Member, key: &SyncKey, federated: &Federated, error: &client::Error) -> Outcome {
        self.metrics.write_failed(&member.name);
        if error.code() == Some(429) {
            member.pause_until(Instant::now() + error.retry_after().unwrap_or(THROTTLED_PAUSE));
            return Outcome::Retry(error.retry_after());
        }
        if error.is_not_found() && self.namespace_first(member, key) {
            return Outcome::Retry(None);
        }
        if error.is_conflict() || error.is_unreachable() {
            return Outcome::Retry(error.retry_after());
        }
        let text = chain(error);
        tracing::debug!(cluster = &*member.name, kind = Self::kind(key).resource().kind, object = %key.1, error = %text, "cannot write");
        self.note(member, key, federated, Some(&text));
        Outcome::Retry(error.retry_after())
    }

    /// Whether the object waits for its namespace, which is queued before it.
    fn namespace_first(&self, member: &Member, key: &SyncKey) -> bool {
        let (Some(namespace), Some(kind)) = (key.1.namespace(), kinds::index_of("Namespace")) else {
            return false;
        };
        let namespace = (kind, Key::from(namespace));
        let missing = self.store(kind).get(&namespace.1).is_some_and(|n| n.deletion.is_none())
            && member.store(kind).get(&namespace.1).is_none();
        if missing {
            member.queue.add(namespace);
        }
        missing
    }

    /// Remembers why an object cannot be brought to a member, or that it can, and says so once.
    fn note(&self, member: &Member, key: &SyncKey, federated: &Federated, problem: Option<&str>) {
        if !member.set_problem(key, problem) {
            return;
        }
        if let Some(problem) = problem {
            let reason = if problem.contains("not ours") {
                "Conflict"
            } else {
                "UpdateInClusterFailed"
            };
            self.event(
                key,
                federated,
                Severity::Warning,
                reason,
                format!("cluster {}: {problem}", member.name),
            );
        }
        self.wake.plan.add(key.clone());
    }

    async fn write_copy(
        &self,
        member: &Member,
        key: &SyncKey,
        federated: &Federated,
    ) -> Result<Written, client::Error> {
        let copy = member.store(key.0).get(&key.1);
        let Some((share, hash)) = self.target(key, federated, &member.name) else {
            return match copy {
                Some(copy) if copy.ours => {
                    self.delete(member, key, federated, &copy, Propagation::Background)
                        .await
                }
                Some(_) | None => Ok(Written::Settled),
            };
        };
        if self.awaits_configs(member, federated) {
            return Ok(Written::Waiting(CONFIG_RECHECK));
        }
        match copy {
            Some(copy) if Self::is_current(member, key, &copy, hash) => Ok(Written::Settled),
            // It has to be gone before it can come again; its event wakes us.
            Some(copy) if copy.ours && copy.deleting => Ok(Written::Waiting(DELETION_RECHECK)),
            Some(copy) if copy.ours && self.waits_for_wave(key, federated, &member.name, &copy) => {
                Ok(Written::Waiting(WAVE_RECHECK))
            }
            Some(copy) if copy.ours || federated.adopt => {
                self.put(member, key, federated, Some(&copy), share, hash).await
            }
            Some(_) => Ok(Written::Blocked(not_ours(Self::kind(key).resource().kind))),
            None => self.create(member, key, federated, share, hash).await,
        }
    }

    /// The first write: the object may be there without our label.
    async fn create(
        &self,
        member: &Member,
        key: &SyncKey,
        federated: &Federated,
        share: Share,
        hash: Hash,
    ) -> Result<Written, client::Error> {
        let kind = Self::kind(key);
        let Some(existing) = member.rest.find(&kind.resource(), &key.1).await? else {
            return self.put(member, key, federated, None, share, hash).await;
        };
        if apimachinery::meta::is_being_deleted(&existing) {
            return Ok(Written::Waiting(Duration::from_millis(500)));
        }
        if observe::is_ours(&existing, &self.uid) || federated.adopt {
            let copy = observe::copy(kind, &existing, &self.uid);
            return self.put(member, key, federated, Some(&copy), share, hash).await;
        }
        // A namespace that is there already is used as it is: what matters is what goes into it.
        if kind.resource().kind == "Namespace" {
            return Ok(Written::Settled);
        }
        Ok(Written::Blocked(not_ours(kind.resource().kind)))
    }

    async fn put(
        &self,
        member: &Member,
        key: &SyncKey,
        federated: &Federated,
        existing: Option<&Copy>,
        share: Share,
        hash: Hash,
    ) -> Result<Written, client::Error> {
        let kind = Self::kind(key);
        let resource = kind.resource();
        let body = match self.bodies.get(key, federated.payload) {
            Some(body) => body,
            None => {
                let body = payload::payload(kind, self.federation.get(&resource, &key.1).await?);
                if Hash::of(&body) != federated.payload {
                    // Changed since; the watch is about to tell.
                    return Ok(Written::Waiting(Duration::from_secs(1)));
                }
                body
            }
        };
        let mut written = share;
        if share.replicas.is_none()
            && let Some(copy) = existing.filter(|c| !c.replicas_taken)
        {
            // To leave out what only we own would remove it: the autoscaler gets the number as it is.
            written.replicas = copy.observed.replicas;
        }
        let mut config = payload::configuration(kind, body, &written, hash, &self.uid);
        if let Some(mark) = configs::mark(member, federated) {
            configs::write_mark(&mut config, &mark);
        }
        if let Ok(Some(overrides)) = &federated.overrides {
            let cluster = self.clusters.get(&Key::from(&*member.name)).unwrap_or_default();
            config = match overrides.apply(config, &member.name, &cluster["metadata"]["labels"]) {
                Ok(config) => config,
                Err(error) => {
                    return Ok(Written::Blocked(format!(
                        "the overrides cannot be applied: {}",
                        chain(&error)
                    )));
                }
            };
        }
        let object = member
            .rest
            .apply(&resource, &key.1, &config, existing.is_some())
            .await?;
        member.wrote(key, &object, &self.uid);
        self.metrics.written(&member.name);
        if existing.is_none() {
            self.event(
                key,
                federated,
                Severity::Normal,
                "CreateInCluster",
                format!("created in cluster {}", member.name),
            );
        } else if existing.is_some_and(|c| c.applied != Some(hash)) {
            self.event(
                key,
                federated,
                Severity::Normal,
                "UpdateInCluster",
                format!("updated in cluster {}", member.name),
            );
        } else {
            self.event(
                key,
                federated,
                Severity::Normal,
                "RepairInCluster",
                format!("repaired what others had changed in cluster {}", member.name),
            );
        }
        if kinds::concerns_all(key.0) {
            self.wake.plan.add(key.clone());
        }
        Ok(Written::Settled)
    }

    async fn delete(
        &self,
        member: &Member,
        key: &SyncKey,
        federated: &Federated,
        copy: &Copy,
        propagation: Propagation,
    ) -> Result<Written, client::Error> {
        if !copy.deleting {
            member
                .rest
                .delete(&Self::kind(key).resource(), &key.1, Some(&copy.uid), propagation)
                .await?;
            self.event(
                key,
                federated,
                Severity::Normal,
                "DeleteInCluster",
                format!("deleted in cluster {}", member.name),
            );
        }
        Ok(Written::Waiting(DELETION_RECHECK))
    }

    /// Carries a deletion out in one member, and notes when nothing of ours is left there.
    async fn write_deletion(
        &self,
        member: &Member,
        key: &SyncKey,
        federated: &Federated,
    ) -> Result<Written, client::Error> {
        let copy = member.store(key.0).get(&key.1).filter(|c| c.ours);
        let Some(copy) = copy else {
            member.forget(key);
            self.removed_from(key, federated, &member.name);
            return Ok(Written::Settled);
        };
        if self.is_orphaning(key, federated) {
            self.release(member, key).await?;
            self.removed_from(key, federated, &member.name);
            return Ok(Written::Settled);
        }
        let foreground = federated.deletion.is_some_and(|d| d.foreground);
        let propagation = if foreground {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        self.delete(member, key, federated, &copy, propagation).await
    }

    /// Gives an object back: our marks and our field ownership go, everything else stays.
    pub(super) async fn release(&self, member: &Member, key: &SyncKey) -> Result<(), client::Error> {
        let resource = Self::kind(key).resource();
        let Some(object) = member.rest.find(&resource, &key.1).await? else {
            return Ok(());
        };
        if !observe::is_ours(&object, &self.uid) {
            return Ok(());
        }
        let others: Vec<_> = object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|e| e["manager"] != well_known::FIELD_MANAGER || e["operation"] != "Apply")
            .cloned()
            .collect();
        let mut annotations = Map::new();
        for mark in [well_known::FEDERATION_UID, well_known::APPLIED_HASH] {
            annotations.insert(mark.to_owned(), json!(null));
        }
        let mut patch = json!({"metadata": {
            "uid": object["metadata"]["uid"],
            "resourceVersion": object["metadata"]["resourceVersion"],
            "labels": {},
            "annotations": annotations,
            // One empty entry stands for none.
            "managedFields": if others.is_empty() { json!([{}]) } else { json!(others) },
        }});
        patch["metadata"]["labels"][well_known::MANAGED_BY] = json!(null);
        member.rest.merge(&resource, &key.1, "", &patch).await?;
        Ok(())
    }

    /// Counts the pods of a workload that wait for a place, as long as there are any.
    async fn count_pods(&self, member: &Member, key: &SyncKey, federated: &Federated) -> Outcome {
        if !self.needs_counting(member, key, federated) {
            // Another reason to come here must not make us forget to count again.
            let counted = member.pending(key).map(|pending| pending.counted.elapsed());
            return counted.map_or(Outcome::Done, |ago| Outcome::After(RECOUNT.saturating_sub(ago)));
        }
        let Some(copy) = member.store(key.0).get(&key.1) else {
            return Outcome::Done;
        };
        let short = copy.observed.replicas.is_some_and(|r| r > copy.observed.ready);
        if !short || copy.observed.selector.is_empty() {
            if member.set_pending(key, None).is_some() {
                self.wake.plan.add(key.clone());
            }
            return Outcome::Done;
        }
        let patience = self.settings.unschedulable_after;
        let numbers = (copy.observed.replicas.unwrap_or(0), copy.observed.ready);
        match pods::pending(&member.rest, &key.1, &copy.observed.selector, numbers, patience).await {
            Ok(pending) => {
                let next = pending.next_stuck.map_or(RECOUNT, |next| next.min(RECOUNT));
                let pending = pending.after(member.pending(key).as_ref());
                let counts = |pending: &Pending| (pending.waiting, pending.stuck, pending.hopeless(patience));
                let now = counts(&pending);
                let before = member.set_pending(key, Some(pending));
                // How it was counted then: time alone makes replicas hopeless.
                if before.is_none_or(|before| counts(&before) != now || now.2 > 0) {
                    self.wake.plan.add(key.clone());
                }
                Outcome::After(next)
            }
            Err(error) => {
                tracing::debug!(cluster = &*member.name, error = %chain(&error), "cannot count pods");
                Outcome::After(error.retry_after().unwrap_or(RECOUNT))
            }
        }
    }
}

fn not_ours(kind: &str) -> String {
    format!(
        "a {kind} of this name is there and is not ours; it is left alone (annotate {}=true to take it over)",
        well_known::ADOPT
    )
}
