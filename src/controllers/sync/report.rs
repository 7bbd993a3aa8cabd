//! Reporting to the user: the merged status, and per-cluster detail in an annotation.

use std::{collections::BTreeMap, time::Duration};

use api::well_known;
use apimachinery::Object;
use client::{Key, Resource};
use planner::{Share, availability::Availability, placement::Placement};
use serde_json::{Map, json};
use tokio::time::Instant;

use super::{
    SyncKey,
    engine::Engine,
    federated::Federated,
    kinds::{self, Scaling},
    observe::Copy,
    status::{MemberStatus, Merge},
};
use crate::members::Member;

/// The annotation is written at most this often per object: it changes with every pod.
const DETAIL_PERIOD: Duration = Duration::from_secs(1);
/// Statuses of kinds that take conditions get one when a cluster has something in the way.
const CONFLICT: &str = "Conflict";

impl Engine {
    /// Writes the merged status and the detail, where they differ from what the object says.
    /// Returns when to come again for what had to wait.
    pub(super) async fn report(&self, key: &SyncKey, federated: &Federated) -> Result<Option<Duration>, client::Error> {
        let kind = Self::kind(key);
        let previous: Object = serde_json::from_str(&federated.status).unwrap_or_default();
        let problems = self.problems(key);
        if !kinds::concerns_all(key.0) {
            return self.write_detail(key, federated, &problems).await;
        }
        let copies = self.copies(key, federated);
        let input = Merge {
            generation: federated.generation,
            demand: federated.demand,
            previous: &previous,
            copies: copies
                .iter()
                .map(|(cluster, share, current, reachable, status)| MemberStatus {
                    cluster,
                    share: *share,
                    current: *current,
                    reachable: *reachable,
                    status: status.clone(),
                })
                .collect(),
            now: jiff::Timestamp::now(),
        };
        if let Some(mut status) = kind.merge(&input) {
            self.add_conflict(&kind.resource(), &input, &problems, &mut status);
            if let Some(patch) = difference(&previous, &status) {
                let patch = json!({"metadata": {"uid": &*federated.uid}, "status": patch});
                match self.federation.merge(&kind.resource(), &key.1, "/status", &patch).await {
                    Ok(object) => self.wrote(key, object),
                    Err(error) if error.is_not_found() => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        }
        self.write_detail(key, federated, &problems).await
    }

    fn copies(&self, key: &SyncKey, federated: &Federated) -> Vec<(String, Share, bool, bool, Object)> {
        let mut copies = Vec::new();
        for (cluster, object) in self.clusters.all() {
            let cluster = cluster.name().to_owned();
            let Some((share, hash)) = self.target_in(key, federated, &cluster, &object) else {
                continue;
            };
            let member = self.members.get(&cluster);
            let copy = member
                .as_ref()
                .and_then(|m| m.store(key.0).get(&key.1))
                .filter(|c| c.ours);
            let current = match (&member, &copy) {
                (Some(member), Some(copy)) => Self::is_current(member, key, copy, hash) && copy.settled,
                _ => false,
            };
            let reachable = self.members.reachable(&cluster).is_some();
            // What a cluster that does not answer runs is not known; nothing is claimed for it.
            let status = copy
                .filter(|_| reachable)
                .and_then(|c| serde_json::from_str(&c.observed.status).ok());
            copies.push((cluster, share, current, reachable, status.unwrap_or_else(|| json!({}))));
        }
        // Clusters that are lost have no say in whether a change has arrived everywhere.
        copies.retain(|(cluster, ..)| !self.is_lost(cluster));
        copies
    }

    fn is_lost(&self, cluster: &str) -> bool {
        self.members.availability(cluster) == Some(Availability::Lost)
    }

    fn problems(&self, key: &SyncKey) -> BTreeMap<String, String> {
        let members = self.members.all();
        members
            .iter()
            .filter_map(|m| Some((m.name.to_string(), m.problem(key)?)))
            .collect()
    }

    fn add_conflict(
        &self,
        resource: &Resource,
        input: &Merge<'_>,
        problems: &BTreeMap<String, String>,
        status: &mut Object,
    ) {
        if resource.group != "apps" || problems.is_empty() {
            return;
        }
        let text = problems
            .iter()
            .map(|(cluster, problem)| format!("{cluster}: {problem}"))
            .collect::<Vec<_>>()
            .join("; ");
        let mut condition = input.condition(CONFLICT, true, "CannotPropagate", text);
        // Only a Deployment's conditions have it.
        if let Some(map) = condition.as_object_mut().filter(|_| resource.kind != "Deployment") {
            map.shift_remove("lastUpdateTime");
        }
        match status["conditions"].as_array_mut() {
            Some(conditions) => conditions.push(condition),
            None => status["conditions"] = json!([condition]),
        }
    }

    async fn write_detail(
        &self,
        key: &SyncKey,
        federated: &Federated,
        problems: &BTreeMap<String, String>,
    ) -> Result<Option<Duration>, client::Error> {
        let detail = self.detail(key, federated, problems);
        let old: Object = federated
            .detail
            .as_deref()
            .and_then(|d| serde_json::from_str(d).ok())
            .unwrap_or_default();
        let unchanged = match &detail {
            Some(detail) => *detail == old,
            None => federated.detail.is_none(),
        };
        if unchanged {
            return Ok(None);
        }
        let now = Instant::now();
        let wait = self
            .reported
            .lock()
            .get(key)
            .map(|last| (*last + DETAIL_PERIOD).saturating_duration_since(now));
        if let Some(wait) = wait.filter(|w| !w.is_zero()) {
            return Ok(Some(wait));
        }
        self.reported.lock().insert(key.clone(), now);
        let mut annotations = Map::new();
        annotations.insert(
            well_known::CLUSTER_STATUS.to_owned(),
            detail.map_or(Object::Null, |d| json!(d.to_string())),
        );
        let patch = json!({"metadata": {"uid": &*federated.uid, "annotations": annotations}});
        match self
            .federation
            .merge(&Self::kind(key).resource(), &key.1, "", &patch)
            .await
        {
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Per cluster: replicas, ready ones and planned share of what is split, pods of what is not, and what is in the way.
    /// `None` if there is nothing to say.
    fn detail(&self, key: &SyncKey, federated: &Federated, problems: &BTreeMap<String, String>) -> Option<Object> {
        let mut detail = Map::new();
        if kinds::concerns_all(key.0) {
            let old: Object = federated
                .detail
                .as_deref()
                .and_then(|d| serde_json::from_str(d).ok())
                .unwrap_or_default();
            let placement = self.placement(key);
            for member in self.members.all() {
                let name = &*member.name;
                if self.clusters.get(&Key::from(name)).is_none() {
                    continue;
                }
                let store = member.store(key.0);
                let entry = match store.get(&key.1).filter(|c| c.ours) {
                    Some(copy) => self.numbers(key, &member, &copy, placement.as_deref()),
                    // Not listed since we started: what the last controller manager knew.
                    None => Some(old[name].clone()).filter(|old| !store.is_synced() && old.is_object()),
                };
                detail.extend(entry.map(|entry| (name.to_owned(), entry)));
            }
        }
        for (cluster, problem) in problems {
            let entry = detail.entry(cluster.clone()).or_insert_with(|| json!({}));
            entry["problem"] = json!(problem);
        }
        (!detail.is_empty()).then_some(Object::Object(detail))
    }

    /// The numbers of one copy that its users, and the next controller manager, are told.
    fn numbers(&self, key: &SyncKey, member: &Member, copy: &Copy, placement: Option<&Placement>) -> Option<Object> {
        let (kind, observed) = (Self::kind(key), &copy.observed);
        match kind.scaling() {
            Scaling::Replicas { .. } => {
                let mut entry = json!({"replicas": observed.replicas.unwrap_or(0), "ready": observed.ready});
                let share = placement.and_then(|p| p.home.get(&*member.name).copied());
                for (field, value) in [("share", share), ("start", observed.start)] {
                    if let Some(value) = value {
                        entry[field] = json!(value);
                    }
                }
                if member.is_autoscaled(kind.resource().kind, &key.1) {
                    entry["autoscaled"] = json!(true);
                }
                Some(entry)
            }
            Scaling::Job { .. } | Scaling::Copy => (observed.existing > 0).then(|| json!({"pods": observed.existing})),
            Scaling::Autoscaler { .. } => None,
        }
    }
}

/// The JSON merge patch from one value to another; `None` if they are the same.
fn difference(old: &Object, new: &Object) -> Option<Object> {
    if old == new {
        return None;
    }
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Object::Null);
    }
    for (key, value) in after {
        if let Some(part) = difference(before.get(key).unwrap_or(&Object::Null), value) {
            patch.insert(key.clone(), part);
        }
    }
    (!patch.is_empty()).then_some(Object::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_removes_what_is_gone_and_keeps_what_is_equal() {
        let old = json!({"replicas": 3, "readyReplicas": 1, "loadBalancer": {"ingress": [1]}});
        let new = json!({"replicas": 3, "loadBalancer": {}});
        assert_eq!(
            difference(&old, &new),
            Some(json!({"readyReplicas": null, "loadBalancer": {"ingress": null}}))
        );
        assert_eq!(difference(&new, &new), None);
        assert_eq!(difference(&Object::Null, &new), Some(new));
    }
}
