//! Workloads that are rolled when a ConfigMap or Secret changes that they use, because they ask for it
//! (`federation.kubernetes.io/rollout-on-config-change`).
//!
//! The template of a copy carries a mark made of what was applied to its cluster of each of them. So a change rolls
//! the copy when the new content has arrived in the same cluster, not before, with that cluster's overrides in it.

use api::well_known;
use apimachinery::{Object, meta};
use client::Key;
use serde_json::json;

use super::{
    SyncKey,
    engine::Engine,
    federated::Federated,
    kinds::{self, Kind},
};
use crate::{hash::Hash, members::Member};

/// Annotation of pod templates: what their configuration was.
const MARK: &str = "federation.kubernetes.io/config-hash";

/// The ConfigMaps and Secrets whose changes roll an object; none unless it asks for that.
#[must_use]
pub fn references(kind: &dyn Kind, object: &Object) -> Box<[SyncKey]> {
    let rolled = matches!(kind.resource().kind, "Deployment" | "StatefulSet" | "DaemonSet");
    if !rolled || meta::annotation(object, well_known::ROLLOUT_ON_CONFIG_CHANGE) != Some("true") {
        return Box::default();
    }
    let (Some(config_map), Some(secret)) = (kinds::index_of("ConfigMap"), kinds::index_of("Secret")) else {
        return Box::default();
    };
    let namespace = meta::namespace(object);
    let mut found = Vec::new();
    let mut add = |kind, name: &Object| {
        if let Some(name) = name.as_str() {
            found.push((kind, Key::new(Some(namespace), name)));
        }
    };
    let spec = &object["spec"]["template"]["spec"];
    for volume in items(&spec["volumes"]) {
        add(config_map, &volume["configMap"]["name"]);
        add(secret, &volume["secret"]["secretName"]);
        for source in items(&volume["projected"]["sources"]) {
            add(config_map, &source["configMap"]["name"]);
            add(secret, &source["secret"]["name"]);
        }
    }
    for container in items(&spec["initContainers"]).chain(items(&spec["containers"])) {
        for from in items(&container["envFrom"]) {
            add(config_map, &from["configMapRef"]["name"]);
            add(secret, &from["secretRef"]["name"]);
        }
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"];
            add(config_map, &from["configMapKeyRef"]["name"]);
            add(secret, &from["secretKeyRef"]["name"]);
        }
    }
    found.sort();
    found.dedup();
    found.into()
}

fn items(list: &Object) -> impl Iterator<Item = &Object> {
    list.as_array().into_iter().flatten()
}

/// The mark of an object's copy in a member; none if no change rolls it.
#[must_use]
pub fn mark(member: &Member, federated: &Federated) -> Option<String> {
    if federated.configs.is_empty() {
        return None;
    }
    let hash = federated.configs.iter().fold(Hash::default(), |hash, (kind, key)| {
        let applied = member.store(*kind).get(key).and_then(|copy| copy.applied);
        hash.with(&applied.map_or_else(String::new, |a| a.to_string()))
    });
    Some(hash.to_string())
}

/// Writes the mark into the template of a copy.
pub fn write_mark(config: &mut Object, mark: &str) {
    config["spec"]["template"]["metadata"]["annotations"][MARK] = json!(mark);
}

impl Engine {
    /// Whether configuration that an object uses is still on its way to a member.
    pub(super) fn awaits_configs(&self, member: &Member, federated: &Federated) -> bool {
        federated.configs.iter().any(|key| {
            let Some(config) = self.store(key.0).get(&key.1) else {
                return false;
            };
            let wanted = !config.excluded && config.deletion.is_none();
            let Some((_, hash)) = self.target(key, &config, &member.name).filter(|_| wanted) else {
                return false;
            };
            let there = member
                .store(key.0)
                .get(&key.1)
                .is_some_and(|copy| copy.applied == Some(hash));
            // What cannot be brought there holds nothing up.
            !there && member.problem(key).is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(object: &Object) -> Vec<String> {
        let kind = kinds::all()[usize::from(kinds::index_of("Deployment").expect("known"))];
        let found = references(kind, object);
        found.iter().map(|(kind, key)| format!("{kind}:{key}")).collect()
    }

    #[test]
    fn every_way_to_use_a_config_is_found_once_and_only_if_asked_for() {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "a", "annotations": {"federation.kubernetes.io/rollout-on-config-change": "true"}},
            "spec": {"template": {"spec": {
                "volumes": [
                    {"configMap": {"name": "c1"}},
                    {"secret": {"secretName": "s1"}},
                    {"projected": {"sources": [{"configMap": {"name": "c2"}}, {"secret": {"name": "s2"}}]}},
                ],
                "initContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}, {"secretRef": {"name": "s3"}}]}],
                "containers": [{"env": [
                    {"valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k"}}},
                    {"valueFrom": {"secretKeyRef": {"name": "s4", "key": "k"}}},
                ]}],
            }}},
        });
        let (c, s) = (
            kinds::index_of("ConfigMap").expect("known"),
            kinds::index_of("Secret").expect("known"),
        );
        let mut expected: Vec<String> = ["c1", "c2", "c3"].iter().map(|n| format!("{c}:a/{n}")).collect();
        expected.extend(["s1", "s2", "s3", "s4"].iter().map(|n| format!("{s}:a/{n}")));
        expected.sort();
        let mut found = names(&object);
        found.sort();
        assert_eq!(found, expected);
        object["metadata"]["annotations"] = json!({});
        assert_eq!(names(&object), Vec::<String>::new());
    }
}
