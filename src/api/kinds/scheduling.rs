//! PriorityClass in `scheduling.k8s.io/v1`.

use apimachinery::Object;
use serde_json::Value;

use crate::{
    json::{default_to, flag, int, text},
    kind::{Column, KindDef, MEMBER, Strategy},
    printers,
    strategy::first_generation,
};

/// PriorityClass in `scheduling.k8s.io/v1`.
pub const DEF: KindDef = KindDef {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    resource: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    profiles: MEMBER,
    type_name: "io.k8s.api.scheduling.v1.PriorityClass",
    columns: &[
        Column::object_name(),
        Column::integer("Value", "Priority of pods of this class."),
        Column::boolean("Global-Default", "Whether pods without a class get this one."),
        Column::age(),
        Column::text("PreemptionPolicy", "Whether its pods push others out.").wide(),
    ],
    strategy: &PriorityClass,
    ..KindDef::CLUSTER_SCOPED
};

struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Object) {
        default_to(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_for_create(&self, object: &mut Object) {
        first_generation(object);
    }

    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            printers::name(object),
            int(&object["value"]).into(),
            flag(&object["globalDefault"]).into(),
            printers::age(object, now),
            text(&object["preemptionPolicy"]).into(),
        ]
    }
}
