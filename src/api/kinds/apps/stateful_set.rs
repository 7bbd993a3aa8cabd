//! StatefulSet.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
};

/// StatefulSet in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "StatefulSet",
    resource: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    type_name: "io.k8s.api.apps.v1.StatefulSet",
    columns: &[
        Column::object_name(),
        Column::text("Ready", "Ready pods and wanted pods."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
    ],
    strategy: &StatefulSet,
    ..KindDef::NAMESPACED
};

struct StatefulSet;

impl Strategy for StatefulSet {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
            printers::age(object, now),
            names,
            images,
        ]
    }
}
