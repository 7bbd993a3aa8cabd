//! DaemonSet.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{default_to, default_zero, int, map_mut, put, text},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        pod_template(spec);
        let strategy = map_mut(spec, "updateStrategy");
        default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "maxUnavailable", 1);
            default_to(rolling, "maxSurge", 0);
        }
        default_to(spec, "revisionHistoryLimit", 10);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
        if template_generation(object) < 1 {
            set_template_generation(object, 1);
        }
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
        let changed = object["spec"]["template"] != old["spec"]["template"];
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

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

/// A field of the kind's first versions that lives on as an annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Object) -> i64 {
    text(&object["metadata"]["annotations"][TEMPLATE_GENERATION])
        .parse()
        .unwrap_or_default()
}

fn set_template_generation(object: &mut Object, generation: i64) {
    let annotations = map_mut(map_mut(object, "metadata"), "annotations");
    put(annotations, TEMPLATE_GENERATION, generation.to_string().into());
}
