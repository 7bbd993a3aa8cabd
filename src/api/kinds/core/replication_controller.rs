//! ReplicationController, the forerunner of ReplicaSet.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::int,
    kind::{KindDef, MEMBER, Strategy, Subresource},
    printers,
};

/// ReplicationController in `v1`.
pub const DEF: KindDef = KindDef {
    kind: "ReplicationController",
    resource: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    profiles: MEMBER,
    type_name: "io.k8s.api.core.v1.ReplicationController",
    orphans_by_default: true,
    selectable_fields: &["status.replicas"],
    columns: crate::kinds::apps::replica_set::COLUMNS,
    strategy: &ReplicationController,
    ..KindDef::NAMESPACED
};

struct ReplicationController;

impl Strategy for ReplicationController {
    fn selectable_values(&self, object: &Object) -> Vec<String> {
        vec![int(&object["status"]["replicas"]).to_string()]
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = printers::container_cells(&spec["template"]);
        vec![
            printers::name(object),
            int(&spec["replicas"]).into(),
            int(&status["replicas"]).into(),
            int(&status["readyReplicas"]).into(),
            printers::age(object, now),
            names,
            images,
            printers::format_labels(&spec["selector"]).into(),
        ]
    }
}
