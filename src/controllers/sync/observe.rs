//! What is kept of a copy in a member: who owns it, what was applied, and the numbers that planning and the
//! merged status need. A few hundred bytes, whatever the size of the object.

use std::sync::{Arc, LazyLock};

use api::well_known;
use apimachinery::{Object, meta, selector::LabelSelector};

use super::kinds::Kind;
use crate::hash::Hash;

/// The part of an [`struct@Copy`] that depends on its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// `spec.replicas`, `spec.parallelism`, or `spec.maxReplicas`.
    pub replicas: Option<i64>,
    /// `spec.completions`.
    pub completions: Option<i64>,
    /// First ordinal of a StatefulSet.
    pub start: Option<i64>,
    /// `spec.minReplicas`.
    pub min: Option<i64>,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// `status.replicas`; of an autoscaler what it wants; of Jobs and DaemonSets their pods.
    pub existing: i64,
    /// `spec.selector` as a query, where pods are selected by it; else empty.
    pub selector: Box<str>,
    /// The fields of the status that are merged, as compact JSON; empty if there are none.
    pub status: Box<str>,
}

impl Observed {
    /// Keeps these fields of the status.
    #[must_use]
    pub fn status(object: &Object, fields: &[&str]) -> Self {
        let status = &object["status"];
        let mut kept = serde_json::Map::new();
        for field in fields {
            if let Some(value) = status.get(*field).filter(|v| !v.is_null()) {
                kept.insert((*field).to_owned(), value.clone());
            }
        }
        let text = if kept.is_empty() {
            String::new()
        } else {
            Object::Object(kept).to_string()
        };
        Self {
            replicas: object["spec"]["replicas"]
                .as_i64()
                .or_else(|| object["spec"]["parallelism"].as_i64()),
            completions: object["spec"]["completions"].as_i64(),
            start: None,
            min: object["spec"]["minReplicas"].as_i64(),
            ready: status["readyReplicas"].as_i64().unwrap_or(0),
            existing: status["replicas"].as_i64().unwrap_or(0),
            selector: selector(&object["spec"]["selector"]),
            status: text.into(),
        }
    }
}

fn selector(selector: &Object) -> Box<str> {
    let labelled = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    match LabelSelector::from_object(Some(selector).filter(|_| labelled)) {
        Ok(selector) if labelled => selector.to_string().into(),
        Ok(_) | Err(_) => Box::default(),
    }
}

/// What is known of an object in a member that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Uid in the member.
    pub uid: Box<str>,
    /// Whether it belongs to this federation.
    pub ours: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Hash of what was applied last, as its annotation says.
    pub applied: Option<Hash>,
    /// Hash of the set of fields we own; it changes when somebody takes one of them.
    pub owned: u64,
    /// Whether others have written its content after we did.
    pub touched: bool,
    /// Whether somebody else owns `spec.replicas`.
    pub replicas_taken: bool,
    /// Whether its controller has seen its newest specification.
    pub settled: bool,
    /// What its kind needs; shared by all copies of which nothing is.
    pub observed: Arc<Observed>,
}

/// Whether an object carries the marks of this federation, or at least our field manager and no other's marks.
#[must_use]
pub fn is_ours(object: &Object, federation_uid: &str) -> bool {
    match meta::annotation(object, well_known::FEDERATION_UID) {
        Some(uid) => uid == federation_uid,
        None => entry_of_ours(object).is_some(),
    }
}

fn entry_of_ours(object: &Object) -> Option<&Object> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|e| {
        e["manager"] == well_known::FIELD_MANAGER
            && e["operation"] == "Apply"
            && e["subresource"].as_str().unwrap_or("").is_empty()
    })
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether an entry of managedFields is about content we may have applied: anything but status and foreign metadata.
fn is_content(entry: &Object) -> bool {
    if entry["subresource"] == "status" {
        return false;
    }
    let Some(fields) = entry["fieldsV1"].as_object() else {
        return false;
    };
    fields.iter().any(|(key, value)| match key.as_str() {
        "f:status" => false,
        "f:metadata" => value.to_string().contains("federation.kubernetes.io"),
        _ => true,
    })
}

/// Reduces an object of a member.
#[must_use]
pub fn copy(kind: &dyn Kind, object: &Object, federation_uid: &str) -> Copy {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mine = entry_of_ours(object);
    let written = mine.and_then(|e| e["time"].as_str()).unwrap_or_default();
    let others = || entries.iter().filter(|e| mine.is_none_or(|m| !std::ptr::eq(*e, m)));
    let generation = meta::generation(object);
    Copy {
        uid: meta::uid(object).into(),
        ours: is_ours(object, federation_uid),
        deleting: meta::is_being_deleted(object),
        applied: meta::annotation(object, well_known::APPLIED_HASH).and_then(Hash::parse),
        owned: mine.map_or(0, |e| fnv(&sorted(&e["fieldsV1"]))),
        touched: mine.is_none() || others().any(|e| is_content(e) && e["time"].as_str().unwrap_or("") > written),
        replicas_taken: mine.is_none_or(|e| e["fieldsV1"]["f:spec"].get("f:replicas").is_none())
            && others().any(|e| e["fieldsV1"]["f:spec"].get("f:replicas").is_some()),
        settled: object["status"]["observedGeneration"]
            .as_i64()
            .is_none_or(|seen| seen >= generation),
        observed: shared(kind.observe(object)),
    }
}

fn shared(observed: Observed) -> Arc<Observed> {
    static NOTHING: LazyLock<Arc<Observed>> = LazyLock::new(Arc::default);
    if observed == **NOTHING {
        Arc::clone(&NOTHING)
    } else {
        Arc::new(observed)
    }
}

fn sorted(fields: &Object) -> String {
    Hash::of(fields).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::kinds;

    fn deployment(managed: &Object) -> Object {
        json!({
            "metadata": {
                "name": "web", "namespace": "a", "uid": "u1", "generation": 3, "managedFields": managed,
                "annotations": {
                    "federation.kubernetes.io/federation-uid": "fed",
                    "federation.kubernetes.io/applied-hash": "000102030405060708090a0b0c0d0e0f",
                },
            },
            "spec": {"replicas": 4},
            "status": {"observedGeneration": 3, "replicas": 4, "readyReplicas": 2, "collisionCount": 1},
        })
    }

    fn ours() -> Object {
        json!({"manager": "federation", "operation": "Apply", "time": "2026-01-01T00:00:10Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}})
    }

    fn reduce(managed: &Object) -> Copy {
        let kind = kinds::all()[usize::from(kinds::index_of("Deployment").expect("known"))];
        copy(kind, &deployment(managed), "fed")
    }

    #[test]
    fn keeps_the_numbers_and_forgets_the_rest() {
        let copy = reduce(&json!([ours()]));
        assert_eq!((copy.observed.replicas, copy.observed.ready), (Some(4), 2));
        assert!(copy.ours && copy.settled && !copy.touched && !copy.replicas_taken);
        assert_eq!(&*copy.observed.status, r#"{"replicas":4,"readyReplicas":2}"#);
    }

    #[test]
    fn status_and_revision_writers_do_not_touch_our_content() {
        let status = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
            "time": "2026-01-01T00:00:20Z", "fieldsV1": {"f:status": {"f:replicas": {}}}});
        let revision = json!({"manager": "kube-controller-manager", "operation": "Update",
            "time": "2026-01-01T00:00:20Z",
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}}});
        assert!(!reduce(&json!([ours(), status, revision])).touched);
    }

    #[test]
    fn a_later_edit_by_somebody_touches_it_and_changes_what_we_own() {
        let edit = json!({"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:20Z",
            "fieldsV1": {"f:spec": {"f:template": {}}}});
        let mut rest = ours();
        rest["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
        let before = reduce(&json!([ours()]));
        let after = reduce(&json!([rest, edit]));
        assert!(after.touched);
        assert_ne!(before.owned, after.owned);
    }

    #[test]
    fn an_autoscaler_that_owns_replicas_is_seen() {
        let mut rest = ours();
        rest["fieldsV1"] = json!({"f:spec": {"f:template": {}}});
        let scale = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale",
            "time": "2026-01-01T00:00:20Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        assert!(reduce(&json!([rest, scale])).replicas_taken);
    }

    #[test]
    fn objects_of_another_federation_or_of_nobody_are_not_ours() {
        assert!(!is_ours(&deployment(&json!([ours()])), "other"));
        let foreign =
            json!({"metadata": {"name": "x", "managedFields": [{"manager": "kubectl", "operation": "Apply"}]}});
        assert!(!is_ours(&foreign, "fed"));
        let stripped = json!({"metadata": {"name": "x", "managedFields": [ours()]}});
        assert!(is_ours(&stripped, "fed"), "somebody removed the annotation");
    }
}
