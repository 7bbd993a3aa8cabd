//! StatefulSet.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    defaults::pod_spec::pod_template,
    json::{absent, default_to, default_zero, int, items_mut, map_mut},
    kind::{Column, KindDef, Strategy, Subresource},
    printers,
    strategy::{create_with_generation, update_with_generation},
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
    fn default(&self, object: &mut Object) {
        let spec = map_mut(object, "spec");
        default_to(spec, "replicas", 1);
        pod_template(spec);
        for claim in items_mut(spec, "volumeClaimTemplates") {
            default_zero(claim, "apiVersion", "v1");
            default_zero(claim, "kind", "PersistentVolumeClaim");
            default_to(map_mut(claim, "spec"), "volumeMode", "Filesystem");
            default_zero(map_mut(claim, "status"), "phase", "Pending");
        }
        default_zero(spec, "podManagementPolicy", "OrderedReady");
        let strategy = map_mut(spec, "updateStrategy");
        if strategy["type"].as_str().is_none_or(str::is_empty) {
            default_zero(strategy, "type", "RollingUpdate");
            map_mut(strategy, "rollingUpdate");
        }
        if strategy["type"] == "RollingUpdate" && !absent(&strategy["rollingUpdate"]) {
            default_to(map_mut(strategy, "rollingUpdate"), "partition", 0);
        }
        let retention = map_mut(spec, "persistentVolumeClaimRetentionPolicy");
        default_zero(retention, "whenDeleted", "Retain");
        default_zero(retention, "whenScaled", "Retain");
        default_to(spec, "revisionHistoryLimit", 10);
    }

    fn prepare_for_create(&self, object: &mut Object) {
        create_with_generation(object);
    }

    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        update_with_generation(object, old);
    }

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
