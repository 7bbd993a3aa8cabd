//! Deployment.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
};

/// Deployment in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "Deployment",
    resource: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    type_name: "io.k8s.api.apps.v1.Deployment",
    columns: &[
        Column::object_name(),
        Column::text("Ready", "Ready pods and wanted pods."),
        Column::text("Up-to-date", "Pods of the current template."),
        Column::text("Available", "Pods that are ready for long enough."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of its pods.").wide(),
    ],
    strategy: &Deployment,
    ..KindDef::NAMESPACED
};

struct Deployment;

impl Strategy for Deployment {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
            int(&status["updatedReplicas"]).into(),
            int(&status["availableReplicas"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::selector_string(&spec["selector"]).into(),
        ]
    }
}
