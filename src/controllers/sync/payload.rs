//! From a federated object to what is applied to a member: pure, total, and the same for equal input.

use api::well_known;
use apimachinery::Object;
use planner::Share;
use serde_json::{Map, json};

use super::kinds::Kind;
use crate::hash::Hash;

/// Written into every applied hash: raise it when the form of what is applied changes.
const FORM: &str = "1";

fn is_ours(key: &str) -> bool {
    key.starts_with("federation.kubernetes.io/") || key.starts_with("federation.alpha.kubernetes.io/")
}

fn travels(annotation: &str) -> bool {
    !is_ours(annotation) && annotation != "kubectl.kubernetes.io/last-applied-configuration"
}

/// Server-side apply takes null for a value; what is unset must be left out.
fn drop_nulls(value: &mut Object) {
    match value {
        Object::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Object::Array(items) => items.iter_mut().for_each(drop_nulls),
        Object::Null | Object::Bool(_) | Object::Number(_) | Object::String(_) => {}
    }
}

fn kept(map: &Object, keeps: fn(&str) -> bool) -> Object {
    let entries = map.as_object().into_iter().flatten().filter(|(key, _)| keeps(key));
    Object::Object(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// What all copies of an object have in common.
#[must_use]
pub fn payload(kind: &dyn Kind, mut object: Object) -> Object {
    let resource = kind.resource();
    let mut meta = Map::new();
    for field in ["name", "namespace"] {
        if let Some(value) = object["metadata"].get(field) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    meta.insert(
        "labels".to_owned(),
        kept(&object["metadata"]["labels"], |key| !is_ours(key)),
    );
    meta.insert(
        "annotations".to_owned(),
        kept(&object["metadata"]["annotations"], travels),
    );
    let mut config = json!({ "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": meta });
    if let Some(map) = object.as_object_mut() {
        for (field, value) in std::mem::take(map) {
            if !matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status") {
                config[field] = value;
            }
        }
    }
    drop_nulls(&mut config);
    kind.prune(&mut config);
    config
}

/// The hash of what a cluster with this share is to have.
#[must_use]
pub fn applied_hash(payload: Hash, share: &Share, overrides: &str) -> Hash {
    payload.with(&format!("{FORM}|{}|{overrides}", share.fingerprint()))
}

/// What is applied to one member: the payload with its share and our marks.
#[must_use]
pub fn configuration(kind: &dyn Kind, mut payload: Object, share: &Share, hash: Hash, federation_uid: &str) -> Object {
    kind.specialise(&mut payload, share);
    mark(&mut payload, hash, federation_uid);
    payload
}

fn mark(config: &mut Object, hash: Hash, federation_uid: &str) {
    let meta = &mut config["metadata"];
    meta["labels"][well_known::MANAGED_BY] = json!(well_known::MANAGED_BY_VALUE);
    meta["annotations"][well_known::FEDERATION_UID] = json!(federation_uid);
    meta["annotations"][well_known::APPLIED_HASH] = json!(hash.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::kinds;

    fn kind(name: &str) -> &'static dyn Kind {
        kinds::all()[usize::from(kinds::index_of(name).expect("known"))]
    }

    fn deployment() -> Object {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 4,
                "finalizers": ["federation.kubernetes.io/delete-from-underlying-clusters"],
                "labels": {"app": "web", "federation.kubernetes.io/x": "y"},
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                    "federation.kubernetes.io/deployment-preferences": "{}",
                    "deployment.kubernetes.io/revision": "3",
                    "team": "shop",
                },
                "managedFields": [],
            },
            "spec": {"replicas": 9, "template": {"metadata": {"creationTimestamp": null, "labels": {"app": "web"}},
                "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}},
            "status": {"replicas": 9},
        })
    }

    #[test]
    fn copies_carry_what_the_user_wrote_and_nothing_of_the_federation() {
        let payload = payload(kind("Deployment"), deployment());
        assert_eq!(
            payload,
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"team": "shop"}},
                "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}},
            })
        );
    }

    #[test]
    fn the_share_and_the_marks_are_written_into_the_configuration() {
        let payload = payload(kind("Deployment"), deployment());
        let hash = applied_hash(Hash::of(&payload), &Share::of(3), "");
        let config = configuration(kind("Deployment"), payload, &Share::of(3), hash, "fed");
        assert_eq!(config["spec"]["replicas"], 3);
        assert_eq!(
            config["metadata"]["labels"]["federation.kubernetes.io/managed-by"],
            "federation"
        );
        assert_eq!(
            config["metadata"]["annotations"]["federation.kubernetes.io/applied-hash"],
            hash.to_string()
        );
    }

    #[test]
    fn without_a_share_replicas_are_left_to_their_owner() {
        let payload = payload(kind("Deployment"), deployment());
        let config = configuration(kind("Deployment"), payload, &Share::default(), Hash::default(), "fed");
        assert!(config["spec"].get("replicas").is_none());
    }

    #[test]
    fn the_hash_follows_content_and_share_but_not_bookkeeping() {
        let of = |object: Object, share: i64| {
            applied_hash(Hash::of(&payload(kind("Deployment"), object)), &Share::of(share), "")
        };
        let mut touched = deployment();
        touched["metadata"]["resourceVersion"] = json!("8");
        touched["metadata"]["annotations"]["federation.kubernetes.io/cluster-status"] = json!("{}");
        touched["spec"]["replicas"] = json!(12);
        touched["status"] = json!({});
        assert_eq!(
            of(deployment(), 3),
            of(touched, 3),
            "the federated replica count is not part of a copy"
        );
        assert_ne!(of(deployment(), 3), of(deployment(), 4));
        let mut changed = deployment();
        changed["spec"]["paused"] = json!(true);
        assert_ne!(of(deployment(), 3), of(changed, 3));
    }

    #[test]
    fn services_leave_addresses_and_node_ports_to_the_members() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "a"},
            "spec": {"type": "NodePort", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "nodePort": 30080}]}});
        assert_eq!(
            payload(kind("Service"), service)["spec"],
            json!({"type": "NodePort", "ports": [{"port": 80}]})
        );
        let headless = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
        assert_eq!(payload(kind("Service"), headless)["spec"], json!({"clusterIP": "None"}));
    }

    #[test]
    fn a_generated_job_selector_stays_in_the_federation_and_a_manual_one_travels() {
        let job = |manual: bool| {
            json!({"metadata": {"name": "j"}, "spec": {"manualSelector": manual, "parallelism": 2, "completions": 4,
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": {"a": "b", "batch.kubernetes.io/controller-uid": "u", "job-name": "j"}}}}})
        };
        let generated = payload(kind("Job"), job(false));
        assert_eq!(
            generated["spec"],
            json!({"template": {"metadata": {"labels": {"a": "b"}}}})
        );
        assert!(payload(kind("Job"), job(true))["spec"]["selector"].is_object());
    }

    #[test]
    fn system_objects_are_excluded() {
        let named = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}});
        for name in ["default", "kube-system", "kube-public", "federation-system"] {
            assert!(kind("Namespace").excluded(&named(name)), "{name}");
        }
        assert!(!kind("Namespace").excluded(&named("shop")));
        assert!(kind("ServiceAccount").excluded(&named("default")));
        assert!(kind("ConfigMap").excluded(&named("kube-root-ca.crt")));
        assert!(kind("Service").excluded(&named("kubernetes")));
        let token = json!({"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"});
        assert!(kind("Secret").excluded(&token));
        let owned = json!({"metadata": {"name": "r", "ownerReferences": [{"kind": "Deployment", "controller": true}]}});
        assert!(kind("ReplicaSet").excluded(&owned));
    }
}
