//! DaemonSet.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
};

/// DaemonSet in `apps/v1`.
pub const DEF: KindDef = KindDef {
    group: "apps",
    kind: "DaemonSet",
    resource: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    type_name: "io.k8s.api.apps.v1.DaemonSet",
    columns: &[
        Column::object_name(),
        Column::integer("Desired", "Nodes that should run its pod."),
        Column::integer("Current", "Nodes that should and do run it."),
        Column::integer("Ready", "Nodes whose pod is ready."),
        Column::integer("Up-to-date", "Nodes that run the current template."),
        Column::integer("Available", "Nodes whose pod is ready for long enough."),
        Column::text("Node Selector", "Labels of the nodes it runs on."),
        Column::age(),
        Column::text("Containers", "Names of the containers.").wide(),
        Column::text("Images", "Images of the containers.").wide(),
        Column::text("Selector", "Selector of its pods.").wide(),
    ],
    strategy: &DaemonSet,
    ..KindDef::NAMESPACED
};

struct DaemonSet;

impl Strategy for DaemonSet {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            int(&status["desiredNumberScheduled"]).into(),
            int(&status["currentNumberScheduled"]).into(),
            int(&status["numberReady"]).into(),
            int(&status["updatedNumberScheduled"]).into(),
            int(&status["numberAvailable"]).into(),
            printers::format_labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::format_label_selector(&spec["selector"]).into(),
        ]
    }
}
