//! Namespace.

use apimachinery::{Object, field::ErrorList, names};
use serde_json::{Value, json};

use crate::{
    json::{default_zero, items, map_mut, put, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    validation::{At, text as check},
};

/// Namespace in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "Namespace",
    resource: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource::Finalize, Subresource::Status],
    type_name: "io.k8s.api.core.v1.Namespace",
    selectable_fields: &["status.phase"],
    columns: &[
        Column::object_name(),
        Column::text("Status", "Phase of the namespace."),
        Column::age(),
    ],
    strategy: &Namespace,
    ..KindDef::CLUSTER_SCOPED
};

/// Label that every namespace has: its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Finalizer of the namespace controller, in `spec.finalizers`.
const KUBERNETES: &str = "kubernetes";

struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Object) {
        default_zero(map_mut(object, "status"), "phase", "Active");
        let name = text(&object["metadata"]["name"]).to_owned();
        if !name.is_empty() {
            put(map_mut(map_mut(object, "metadata"), "labels"), NAME_LABEL, name.into());
        }
    }

    fn prepare_for_create(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        let mut finalizers = items(&spec["finalizers"]).to_vec();
        if !finalizers.iter().any(|f| f == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        put(spec, "finalizers", finalizers.into());
        put(object, "status", json!({"phase": "Active"}));
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        put(map_mut(object, "spec"), "finalizers", old["spec"]["finalizers"].clone());
        put(object, "status", old["status"].clone());
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn validate(&self, object: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        for finalizer in At::field(object, "spec").key("finalizers").items() {
            finalizer_name(&At::new(finalizer.value, "spec.finalizers"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, _object: &Object, _old: &Object) -> ErrorList {
        ErrorList::new()
    }

    fn validate_status_update(&self, object: &Object, _old: &Object) -> ErrorList {
        let mut errors = ErrorList::new();
        let phase = At::new(&object["status"]["phase"], "status.Phase");
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        match (deleted, phase.text()) {
            (false, "Active") | (true, "Terminating") => {}
            (false, _) => errors.push(phase.invalid("may only be 'Active' if `deletionTimestamp` is empty")),
            (true, _) => errors.push(phase.invalid("may only be 'Terminating' if `deletionTimestamp` is not empty")),
        }
        errors
    }

    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![text(&object["status"]["phase"]).to_owned()]
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            printers::name(object),
            text(&object["status"]["phase"]).into(),
            printers::age(object, now),
        ]
    }
}

/// Errors of the name of a finalizer.
pub(crate) fn finalizer_name(at: &At<'_>, errors: &mut ErrorList) {
    const STANDARD: &[&str] = &["kubernetes", "foregroundDeletion", "orphan"];
    check(at, names::qualified_name, errors);
    if !at.text().contains('/') && !STANDARD.contains(&at.text()) {
        errors.push(at.invalid("name is neither a standard finalizer name nor is it fully qualified"));
    }
}
