//! Deployment.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{default_to, default_zero, int, map_mut, put},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, grow_generation, keep_all_but_status, keep_status},
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
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        pod_template(spec);
        let strategy = map_mut(spec, "strategy");
        default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = map_mut(strategy, "rollingUpdate");
            default_to(rolling, "maxUnavailable", "25%");
            default_to(rolling, "maxSurge", "25%");
        }
        default_to(spec, "revisionHistoryLimit", 10);
        default_to(spec, "progressDeadlineSeconds", 600);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        keep_status(object, old);
        let annotations = |o: &Object| o["metadata"]["annotations"].clone();
        let changed = object["spec"] != old["spec"] || annotations(object) != annotations(old);
        grow_generation(object, old, changed);
    }

    fn prepare_for_status_update(&self, object: &mut Object, old: &Object) {
        keep_all_but_status(object, old);
        put(map_mut(object, "metadata"), "labels", old["metadata"]["labels"].clone());
    }

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
