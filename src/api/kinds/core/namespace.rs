//! Namespace.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::text,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
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

struct Namespace;

impl Strategy for Namespace {
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
